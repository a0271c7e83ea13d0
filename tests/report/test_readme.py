from src.exact_retrieval.retrieval.measures import DENOMINATORS, MEASURES, Measure
from tests.conftest import ROOT


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
