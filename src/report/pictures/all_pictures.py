"""All pictures of an evaluation."""

from pathlib import Path

from src.report.outcomes import Outcomes
from src.report.pictures.camera_pairs import draw_camera_pairs
from src.report.pictures.cumulative_match import draw_cumulative_match
from src.report.pictures.identity_accuracy import draw_identity_accuracy
from src.report.pictures.mistakes import draw_mistakes
from src.report.pictures.picture import Picture
from src.report.pictures.similarities import draw_similarities


def draw_pictures(outcomes: Outcomes, data_dir: Path, folder: Path) -> list[Picture]:
    """Draw what an evaluation can be seen to have done.

    Args:
        outcomes: what became of every query, with the similarities of all pairs.
        data_dir: the folder that paths in `outcomes` are relative to.
        folder: for the PNG files, made where it is missing.

    Returns:
        Those of the pictures that there is something to draw for, in the order of a report.
    """
    assert outcomes.similarities is not None
    pictures = [
        draw_mistakes(outcomes, data_dir, folder / "mistakes.png"),
        draw_cumulative_match(outcomes, folder / "cumulative_match.png"),
        draw_similarities(outcomes.similarities, outcomes.distance, folder / "similarities.png"),
        draw_camera_pairs(outcomes, folder / "camera_pairs.png"),
        draw_identity_accuracy(outcomes, folder / "identity_accuracy.png"),
    ]
    return [picture for picture in pictures if picture is not None]
