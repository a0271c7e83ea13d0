"""Pages of the site that are files of the top folder.

MkDocs calls `on_files`, because `mkdocs.yml` names this file among its hooks.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).resolve().parents[1]
_PAGES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
_LINK = re.compile(r"\[(?P<text>[^\[\]]+)\]\((?:\.\./)?(?P<target>[\w./-]+)(?P<anchor>#[\w-]+)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    for page, source in _PAGES.items():
        files.append(File.generated(config, page, content=(_ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links lead to pages of the site, and leave the text of those that lead elsewhere."""
    return _LINK.sub(_translate, markdown)


def _translate(link: re.Match[str]) -> str:
    text, target = link["text"], link["target"].removeprefix("docs/")
    for page, source in _PAGES.items():
        if target == source:
            target = page
    if target in _PAGES or (_ROOT / "docs" / target).exists():
        return f"[{text}]({target}{link['anchor'] or ''})"
    return text if (_ROOT / target).exists() else link[0]
