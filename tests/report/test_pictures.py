from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from src.exact_retrieval.retrieval.verification import NO_THRESHOLDS
from src.report.evaluation import Evaluation
from src.report.pictures.all_pictures import draw_pictures
from src.report.pictures.camera_pairs import draw_camera_pairs
from src.report.pictures.cumulative_match import draw_cumulative_match
from src.report.pictures.error_rates import draw_det, draw_roc, trace_rates
from src.report.pictures.identity_accuracy import draw_identity_accuracy
from src.report.pictures.mistakes import draw_cross_camera_mistakes, draw_mistakes
from src.report.pictures.palette import LEFT_OUT, QUERY, RIGHT, WRONG
from src.report.pictures.picture import Picture
from src.report.pictures.similarities import draw_similarities
from src.report.pictures.strips import Tile, draw_strips
from src.report.wording import percent
from src.report.working_points import Threshold
from tests.conftest import save_image
from tests.report.evaluations import make_evaluation, make_histogram, make_verification

NAMES = [
    "mistakes",
    "cross_camera_mistakes",
    "cumulative_match",
    "similarities",
    "roc",
    "det",
    "camera_pairs",
    "identity_accuracy",
]


def pixels_of(path: Path, colour: str) -> int:
    """How many pixels have exactly this colour."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return int((pixels == np.round(255 * np.array(to_rgb(colour)))).all(axis=2).sum())


def with_changes(evaluation: Evaluation, **columns: object) -> Evaluation:
    return replace(evaluation, predictions=evaluation.predictions.assign(**columns))


def with_one_image(evaluation: Evaluation, data_dir: Path) -> Evaluation:
    """Write the image of the worst mistake of either measure alone."""
    predictions = evaluation.predictions
    wrong = predictions.loc[~predictions["correct"]].sort_values("margin", kind="stable")
    late = predictions.sort_values("cross_camera_rank", ascending=False, kind="stable")
    for path in (*wrong["path"][:1], *late["path"][:1]):
        save_image(data_dir / path, path)
    return replace(evaluation, provenance=replace(evaluation.provenance, data_dir=str(data_dir)))


def test_all_pictures(evaluation_with_images: Evaluation, tmp_path: Path) -> None:
    pictures = draw_pictures(evaluation_with_images, tmp_path / "run" / "pictures")
    assert [picture.path.name for picture in pictures] == [f"{name}.png" for name in NAMES]
    for picture in pictures:
        with Image.open(picture.path) as image:
            assert image.format == "PNG"
            assert round(image.info["dpi"][0]) == 150
            assert min(image.size) > 300
        assert picture.title
        assert picture.alt.endswith(".")
        assert any(character.isdigit() for character in picture.alt)


def test_the_same_evaluation_gives_the_same_files(
    evaluation_with_images: Evaluation, tmp_path: Path
) -> None:
    first, second = (draw_pictures(evaluation_with_images, tmp_path / name) for name in "ab")
    for one, other in zip(first, second, strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()
        assert (one.title, one.alt) == (other.title, other.alt)


@pytest.mark.parametrize(
    ("evaluation", "missing"),
    [
        (make_evaluation(cameras=0), {"camera_pairs", "cross_camera_mistakes"}),
        (make_evaluation(accuracy=1), {"mistakes"}),
        (make_evaluation(accuracy=0), set()),
        (make_evaluation(identities=1), {"mistakes"}),
        (make_evaluation(identities=2, queries=2, cameras=1), set()),
        (make_evaluation(identities=60, queries=300, cameras=12), set()),
        (with_changes(make_evaluation(), margin=np.nan), set()),
        (replace(make_evaluation(), histogram=None, distance=None), {"similarities", "roc", "det"}),
    ],
    ids=["no cameras", "no mistakes", "all wrong", "one", "two", "many", "no margins", "earlier"],
)
def test_unusual_evaluations(evaluation: Evaluation, missing: set[str], tmp_path: Path) -> None:
    evaluation = with_one_image(evaluation, tmp_path)
    pictures = draw_pictures(evaluation, tmp_path / "pictures")
    assert {picture.path.stem for picture in pictures} == set(NAMES) - missing
    assert {path.stem for path in (tmp_path / "pictures").iterdir()} == set(NAMES) - missing


def test_names_that_look_like_formulas(tmp_path: Path) -> None:
    name = r"$\frac$ {of} <b> & a very long name of a person"
    evaluation = with_changes(make_evaluation(accuracy=0), identity=name, nearest_identity=name)
    names = evaluation.predictions["neighbor_path"].map(lambda paths: [name] * len(paths))
    evaluation = with_one_image(with_changes(evaluation, neighbor_identity=names), tmp_path)
    assert len(draw_pictures(evaluation, tmp_path / "pictures")) == len(NAMES)


class TestStrips:
    @pytest.fixture
    def image(self, tmp_path: Path) -> Path:
        save_image(tmp_path / "0001_c1.jpg", 1)
        return tmp_path / "0001_c1.jpg"

    @pytest.mark.parametrize(
        ("frame", "colour"),
        [("query", QUERY), ("right", RIGHT), ("wrong", WRONG), ("left out", LEFT_OUT)],
    )
    def test_frames(self, frame: str, colour: str, image: Path, tmp_path: Path) -> None:
        draw_strips([[Tile(image, "", frame)]], tmp_path / "strips.png")
        drawn = {c: pixels_of(tmp_path / "strips.png", c) for c in (QUERY, RIGHT, WRONG, LEFT_OUT)}
        assert max(drawn, key=drawn.__getitem__) == colour
        assert drawn[colour] > 400

    def test_right_and_wrong_differ_without_colour(self, image: Path, tmp_path: Path) -> None:
        """Frames: the share of their own outline that is drawn. Dashes leave gaps."""
        drawn = {}
        for frame, colour in (("right", RIGHT), ("wrong", WRONG)):
            draw_strips([[Tile(image, "", frame)]], tmp_path / f"{frame}.png")
            drawn[frame] = pixels_of(tmp_path / f"{frame}.png", colour)
        assert drawn["wrong"] < 0.85 * drawn["right"]

    def test_size(self, image: Path, tmp_path: Path) -> None:
        def size(*lengths: int, headings: tuple[str, ...] = ()) -> np.ndarray:
            rows = [[Tile(image, "a\nb", "right")] * length for length in lengths]
            draw_strips(rows, tmp_path / "strips.png", headings)
            with Image.open(tmp_path / "strips.png") as drawn:
                return np.array(drawn.size)

        one = size(1)
        assert (size(1, 1) - one)[0] == 0
        assert size(3, 1, 2).tolist() == pytest.approx(
            [one[0] + 2 * (size(2) - one)[0], one[1] + 2 * (size(1, 1) - one)[1]], abs=2
        )
        assert size(1, headings=("query",))[1] > one[1]

    @pytest.mark.parametrize("content", [None, b"", b"no image"])
    def test_a_file_that_cannot_be_read(
        self, content: bytes | None, image: Path, tmp_path: Path
    ) -> None:
        gone = tmp_path / "gone.jpg"
        if content is not None:
            gone.write_bytes(content)
        strips = [tmp_path / name for name in ("with.png", "without.png")]
        draw_strips([[Tile(image, "", "right"), Tile(image, "", "query")]], strips[0])
        draw_strips([[Tile(image, "", "right"), Tile(gone, "", "query")]], strips[1])
        white = [pixels_of(path, "white") for path in strips]
        assert white[1] > white[0] + 5000
        assert pixels_of(strips[1], RIGHT) == pixels_of(strips[0], RIGHT)


class TestMistakes:
    def drawn_tiles(
        self, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch, count: int = 12
    ) -> tuple[list[list[Tile]], Picture]:
        drawn: list[list[Tile]] = []
        monkeypatch.setattr(Path, "is_file", lambda _: True)
        monkeypatch.setattr(
            "src.report.pictures.mistakes.draw_strips", lambda rows, *_: drawn.extend(rows)
        )
        picture = draw_mistakes(evaluation.predictions, Path("data"), Path("mistakes.png"), count)
        assert picture is not None
        return drawn, picture

    def test_the_most_confident_come_first(
        self, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows, _ = self.drawn_tiles(evaluation, monkeypatch, count=5)
        predictions = evaluation.predictions
        worst = sorted(
            (row.margin, row.path) for row in predictions.itertuples() if not row.correct
        )
        assert [strip[0].path for strip in rows] == [Path("data") / p for _, p in worst[:5]]
        for strip in rows:
            query, *references = strip
            assert query.frame == "query"
            assert len(references) == 5
            assert references[0].frame == "wrong"
            identity = query.path.parent.name
            for tile in references:
                assert tile.frame == ("right" if tile.path.parent.name == identity else "wrong")
                assert tile.caption.startswith(tile.path.parent.name + "\ncamera ")

    def test_captions(self, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
        rows, picture = self.drawn_tiles(evaluation, monkeypatch)
        wrong = evaluation.predictions.loc[~evaluation.predictions["correct"]]
        worst = wrong.loc[wrong["margin"].idxmin()]
        caption = f"{worst['identity']}\ncamera {worst['camera']}\nmargin\n{worst['margin']:.3f}"
        assert rows[0][0].caption == caption
        assert rows[0][1].caption.endswith(f"\n{worst['similarity']:.3f}")
        assert f"{min(12, len(wrong))} of {len(wrong)} wrong queries" in picture.alt
        assert f"identity {worst['identity']} was taken for" in picture.alt
        assert f"margin of {worst['margin']:.3f}" in picture.alt

    def test_those_without_a_margin_come_last(
        self, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wrong = evaluation.predictions.index[~evaluation.predictions["correct"]]
        margins = evaluation.predictions["margin"].copy()
        margins[wrong[0]] = np.nan
        rows, _ = self.drawn_tiles(with_changes(evaluation, margin=margins), monkeypatch, count=99)
        assert rows[-1][0].path == Path("data") / evaluation.predictions["path"][wrong[0]]
        assert "margin" not in rows[-1][0].caption
        assert all("margin" in strip[0].caption for strip in rows[:-1])

    @pytest.mark.parametrize(
        ("mistakes", "title"), [(1, "The only"), (3, "All 3"), (4, "worst 3 of 4")]
    )
    def test_titles(
        self, mistakes: int, title: str, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wrong = with_changes(evaluation, correct=np.arange(len(evaluation.predictions)) >= mistakes)
        _, picture = self.drawn_tiles(wrong, monkeypatch, count=3)
        assert title in picture.title

    def test_without_cameras(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rows, _ = self.drawn_tiles(make_evaluation(cameras=0), monkeypatch)
        assert "camera" not in "".join(tile.caption for strip in rows for tile in strip)


def test_mistakes_across_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[Tile]] = []
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    monkeypatch.setattr(
        "src.report.pictures.mistakes.draw_strips", lambda rows, *_: drawn.extend(rows)
    )
    predictions = make_evaluation(cameras=2).predictions
    picture = draw_cross_camera_mistakes(predictions, Path("data"), Path("late.png"), count=30)
    late = predictions.loc[predictions["cross_camera_rank"].fillna(1) > 1]
    assert {strip[0].path for strip in drawn} == {Path("data") / path for path in late["path"]}
    ranks = [int(strip[0].caption.rpartition("\n")[2]) for strip in drawn]
    assert ranks == sorted(late["cross_camera_rank"], reverse=True)
    assert picture is not None
    assert picture.title == f"All {len(late)} mistakes of rank-1, the worst first"
    assert f"has rank {ranks[0]}." in picture.alt
    frames = set()
    for query, *references in drawn:
        identity, camera = query.path.name.split("s")[0].split("_")
        for tile in references:
            own = tile.path.name.split("s")[0].split("_")
            expected = (
                "wrong" if own[0] != identity else "left out" if own[1] == camera else "right"
            )
            assert tile.frame == expected
            assert tile.caption.endswith("left out") == (expected == "left out")
            frames.add(expected)
    assert frames == {"right", "wrong", "left out"}


def test_no_mistakes_across_cameras(evaluation: Evaluation) -> None:
    first = evaluation.predictions.assign(cross_camera_rank=1)
    assert draw_cross_camera_mistakes(first, Path("data"), Path("late.png")) is None


def test_mistakes_without_their_images(evaluation: Evaluation, tmp_path: Path) -> None:
    assert draw_mistakes(evaluation.predictions, tmp_path, tmp_path / "mistakes.png") is None
    assert list(tmp_path.iterdir()) == []


class TestNumbersInWords:
    """The alternative texts, against sums made one query at a time."""

    def test_cumulative_match_across_cameras(self, evaluation: Evaluation, tmp_path: Path) -> None:
        alt = draw_cumulative_match(evaluation.predictions, tmp_path / "a.png").alt
        ranks = [rank for rank in evaluation.predictions["cross_camera_rank"] if not pd.isna(rank)]
        assert f"{len(ranks)} queries" in alt
        assert "across cameras" in alt
        for last in (1, 5, 10, 20):
            share = sum(rank <= last for rank in ranks) / len(ranks)
            assert f"{percent(share)} at rank {last}" in alt

    def test_cumulative_match_without_cameras(self, tmp_path: Path) -> None:
        evaluation = make_evaluation(cameras=0)
        ranks = evaluation.predictions["first_match_rank"].copy()
        ranks[:4] = pd.NA
        changed = with_changes(evaluation, first_match_rank=ranks)
        alt = draw_cumulative_match(changed.predictions, tmp_path / "a.png").alt
        share = sum(not pd.isna(rank) and rank <= 5 for rank in ranks) / len(ranks)
        assert "over all references" in alt
        assert f"{len(ranks)} queries" in alt
        assert f"{percent(share)} at rank 5" in alt

    def test_cumulative_match_that_never_comes(self, tmp_path: Path) -> None:
        never = pd.array([pd.NA] * 40, dtype="Int64")
        evaluation = with_changes(make_evaluation(cameras=0), first_match_rank=never)
        alt = draw_cumulative_match(evaluation.predictions, tmp_path / "a.png").alt
        assert alt.endswith(f": {percent(0)} at rank 1.")

    def test_camera_pairs(self, evaluation: Evaluation, tmp_path: Path) -> None:
        picture = draw_camera_pairs(evaluation.predictions, tmp_path / "a.png")
        assert picture is not None
        pairs: dict[tuple[int, int], list[bool]] = {}
        for row in evaluation.predictions.itertuples():
            pairs.setdefault((row.camera, row.nearest_camera), []).append(row.correct)
        share, size, (camera, nearest) = min(
            (sum(right) / len(right), -len(right), pair) for pair, right in pairs.items()
        )
        assert (
            f"The lowest is {percent(share)} of {-size} queries of camera {camera} whose nearest "
            f"reference is of camera {nearest}."
        ) in picture.alt

    def test_of_many_cameras_those_with_most_queries(self, tmp_path: Path) -> None:
        evaluation = make_evaluation(queries=400)
        cameras = np.minimum(np.arange(400) // 2, 100)  # two queries of each of 0 to 99, then 200
        changed = with_changes(evaluation, camera=cameras, nearest_camera=cameras % 7)
        picture = draw_camera_pairs(changed.predictions, tmp_path / "a.png")
        assert picture is not None
        assert "Accuracy of 258 queries by 30 cameras of the query and 7 of" in picture.alt

    def test_similarities(self, tmp_path: Path) -> None:
        same, different = np.array([0.5, 0.5, 0.7]), np.array([0.1, 0.5, 0.5, 0.29])
        pairs = make_histogram(same + 0.0005, different + 0.0005, bins=2000)
        threshold = Threshold("1 error in 9", "half of all", 0.5)
        picture = draw_similarities(pairs, "cosine", [threshold], tmp_path / "a.png")
        assert picture is not None
        alt = picture.alt
        assert "3 pairs of one identity with a mean of 0.567" in alt
        assert "4 pairs of two identities with a mean of 0.348" in alt
        assert alt.endswith("; at 1 error in 9, half of all are above 0.5.")

    def test_curves(self, evaluation: Evaluation, tmp_path: Path) -> None:
        verification = evaluation.verification
        assert verification.equal_error is not None
        roc = draw_roc(evaluation.histogram, verification, tmp_path / "roc.png")
        det = draw_det(evaluation.histogram, verification, tmp_path / "det.png")
        assert roc is not None
        assert det is not None
        rates = [percent(point.rate) for point in verification.points]
        named = f"{rates[0]} of true pairs at 1 false accept in 100, {rates[1]} of true pairs at 1"
        assert named in roc.alt
        assert named in det.alt
        assert percent(verification.equal_error.rate) in det.alt

    def test_points_of_a_curve(self) -> None:
        """By hand: 1/5 of the impostors and all of the others are at or above 0.5, and so on."""
        same, different = np.array([0.7, 0.9]), np.array([-0.5, -0.1, 0.1, 0.3, 0.7])
        histogram = make_histogram(same, different, bins=4)
        rates = trace_rates(histogram, make_verification(same, different))
        assert rates.tolist() == [[0.2, 0], [0.6, 0], [1, 0], [1, 0]]
        rates = trace_rates(histogram, make_verification(different[-2:], same))
        assert rates[:, 0].min() > 0

    def test_no_error_has_no_place_on_a_log_scale(self, tmp_path: Path) -> None:
        same, different = np.full(300, 0.9), np.full(300, 0.1)
        given = make_histogram(same, different), make_verification(same, different)
        roc = draw_roc(*given, tmp_path / "roc.png")
        assert roc is not None
        assert f"{percent(1)} of true pairs at 1 false accept in 100" in roc.alt
        assert draw_det(*given, tmp_path / "det.png") is None
        few = make_verification(same[:3], different[:3])
        roc = draw_roc(given[0], few, tmp_path / "roc.png")
        assert roc is not None
        assert "1 false accept" not in roc.alt

    @pytest.mark.parametrize("kind", ["same", "different"])
    def test_pairs_of_one_kind(self, kind: str, evaluation: Evaluation, tmp_path: Path) -> None:
        assert evaluation.histogram is not None
        pairs = evaluation.histogram._replace(**{kind: torch.zeros_like(evaluation.histogram.same)})
        picture = draw_similarities(pairs, "cosine", [], tmp_path / "a.png")
        assert picture is not None
        assert picture.alt.count("pairs") == 1
        for draw in (draw_roc, draw_det):
            assert draw(pairs, NO_THRESHOLDS, tmp_path / "b.png") is None

    def test_identities(self, evaluation: Evaluation, tmp_path: Path) -> None:
        alt = draw_identity_accuracy(evaluation.predictions, tmp_path / "a.png").alt
        people: dict[str, list[bool]] = {}
        for row in evaluation.predictions.itertuples():
            people.setdefault(row.identity, []).append(row.correct)
        assert f"Accuracy of {len(people)} identities" in alt
        assert f"{sum(map(all, people.values()))} have all queries right" in alt
        worst = min(people, key=lambda name: (np.mean(people[name]), -len(people[name]), name))
        assert f"The worst: {worst} ({sum(people[worst])} of {len(people[worst])})" in alt


Draw = Callable[[pd.DataFrame, Path], Picture]


@pytest.mark.parametrize("draw", [draw_cumulative_match, draw_identity_accuracy])
def test_a_matplotlibrc_does_not_matter(draw: Draw, evaluation: Evaluation, tmp_path: Path) -> None:
    from matplotlib import rc_context

    draw(evaluation.predictions, tmp_path / "plain.png")
    with rc_context({"font.size": 30, "savefig.dpi": 20, "axes.facecolor": "red"}):
        draw(evaluation.predictions, tmp_path / "changed.png")
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "changed.png").read_bytes()
