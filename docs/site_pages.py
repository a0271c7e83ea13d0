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
_LINK = re.compile(r"\]\((?:\.\./)?(?P<target>[\w./-]+)(?P<anchor>#[\w-]+)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    for page, source in _PAGES.items():
        files.append(File.generated(config, page, content=(_ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links lead to pages of the site, and name the files that are none."""
    return _LINK.sub(_translate, markdown)


def _translate(link: re.Match[str]) -> str:
    target, anchor = link["target"], link["anchor"] or ""
    for page, source in _PAGES.items():
        if target == source:
            return f"]({page}{anchor})"
    if target.startswith("docs/"):
        return f"]({target.removeprefix('docs/')}{anchor})"
    return f"] (`{target}`)" if (_ROOT / target).exists() else link[0]
