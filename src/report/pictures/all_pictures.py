"""All pictures of an evaluation."""

from pathlib import Path

from src.report.evaluation import Evaluation
from src.report.pictures.camera_pairs import draw_camera_pairs
from src.report.pictures.cumulative_match import draw_cumulative_match
from src.report.pictures.error_rates import draw_det, draw_roc
from src.report.pictures.identity_accuracy import draw_identity_accuracy
from src.report.pictures.mistakes import draw_cross_camera_mistakes, draw_mistakes
from src.report.pictures.picture import Picture
from src.report.pictures.similarities import draw_similarities
from src.report.working_points import verification_thresholds

PICTURES_FOLDER = "pictures"


def draw_pictures(evaluation: Evaluation, folder: Path) -> list[Picture]:
    """Draw all pictures that there is something to draw for, in the order of a report.

    Args:
        evaluation: with images in the folder that its provenance names.
        folder: for the PNG files, made if missing.
    """
    predictions, data_dir = evaluation.predictions, Path(evaluation.provenance.data_dir)
    histogram, verification = evaluation.histogram, evaluation.verification
    thresholds = verification_thresholds(evaluation)
    pictures = [
        draw_mistakes(predictions, data_dir, folder / "mistakes.png"),
        draw_cross_camera_mistakes(predictions, data_dir, folder / "cross_camera_mistakes.png"),
        draw_cumulative_match(predictions, folder / "cumulative_match.png"),
        draw_similarities(histogram, evaluation.distance, thresholds, folder / "similarities.png"),
        draw_roc(histogram, verification, folder / "roc.png"),
        draw_det(histogram, verification, folder / "det.png"),
        draw_camera_pairs(predictions, folder / "camera_pairs.png"),
        draw_identity_accuracy(predictions, folder / "identity_accuracy.png"),
    ]
    return [picture for picture in pictures if picture is not None]
