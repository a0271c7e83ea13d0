"""How numbers, names and facts are written in a report."""

from collections.abc import Mapping

from src.exact_retrieval.statistics.interval import FEWEST_IDENTITIES
from src.report.evaluation import FLIP, Provenance, SetSize

UNKNOWN = "\N{EN DASH}"

_SIMILARITIES = {
    "cosine": "cosine similarity",
    "euclidean": "negative squared distance",
    "inner_product": "inner product",
}


def percent(share: float, decimals: int = 2) -> str:
    """Write a share in [0, 1] as a percentage, with a space that does not break."""
    return f"{100 * share:.{decimals}f}\u00a0%"


def points(difference: float) -> str:
    """Write a difference of shares in percentage points."""
    return f"{100 * difference:+.2f}"


def confidence_level(confidence: float) -> str:
    """Write the confidence of an interval, such as "95 %"."""
    return f"{100 * confidence:g} %"


def unreliable_intervals(identities: Mapping[str, int]) -> str:
    """Warn of intervals that rest on too few identities; empty if there are none.

    Args:
        identities: how many each interval rests on, by the name of its mean.
    """
    names = [name for name, number in identities.items() if number < FEWEST_IDENTITIES]
    if not names:
        return ""
    which = (
        "All intervals" if len(names) == len(identities) else f"The intervals of {', '.join(names)}"
    )
    return f"{which} rest on fewer than {FEWEST_IDENTITIES} identities: they are not reliable."


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Write a number with its noun, "1 query" or "1,200 queries"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def similarity_name(distance: str | None) -> str:
    """Name what `similarity` is, by the name of the distance."""
    return "similarity" if distance is None else _SIMILARITIES[distance]


def shortened(name: str, length: int) -> str:
    """Cut out the middle of a name that is longer than `length` characters."""
    if len(name) <= length:
        return name
    kept = length - 1
    return f"{name[: kept // 2]}…{name[-(kept - kept // 2) :]}"


def provenance_facts(provenance: Provenance) -> dict[str, str]:
    """Write what was evaluated, each fact by its name."""
    facts = {
        "Checkpoint": provenance.network,
        "SHA-256 of the checkpoint": provenance.checkpoint_sha256,
        "Network": provenance.network_options,
        "Preprocessing": provenance.preprocessing and str(provenance.preprocessing),
        "Mirror images": FLIP if provenance.flip else None,
        "Precision": provenance.rounding,
        "Embeddings": provenance.embeddings,
        "Digest of the embeddings": provenance.embeddings_sha256,
        "Data": provenance.data_dir,
        "Digest of the data": provenance.dataset_digest,
        "References": _set_size(provenance.reference),
        "Queries": _set_size(provenance.query),
        "Left out": "; ".join(map(str, provenance.left_out)),
        "Commit": provenance.git_commit,
        "Tags": ", ".join(provenance.tags),
    }
    return {name: fact for name, fact in facts.items() if fact}


def _set_size(size: SetSize) -> str:
    identities = counted(size.identities, "identity", "identities")
    return f"{counted(size.images, 'image')} of {identities}"
