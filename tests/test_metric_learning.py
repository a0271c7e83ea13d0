"""The author's checkpoint on the author's data, where a user has put them in place."""

from pathlib import Path

import pytest
from hydra import compose, initialize

from src.eval import evaluate
from tests.conftest import ROOT

DATA, CHECKPOINT = ROOT / "data", ROOT / "models" / "epoch_120.ckpt"
TEST_SETS = [("reference", "query"), ("bounding_box_test", "query")]


def test_the_published_accuracy(tmp_path: Path) -> None:
    missing = [] if CHECKPOINT.is_file() else [str(CHECKPOINT)]
    if not any(all((DATA / name).is_dir() for name in names) for names in TEST_SETS):
        missing.append(f"Market-1501 in {DATA}")
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")
    with initialize(version_base="1.3", config_path="../configs"):
        cfg = compose("eval.yaml", return_hydra_config=True)
    cfg.paths.output_dir = str(tmp_path)
    cfg.paths.root_dir = str(ROOT)
    cfg.extras.print_config = False
    cfg.extras.enforce_tags = False
    metrics, _ = evaluate(cfg)
    assert metrics["test/acc"].item() == pytest.approx(0.926, abs=0.001)
