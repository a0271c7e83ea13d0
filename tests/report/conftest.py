from pathlib import Path

import pytest

from src.report.evaluation import Evaluation
from tests.report.evaluations import make_evaluation, save_images


@pytest.fixture
def evaluation() -> Evaluation:
    return make_evaluation()


@pytest.fixture
def evaluation_with_images(evaluation: Evaluation, tmp_path: Path) -> Evaluation:
    return save_images(evaluation, tmp_path / "data")
