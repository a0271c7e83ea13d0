"""How numbers, names and units are written in a report."""

UNKNOWN = "\N{EN DASH}"

_SIMILARITIES = {
    "cosine": "cosine similarity",
    "euclidean": "negative squared distance",
    "inner_product": "inner product",
}


def percent(share: float, decimals: int = 2) -> str:
    """Write a share in [0, 1] as a percentage, with a space that does not break."""
    return f"{100 * share:.{decimals}f}\u00a0%"


def confidence_level(confidence: float) -> str:
    """Write the confidence of an interval, such as "95 %"."""
    return f"{100 * confidence:g} %"


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Write a number with its noun, "1 query" or "1,200 queries"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def similarity_name(distance: str) -> str:
    """Name what `similarity` is, in words, by the name of the distance."""
    return _SIMILARITIES[distance]


def shortened(name: str, length: int) -> str:
    """Cut out the middle of a name that is longer than `length` characters."""
    if len(name) <= length:
        return name
    kept = length - 1
    return f"{name[: kept // 2]}…{name[-(kept - kept // 2) :]}"
