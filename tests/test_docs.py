"""The site that `make docs` builds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def test_the_site_is_whole_and_needs_no_network(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        tmp_path,
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr  # --strict: no link leads nowhere
    pages = {path.name: path.read_text() for path in tmp_path.glob("*.html")}
    assert {"index.html", "contributing.html", "changelog.html", "reference.html"} <= set(pages)
    assert "reset_parameters" not in pages["reference.html"]
    assert "The nearest reference is the one" in pages["index.html"] + pages["reference.html"]
    for name, page in pages.items():
        loaded = re.findall(r"<(?:script|img|link)[^>]*(?:src|href)=\"(https?:[^\"]*)", page)
        assert loaded == [], name
