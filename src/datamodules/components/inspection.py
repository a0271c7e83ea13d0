"""Check every file of some sets before the work starts."""

import hashlib
import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from src.datamodules.components.image_set import ImageSet
from src.datamodules.components.layouts import ImageFile

_THREADS = 8
_NAMED_AT_MOST = 5


class Inspection(NamedTuple):
    """What the files of some sets are.

    Attributes:
        digest: hexadecimal SHA-256 over set, identity, file name and content of every image, in
            sorted order: equal for equal data in either layout, anywhere on disk.
        image_sizes: number of images of every (width, height) in pixels.
        digests: by the name of the set, the SHA-256 of every image, in the order of the set.
    """

    digest: str
    image_sizes: dict[tuple[int, int], int]
    digests: dict[str, list[bytes]]


def inspect_images(sets: Iterable[ImageSet]) -> Inspection:
    """Read all files once, without decoding pixels.

    Raises:
        ValueError: if files are not images; it counts them and names the first few.
    """
    images = [(each.name, image) for each in sets for image in each.images]
    paths = [image.path for _, image in images]
    with ThreadPoolExecutor(_THREADS) as pool:
        looks = list(pool.map(_look, paths))
    unreadable = [str(path) for path, (_, size) in zip(paths, looks, strict=True) if size is None]
    if unreadable:
        named = "\n".join(f"  {path}" for path in unreadable[:_NAMED_AT_MOST])
        raise ValueError(
            f"{len(unreadable)} of {len(paths)} files cannot be read as an image; delete or "
            f"restore them. The first:\n{named}"
        )
    digest = hashlib.sha256()
    sizes: dict[tuple[int, int], int] = {}
    digests: dict[str, list[bytes]] = {}
    for (name, image), (content_hash, size) in zip(images, looks, strict=True):
        digest.update(f"{name}/{image.identity}/{image.path.name}\0".encode() + content_hash)
        assert size is not None
        sizes[size] = sizes.get(size, 0) + 1
        digests.setdefault(name, []).append(content_hash)
    return Inspection(digest.hexdigest(), sizes, digests)


def hash_files(images: Iterable[ImageFile]) -> dict[ImageFile, bytes]:
    """Return the SHA-256 of each file."""
    images = list(images)
    with ThreadPoolExecutor(_THREADS) as pool:
        contents = pool.map(lambda image: hashlib.sha256(image.path.read_bytes()).digest(), images)
        return dict(zip(images, contents, strict=True))


def _look(path: str) -> tuple[bytes, tuple[int, int] | None]:
    try:
        with open(path, "rb") as file:
            content = file.read()
        with Image.open(io.BytesIO(content)) as image:
            return hashlib.sha256(content).digest(), image.size
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError):
        return b"", None
