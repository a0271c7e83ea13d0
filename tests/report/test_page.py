import base64
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jinja2 import UndefinedError

from src.exact_retrieval.retrieval.verification import NO_THRESHOLDS
from src.exact_retrieval.retrieval.working_points import WorkingPoint
from src.report.environment import describe_environment
from src.report.evaluation import Evaluation
from src.report.html import ROWS_AT_MOST, Column, Table, write_page
from src.report.page import write_report
from src.report.pictures.all_pictures import draw_pictures
from src.report.wording import UNKNOWN, percent
from tests.report.browser import run_in_browser
from tests.report.evaluations import evaluation_of, make_evaluation

VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """The elements of a page, which have to be nested properly.

    Attributes:
        elements: tag and attributes of each.
        tables: the cells of each, row by row, as text.
        text: all of it but style and scripts.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.text += data
        if self._open and self._open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


WritePage = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> WritePage:
    """Write a report, without pictures unless they are asked for."""

    def write(evaluation: Evaluation, **changes: object) -> Path:
        options = {
            "pictures": False,
            "configuration": "seed: 0\n",
            "environment": {"Python": "3.11"},
            **changes,
        }
        return write_report(evaluation, tmp_path / "run", **options)[0]  # type: ignore[arg-type]

    return write


def with_provenance(evaluation: Evaluation, **changes: object) -> Evaluation:
    provenance = replace(evaluation.provenance, **changes)  # type: ignore[arg-type]
    return replace(evaluation, provenance=provenance)


def with_columns(evaluation: Evaluation, **columns: object) -> Evaluation:
    return replace(evaluation, predictions=evaluation.predictions.assign(**columns))


def test_what_it_tells(write: WritePage, evaluation: Evaluation) -> None:
    evaluation = with_provenance(evaluation, notice="Drawn by code & no person")
    accuracy = replace(evaluation.estimates[0], interval=(0.61, 0.8))
    estimates = (accuracy, *evaluation.estimates[1:])
    page = Page(write(replace(evaluation, estimates=estimates, confidence=0.95)))
    right, queries = int(evaluation.predictions["correct"].sum()), len(evaluation.predictions)
    text = re.sub(r"\s+", " ", page.text.replace("\u00a0", " "))
    for part in (
        f"1-NN accuracy {100 * right / queries:.2f} % The nearest of all references has the "
        "same identity. 95 % interval 61.00 % to 80.00 %.",
        f"mAP {100 * evaluation.estimates[1].value:.2f} % How early all its images by other",
        f"{right} of {queries} queries right by cosine similarity; rank-1 and mAP are over the 32 ",
        "All intervals rest on fewer than 10 identities: they are not reliable.",
        "Drawn by code & no person",
        "models/epoch_120.ckpt",
        "c" * 64,
        "d" * 64,
        "13,115 images of 750 identities",
        f"{queries} images of 6 identities",
        "0123456789abcdef0123456789abcdef01234567",
        "dev, test",
        "seed: 0",
        "Python",
    ):
        assert part in text
    assert "None: the nearest reference" not in text


def test_why_measures_are_missing(write: WritePage, evaluation: Evaluation) -> None:
    omission = "rank1 is not computed: 1 of 50 images has no camera (first: query/<1>.jpg)."
    page = Page(write(replace(evaluation, omissions=(omission,))))
    assert omission in page.text
    assert "not computed" not in Page(write(evaluation)).text


def test_measures(write: WritePage, evaluation: Evaluation) -> None:
    """One row for each measure, with all that its entry says."""
    accuracy, mean_average_precision = evaluation.estimates
    evaluation = replace(
        evaluation,
        estimates=(replace(accuracy, interval=(0.5, 0.7)), mean_average_precision),
        confidence=0.9,
    )
    heading, *rows = Page(write(evaluation)).tables[0]
    assert heading == ["measure", "value", "90 % interval", "mean of", "source"]
    assert rows == [
        ["over all queries: 40"],
        [
            "test/acc",
            percent(accuracy.value),
            f"{percent(0.5)} to {percent(0.7)}",
            "the nearest reference, by cosine, has the query's identity",
            accuracy.measure.source,
        ],
        [f"over queries with a match by another camera: {mean_average_precision.size}"],
        [
            "test/mAP",
            percent(mean_average_precision.value),
            "",
            "average precision of the matches by other cameras",
            mean_average_precision.measure.source,
        ],
    ]


def test_working_points(write: WritePage, evaluation: Evaluation) -> None:
    verification = evaluation.verification
    stranger = WorkingPoint(10, 0.625, 6, 8, 2, 20)
    page = Page(write(replace(evaluation, open_set=(stranger,))))
    points, equal = verification.points, verification.equal_error
    assert equal is not None
    rows = [
        [f"equal error rates of {percent(equal.rate)}", percent(1 - equal.rate), equal.threshold],
        ["1 false accept in 100", percent(points[0].rate), points[0].threshold],
        ["1 false accept in 1,000", percent(points[1].rate), points[1].threshold],
    ]
    expected = [[error, f"{rate} of true pairs", f"{above:.4g}"] for error, rate, above in rows]
    strangers = ["1 stranger named in 10", f"{percent(0.75)} of known people", "0.625"]
    head = ["at", "accepted", "cosine similarity above"]
    assert page.tables[1] == [head, *expected, strangers]
    assert points[0].threshold > equal.threshold
    without = Page(write(replace(evaluation, verification=NO_THRESHOLDS)))
    assert head not in [table[0] for table in without.tables]


def test_tables(write: WritePage, evaluation: Evaluation) -> None:
    *_, identities, queries = Page(write(evaluation)).tables
    predictions = evaluation.predictions
    assert len(identities) == 1 + predictions["identity"].nunique()
    name, count, right, accuracy, average = identities[1]
    own = predictions[predictions["identity"] == name]
    assert (int(count), int(right)) == (len(own), own["correct"].sum())
    assert accuracy == percent(int(right) / int(count))
    assert average == percent(np.nanmean(own["average_precision"]))
    accuracies = [float(row[3].split()[0]) for row in identities[1:]]
    assert accuracies == sorted(accuracies)

    assert {row[10] for row in queries[1:]} == set(predictions["path"])
    margins = [float(row[6]) for row in queries[1:]]
    assert margins == sorted(margins)
    worst = predictions.loc[predictions["margin"].idxmin()]
    assert queries[1][:6] == [
        worst["identity"],
        str(worst["camera"]),
        "✗\u00a0wrong",
        worst["nearest_identity"],
        str(worst["nearest_camera"]),
        f"{worst['similarity']:.4f}",
    ]
    assert queries[1][10:] == [worst["path"], worst["nearest_path"]]


def test_what_is_not_known(write: WritePage) -> None:
    evaluation = make_evaluation(cameras=0, accuracy=1)
    unknown = with_columns(evaluation, margin=np.nan, first_match_rank=pd.NA)
    page = Page(write(with_provenance(unknown, checkpoint=None, checkpoint_sha256=None, tags=())))
    for row in page.tables[-1][1:]:
        assert [row[i] for i in (1, 4, 6, 7, 8, 9)] == [UNKNOWN] * 6
    assert {row[4] for row in page.tables[-2][1:]} == {UNKNOWN}
    assert "None: the nearest reference of every query has its identity." in page.text
    assert "none: random weights" in page.text
    assert "SHA-256" not in page.text
    assert "Tags" not in page.text
    assert page.of("img") == []
    assert "checked" not in page.of("input")[1]
    assert "nan" not in page.text.replace("\n", " ").lower().split()


def test_euclidean(write: WritePage, evaluation: Evaluation) -> None:
    page = Page(write(replace(evaluation, distance="euclidean")))
    assert "queries right by negative squared distance" in page.text


def test_pictures_are_inside_with_a_description(
    write: WritePage, evaluation_with_images: Evaluation, tmp_path: Path
) -> None:
    images = Page(write(evaluation_with_images, pictures=True)).of("img")
    pictures = draw_pictures(evaluation_with_images, tmp_path / "again")
    assert [image["alt"] for image in images] == [picture.alt for picture in pictures]
    for image, picture in zip(images, pictures, strict=True):
        kind, _, content = str(image["src"]).partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content) == picture.path.read_bytes()


def test_what_is_written(evaluation_with_images: Evaluation, tmp_path: Path) -> None:
    options = {"configuration": "", "environment": {}}
    written = write_report(evaluation_with_images, tmp_path / "a", pictures=True, **options)
    assert written == [tmp_path / "a" / "report.html", tmp_path / "a" / "pictures"]
    written = write_report(evaluation_with_images, tmp_path / "b", pictures=False, **options)
    assert written == list((tmp_path / "b").iterdir()) == [tmp_path / "b" / "report.html"]


def test_it_needs_no_other_file(write: WritePage, evaluation_with_images: Evaluation) -> None:
    path = write(evaluation_with_images, pictures=True)
    page = Page(path)
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "srcset", "poster", "data"):
            assert (attributes.get(name) or "data:").startswith("data:")
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(|fetch\(", text)
    (policy,) = [meta["content"] for meta in page.of("meta") if "http-equiv" in meta]
    assert str(policy).startswith("default-src 'none';")


def test_names_are_text(write: WritePage, evaluation: Evaluation) -> None:
    name = "<script>alert('x')</script>&amp;\"'"
    changed = with_columns(evaluation, identity=name, nearest_path=name)
    plain, page = (
        Page(
            write(
                with_provenance(tables, notice=text), configuration=text, environment={text: text}
            )
        )
        for tables, text in ((evaluation, "plain"), (changed, name))
    )
    assert len(page.of("script")) == len(plain.of("script")) == 1
    assert page.tables[-2][1][0] == name
    assert page.tables[-1][1][11] == name
    assert page.text.count(name) >= 4


def test_a_hundred_thousand_queries(write: WritePage) -> None:
    """The page has the worst rows, says so, and stays small enough for a browser."""
    queries = pd.concat([make_evaluation(identities=50, queries=2000).predictions] * 50)
    numbers = np.arange(len(queries))
    queries = queries.assign(
        path=[f"{path}-{number}" for path, number in zip(queries["path"], numbers, strict=True)],
        identity=[f"{number // 10:05}" for number in numbers],
        margin=np.random.default_rng(0).permutation(numbers) / len(queries),
    )
    path = write(evaluation_of(queries))
    *_, identities, shown = Page(path).tables
    assert [row[6] for row in shown[1:]] == [f"{place / 1e5:.4f}" for place in range(ROWS_AT_MOST)]
    assert len(identities) == 1 + ROWS_AT_MOST
    text = path.read_text(encoding="utf-8")
    assert "first 5,000 of 100,000 rows. All queries are in <code>predictions.parquet" in text
    assert "first 5,000 of 10,000 rows" in text
    assert path.stat().st_size < 15e6


def test_a_name_that_a_template_lacks(tmp_path: Path) -> None:
    with pytest.raises(UndefinedError, match=r"is undefined"):
        write_page(tmp_path / "page.html", "report.html.j2", notice="")
    assert list(tmp_path.iterdir()) == []


def test_choices_are_in_the_order_of_numbers() -> None:
    cameras = pd.DataFrame({"camera": pd.array([10, 2, None, 1, 2], "Int64")})
    table = Table("", [Column("camera", "camera")], cameras, "camera", "")
    assert table.choices("camera") == ["1", "2", UNKNOWN, "10"]


def test_environment() -> None:
    environment = describe_environment()
    assert {"Python", "torch", "pytorch-lightning", "Processor"} <= set(environment)
    assert all(environment.values())


class TestInBrowser:
    """Sorting and filtering, as a reader would."""

    # What a reader sees: rows(i) of the table with the columns at `places`, without hidden rows.
    SCRIPT = """
        const [identities, queries] = document.querySelectorAll("[data-table]");
        const rows = (element, ...places) => [...element.querySelectorAll("tbody tr")]
            .filter((row) => row.checkVisibility())
            .map((row) => places.map((place) => row.cells[place].textContent));
        const click = (element, key) =>
            element.querySelector(`th[data-key=${key}] button`).click();
        const sorts = (element) => Object.fromEntries(
            [...element.querySelectorAll("th[aria-sort]")].map((header) =>
                [header.dataset.key, header.getAttribute("aria-sort")]));
        const status = (element) => element.querySelector("[role=status]").textContent;
        const control = (key) => queries.querySelector(`[data-filter="${key}"]`);
        const set = (key, value) => {
            control(key).value = value;
            control(key).dispatchEvent(new Event("input", { bubbles: true }));
        };
    """

    def run(self, page: Path, script: str) -> object:
        return run_in_browser(page, self.SCRIPT + script)

    @pytest.fixture
    def evaluation(self) -> Evaluation:
        """Ranks and cameras of one and two digits, and some that are unknown."""
        evaluation = make_evaluation(identities=12, queries=60, cameras=12)
        margins = evaluation.predictions["margin"].where(evaluation.predictions.index % 7 != 0)
        return replace(evaluation, predictions=evaluation.predictions.assign(margin=margins))

    def test_mistakes_are_shown_first(self, write: WritePage, evaluation: Evaluation) -> None:
        shown, status, everything, full = self.run(
            write(evaluation),
            """
            const first = [rows(queries, 10), status(queries)];
            control("correct").click();
            return [...first, rows(queries, 10), status(queries)];
            """,
        )
        predictions = evaluation.predictions
        wrong = predictions[~predictions["correct"]].sort_values("margin", kind="stable")
        assert [path for (path,) in shown] == list(wrong["path"])
        assert status == f"{len(wrong)} of 60 rows shown"
        assert len(everything) == 60
        assert full == "60 of 60 rows shown"

    def test_numbers_are_sorted_as_numbers(self, write: WritePage, evaluation: Evaluation) -> None:
        steps = self.run(
            write(evaluation),
            """
            control("correct").click();
            const steps = [[sorts(queries), rows(queries, 6)]];
            for (const [key, place] of [["margin", 6], ["margin", 6], ["camera", 1]]) {
                click(queries, key);
                steps.push([sorts(queries), rows(queries, place)]);
            }
            return steps;
            """,
        )
        orders = [order for order, _ in steps]
        assert orders == [
            {"margin": "ascending"},
            {"margin": "descending"},
            {"margin": "ascending"},
            {"camera": "ascending"},
        ]
        for (order, cells), column in zip(steps, ["margin"] * 3 + ["camera"], strict=True):
            values = evaluation.predictions[column].dropna().round(4)
            known = [float(text) for (text,) in cells if text != UNKNOWN]
            assert known == sorted(values, reverse="descending" in order.values())
            assert [text for (text,) in cells[len(known) :]] == [UNKNOWN] * (60 - len(known))

    def test_texts_and_percentages(self, write: WritePage, evaluation: Evaluation) -> None:
        people, best, status = self.run(
            write(evaluation),
            """
            click(identities, "identity"), click(identities, "identity");
            const people = rows(identities, 0);
            click(identities, "accuracy"), click(identities, "accuracy");
            return [people, rows(identities, 3), status(identities)];
            """,
        )
        names = sorted(evaluation.predictions["identity"].unique(), reverse=True)
        assert [name for (name,) in people] == names
        shares = [float(text.split()[0]) for (text,) in best]
        assert shares == sorted(shares, reverse=True)
        assert status == "12 of 12 rows shown"

    def test_filters_together(self, write: WritePage, evaluation: Evaluation) -> None:
        by_identity, by_camera, by_both, none, all_again = self.run(
            write(evaluation),
            """
            control("correct").click();
            const found = [];
            const look = () => found.push(rows(queries, 10));
            set("identity nearest_identity", "001"), look();
            set("identity nearest_identity", ""), set("nearest_camera", "1"), look();
            set("identity nearest_identity", " 001 "), look();
            set("identity nearest_identity", "nobody"), look();
            found[3] = status(queries);
            set("identity nearest_identity", ""), set("nearest_camera", ""), look();
            return found;
            """,
        )
        predictions = evaluation.predictions
        has_text = predictions["identity"].str.contains("001") | predictions[
            "nearest_identity"
        ].str.contains("001")
        at_camera = predictions["nearest_camera"] == 1

        for found, expected in (
            (by_identity, has_text),
            (by_camera, at_camera),
            (by_both, has_text & at_camera),
            (all_again, has_text | True),
        ):
            assert found
            assert {path for (path,) in found} == set(predictions["path"][expected])
        assert none == "0 of 60 rows shown"

    def test_the_keyboard_reaches_every_button(
        self, write: WritePage, evaluation: Evaluation
    ) -> None:
        buttons, headers, hidden = self.run(
            write(evaluation),
            """
            const buttons = [...document.querySelectorAll("th button")];
            buttons.forEach((button) => button.focus());
            return [
                buttons.filter((button) => button.tabIndex === 0 && button.textContent).length,
                document.querySelectorAll("[data-table] th").length,
                document.querySelectorAll(".filters[hidden]").length,
            ];
            """,
        )
        assert buttons == headers == 5 + 12
        assert hidden == 0

    def test_the_widest_table_fits_the_window(self, write: WritePage) -> None:
        """With columns as wide as at the size of Market-1501, none has to be scrolled to."""
        evaluation = make_evaluation(identities=12, queries=60, cameras=12)
        wide = with_columns(evaluation, first_match_rank=13115, cross_camera_rank=13115)
        window, *widths = self.run(
            write(wide),
            """
            const scrolled = [...document.querySelectorAll("[data-table] .scroll")];
            const widths = scrolled.map((each) => each.scrollWidth - each.clientWidth);
            return [innerWidth, ...widths];
            """,
        )
        assert window <= 1280
        assert widths == [0, 0]

    def test_many_rows_come_in_steps(self, write: WritePage) -> None:
        evaluation = make_evaluation(queries=1203, accuracy=0.5)
        steps = self.run(
            write(evaluation),
            """
            const more = queries.querySelector("button.more");
            const steps = [];
            const look = () => steps.push([rows(queries, 6), status(queries), more.textContent]);
            control("correct").click(), look();
            more.click(), look();
            click(queries, "margin"), click(queries, "margin"), look();
            more.click(), look();
            steps.push(more.checkVisibility());
            control("correct").click(), more.click();
            dispatchEvent(new Event("beforeprint"));
            look();
            return steps;
            """,
        )
        first, second, sorted_again, third, button, printed = steps
        margins = [f"{margin:.4f}" for margin in sorted(evaluation.predictions["margin"])]
        for (cells, status, _), count in ((first, 500), (second, 1000), (third, 1203)):
            assert [text for (text,) in cells] == margins[:count]
            assert status == f"{count:,} of 1,203 rows shown"
        assert first[2] == "Show more: 703 are left"
        assert sorted_again == second
        assert button is False
        wrong = (~evaluation.predictions["correct"]).sum()
        assert wrong > 500
        assert len(printed[0]) == wrong

    def test_a_table_without_mistakes(self, write: WritePage) -> None:
        evaluation = make_evaluation(accuracy=1)
        status = self.run(write(evaluation), "return status(queries);")
        assert status == "40 of 40 rows shown"
