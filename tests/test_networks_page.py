"""docs/networks.md, run as written."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize

from src.datamodules.components.sample import generate_sample
from src.eval import evaluate
from src.utils.arguments import prepare_arguments
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "networks.md").read_text()
BLOCK = re.compile(
    r"(?:^`(?P<file>[\w.]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```", re.M | re.S
)
IDENTITIES = 16


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a reader would try the page, with images in it."""
    generate_sample(tmp_path / "sample", identities=IDENTITIES, seed=0)
    shutil.copytree(tmp_path / "sample", tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def run_command(line: str, folder: Path) -> float:
    """Run an evaluation in this process, with a small sample and no records."""
    words = [word for word in shlex.split(line) if word != "PYTHONPATH=."]
    assert words[:2] == ["python", "eval.py"]
    small = [f"paths.output_dir={folder / 'run'}", "trainer=cpu", "logger=none", "callbacks=none"]
    if "datamodule=listing" not in words:
        small += [f"datamodule.data_dir={folder / 'sample'}", "datamodule.identities=180"]
    with initialize(version_base="1.3", config_path="../configs"):
        cfg = compose(
            "eval.yaml", return_hydra_config=True, overrides=[*prepare_arguments(words[2:]), *small]
        )
    metrics, _ = evaluate(cfg)
    return metrics["test/acc"].item()


@pytest.mark.filterwarnings("ignore:.*images are not .* pixels")
@pytest.mark.filterwarnings("ignore:Images are prepared otherwise than in the network's training")
@pytest.mark.filterwarnings("ignore:.*queries have an identity that no reference has")
def test_every_example_runs_as_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for extra in ("timm", "onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(extra, reason=f"{extra} is not installed")
    monkeypatch.setattr("src.datamodules.sample_datamodule.generate_sample", lambda *_, **__: None)
    accuracies = {}
    for block in BLOCK.finditer(PAGE):
        if block["file"]:
            (folder / block["file"]).write_text(block["text"])
        elif block["kind"] == "python":
            subprocess.run([sys.executable, "-W", "ignore", "-c", block["text"]], check=True)
        else:
            for line in block["text"].replace("\\\n", " ").splitlines():
                accuracies[line] = run_command(line, folder)
    assert len(accuracies) == 9
    assert all(0 <= accuracy <= 1 for accuracy in accuracies.values())
    exported = [value for line, value in accuracies.items() if "model=exported" in line]
    assert exported[0] == exported[1]
    (listed,) = (value for line, value in accuracies.items() if "datamodule=listing" in line)
    assert listed == run_command("python eval.py experiment=sample", folder)
