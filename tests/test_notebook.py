"""examples/quickstart.ipynb, run as a reader would."""

from typing import Any

import pytest

from tests.conftest import ROOT


def test_the_notebook_runs_and_shows_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(ROOT / "examples" / "quickstart.ipynb", as_version=4)
    context = {"metadata": {"path": str(ROOT / "examples")}}
    nbclient.NotebookClient(notebook, timeout=120, resources=context).execute()
    shown = "".join(text for cell in notebook.cells for text in texts(cell))
    for part in ("1-NN accuracy", "tensor(", "report.html", "nearest_identity", "'rank1': "):
        assert part in shown


def texts(cell: Any) -> list[str]:
    """What a cell has printed, and its value."""
    return [
        output.get("text", "") + output.get("data", {}).get("text/plain", "")
        for output in cell.get("outputs", ())
    ]
