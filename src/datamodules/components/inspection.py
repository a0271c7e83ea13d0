"""Check every file of some sets before the work starts."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

from src.datamodules.components.image_set import ImageSet
from src.datamodules.components.layouts import ImageFile
from src.images import digest_of, displayed_size, read_file

_THREADS = 8
_FILES_AT_A_TIME = 128
_NAMED_AT_MOST = 5


class Inspection(NamedTuple):
    """What the files of some sets are.

    Attributes:
        digest: hexadecimal SHA-256 over set, identity, file name and content of every image, in
            sorted order: equal for equal data in either layout, anywhere on disk.
        image_sizes: number of images of every (width, height) in pixels, as they are displayed.
        digests: by the name of the set, the SHA-256 of every image, in the order of the set.
    """

    digest: str
    image_sizes: dict[tuple[int, int], int]
    digests: dict[str, list[bytes]]


class _Look(NamedTuple):
    digest: bytes = b""
    size: tuple[int, int] = (0, 0)
    problem: str = ""


def inspect_images(sets: Iterable[ImageSet]) -> Inspection:
    """Read all files once, without decoding pixels.

    Raises:
        ValueError: if files are not images; it counts them and names the first few.
    """
    sets = list(sets)
    paths = [image.path for each in sets for image in each.images]
    looks = [_look(content) for content in _read_files(paths)]
    problems = [
        f"  {p}: {look.problem}" for p, look in zip(paths, looks, strict=True) if look.problem
    ]
    if problems:
        named = "\n".join(problems[:_NAMED_AT_MOST])
        raise ValueError(
            f"{len(problems)} of {len(paths)} files cannot be read as an image; delete or "
            f"restore them. The first:\n{named}"
        )
    remaining = iter(looks)
    digests = {each.name: [look.digest for look in islice(remaining, len(each))] for each in sets}
    digest = hashlib.sha256()
    for each in sets:
        for image, content in zip(each.images, digests[each.name], strict=True):
            digest.update(f"{each.name}/{image.identity}/{image.path.name}\0".encode() + content)
    return Inspection(digest.hexdigest(), Counter(look.size for look in looks), digests)


def hash_files(images: Iterable[ImageFile]) -> dict[ImageFile, bytes]:
    """Return the SHA-256 of each file.

    Raises:
        OSError: if one cannot be read.
    """
    images = list(images)
    contents = _read_files([image.path for image in images])
    digests = {}
    for image, content in zip(images, contents, strict=True):
        if isinstance(content, OSError):
            raise OSError(f"Cannot read the image {image.path}: {content}") from content
        digests[image] = digest_of(content)
    return digests


def _read_files(paths: Sequence[Path]) -> Iterator[bytes | OSError]:
    """Read files on several threads, as disks may be slow; yield the contents, or what is wrong.

    Contents are looked at on one thread, since Python's threads would wait for each other.
    """
    with ThreadPool(_THREADS) as pool:
        for start in range(0, len(paths), _FILES_AT_A_TIME):
            some = paths[start : start + _FILES_AT_A_TIME]
            yield from pool.map(_read, some, _FILES_AT_A_TIME // _THREADS)


def _read(path: Path) -> bytes | OSError:
    try:
        return read_file(path)
    except OSError as error:
        return error


def _look(content: bytes | OSError) -> _Look:
    try:
        if isinstance(content, OSError):
            raise content
        return _Look(digest_of(content), displayed_size(content))
    except (OSError, ValueError) as error:
        return _Look(problem=str(error) or type(error).__name__)
