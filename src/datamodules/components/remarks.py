"""What a reader of a result must know about its data, in sentences by the name of the fault."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import combinations

from src.datamodules.components.layouts import ImageFile

Remarks = dict[str, str]


def remark_on_names(reference: Set[str], query: Set[str]) -> Remarks:
    """Find identities whose names look alike, and queries none of whom can be found.

    Args:
        reference: names of the identities.
        query: likewise.
    """
    remarks = {}
    if reference.isdisjoint(query):
        remarks["unmatched"] = (
            f"No identity of `query` (such as {min(query)!r}) is among those of `reference` (such "
            f"as {min(reference)!r}): every query counts as wrong."
        )
    alike: dict[str, list[str]] = {}
    for name in sorted(reference | query):
        alike.setdefault(_plain(name), []).append(name)
    pairs = [pair for names in alike.values() for pair in combinations(names, 2)]
    if pairs:
        # Names that differ in their Unicode form look the same unless they are escaped.
        first = " and ".join(map(ascii if len(set(map(_nfc, pairs[0]))) == 1 else repr, pairs[0]))
        remarks["alike_names"] = (
            "Identities that differ only by case, Unicode form, blanks or leading zeros count as "
            f"different people. Pairs of them: {len(pairs)}. The first: {first}."
        )
    return remarks


def remark_on_sizes(images: Mapping[tuple[int, int], int], size: tuple[int, int]) -> Remarks:
    """Find images that have to be resized.

    Args:
        images: number of images of every (width, height).
        size: height and width that a network takes.
    """
    height, width = size
    total = sum(images.values())
    resized = total - images.get((width, height), 0)
    if not resized:
        return {}
    return {
        "resized": f"{resized} of {total} images are not {height} x {width} pixels "
        "(height x width) and are resized."
    }


def remark_on_copies(
    reference: Mapping[ImageFile, bytes], query: Mapping[ImageFile, bytes]
) -> Remarks:
    """Find images that are in both sets, or under two identities.

    Args:
        reference: a digest of the content of each image.
        query: likewise; empty where each image is compared with all others of `reference`.
    """
    remarks = {}
    copies = list(_pairs(reference, query)) if query else list(_pairs({}, reference))
    if copies:
        of = f"{len(query)} queries" if query else f"{len(reference)} images"
        other = "a reference" if query else "another image"
        remarks["equal_images"] = (
            f"{len(copies)} of {of} have the same content as {other}, so that any network finds "
            f"it. {_first(copies)}"
        )
    images = {**reference, **query}
    mislabelled = [
        (one, other) for one, other in _pairs({}, images) if one.identity != other.identity
    ]
    if mislabelled:
        remarks["equal_images_of_two_identities"] = (
            f"{len(mislabelled)} of {len(images)} images have the same content as one of another "
            f"identity. {_first(mislabelled)}"
        )
    return remarks


def remark_on_training(
    train: Mapping[ImageFile, bytes], test: Mapping[ImageFile, bytes]
) -> Remarks:
    """Find what the test sets share with `train`, and a network may therefore know.

    Args:
        train: a digest of the content of each image.
        test: likewise, of `reference` and `query`.
    """
    remarks = {}
    tested = {each.identity for each in test}
    common = sorted(tested & {each.identity for each in train})
    if common:
        remarks["train_identities"] = (
            f"{len(common)} of {len(tested)} identities of the test sets are in `train`, too, "
            f"where a network may have seen them. The first: {common[0]}."
        )
    copies = list(_pairs(train, test))
    if copies:
        remarks["train_images"] = (
            f"{len(copies)} of {len(test)} images of the test sets have the same content as one of "
            f"`train`. {_first(copies)}"
        )
    return remarks


def _pairs(
    known: Mapping[ImageFile, bytes], images: Mapping[ImageFile, bytes]
) -> Iterable[tuple[ImageFile, ImageFile]]:
    """Find each image whose content is known, or that of an image before it if none are known."""
    first = {digest: image for image, digest in reversed(list(known.items()))}
    for image, digest in images.items():
        if digest in first:
            yield image, first[digest]
        elif not known:
            first[digest] = image


def _first(pairs: Sequence[tuple[ImageFile, ImageFile]]) -> str:
    return f"The first: {pairs[0][0].path} and {pairs[0][1].path}."


def _plain(name: str) -> str:
    text = "".join(unicodedata.normalize("NFKC", name).casefold().split())
    return text.lstrip("0") or text[:1]


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)
