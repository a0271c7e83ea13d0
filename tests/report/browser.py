"""Pages run in a headless browser."""

import html
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,800",
)

# The first script of the page, so that it hears of every error.
_LISTEN = """<script>
const problems = [];
for (const level of ["error", "warn"])
    console[level] = (...texts) => problems.push(texts.join(" "));
addEventListener("error", (event) => problems.push(event.message));
addEventListener("securitypolicyviolation", (event) => problems.push(event.blockedURI));
</script>"""

_REPORT = """<script>
const answer = (() => {{ {script} }})();
const results = document.createElement("pre");
results.id = "results-of-the-test";
results.textContent = JSON.stringify({{ answer, problems }});
document.body.append(results);
</script>"""


def find_browser() -> str:
    """The path of a browser; skips the test where there is none."""
    for name in _NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip(f"no browser on PATH: looked for {', '.join(_NAMES)}")


def run_in_browser(page: Path, script: str) -> Any:
    """Open a page, run the body of a JavaScript function in it and give what that returns.

    Fails if the page, or the script, wrote an error or a warning to the console.
    """
    browser = find_browser()
    with tempfile.TemporaryDirectory() as folder:
        text = page.read_text(encoding="utf-8").replace("<head>", f"<head>{_LISTEN}", 1)
        before, end, after = text.rpartition("</body>")
        copy = Path(folder) / "page.html"
        copy.write_text(f"{before}{_REPORT.format(script=script)}{end}{after}", encoding="utf-8")
        process = subprocess.run(
            [browser, *_OPTIONS, f"--user-data-dir={folder}/user", "--dump-dom", copy.as_uri()],
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        )
    found = re.search(r'<pre id="results-of-the-test">(.*?)</pre>', process.stdout, re.DOTALL)
    assert found is not None, f"the page did not run:\n{process.stderr}"
    results = json.loads(html.unescape(found[1]))
    assert results["problems"] == []
    return results["answer"]
