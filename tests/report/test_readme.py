import re
from pathlib import Path

import pytest

from src.exact_retrieval.retrieval.measures import DENOMINATORS, MEASURES, Measure
from tests.conftest import ROOT

DOCS = (ROOT / "docs").glob("*.md")


def render(measure: Measure) -> str:
    """Write a row of the table in the section "What it logs"."""
    options = {option: f"`model.{option}`" for option in ("distance", "k", "vote")}
    meaning = measure.meaning.format(**options)
    denominator = DENOMINATORS[measure.denominator]
    return f"| `test/{measure.name}` | {denominator} | {meaning} | {measure.source} |"


def test_the_table_of_measures_is_that_of_the_entries() -> None:
    """If it fails: put what `expected` holds into the README."""
    head = ["| metric | mean over | of | source |", "|---|---|---|---|"]
    expected = "\n".join([*head, *map(render, MEASURES)])
    assert f"\n\n{expected}\n\n" in (ROOT / "README.md").read_text()


def test_the_numbers_of_queries_are_named() -> None:
    text = (ROOT / "README.md").read_text()
    assert all(f"`test/{name}`" in text for name in DENOMINATORS)


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/{p.name}" for p in DOCS)])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        if anchor:
            assert anchor in headings(path), f"{target}#{anchor}"


def headings(path: Path) -> set[str]:
    """Anchors of a page, as GitHub names them."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
