"""Writing the sample: pedestrian crops in Market-1501 naming, in the prepared layout."""

import json
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import accumulate, product
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from src.datamodules.components.sample.camera import CAMERAS, photograph
from src.datamodules.components.sample.person import generator, make_person
from src.utils.cores import usable_cores

VERSION = 1
"""Raised whenever the same parameters give other images."""
MIN_IDENTITIES, MAX_IDENTITIES = 12, 9999
RECORD = "sample.json"

CYCLE = (*("train", "test", "train") * 2, *("train", "test", "train", "train", "val", "train"))
"""Use of the identities 1, 2, ..., over and over: a larger sample contains every smaller one."""
DISTRACTOR_EVERY = 40
"""Every so many identities, one that `reference` has and `query` has not."""
SHOTS = {"train": 2, "val": 2, "test": 3, "distractor": 2}
"""Images of an identity in each camera."""
PASSERS_BY = 10 * MAX_IDENTITIES
"""Identities from here on only walk through other people's pictures."""
QUERIES = len(CAMERAS) + 1
"""In the place of a camera: the generator that draws the queries."""


class Shot(NamedTuple):
    """One image: its set, and what it shows."""

    subset: str
    identity: int
    camera: int
    number: int

    @property
    def path(self) -> Path:
        """Where it lies in the sample."""
        frame = (2401 * self.identity + 397 * self.camera) % 99_000 + 25 * self.number
        sequence = 1 + (self.identity - 1) % 6
        folder = f"{self.identity:04d}"
        name = f"{folder}_c{self.camera}s{sequence}_{frame:06d}_{self.number:02d}.jpg"
        return Path(self.subset, folder, name)


def role(identity: int) -> str:
    """What an identity is for, whatever the size of the sample: a key of `SHOTS`."""
    if identity % DISTRACTOR_EVERY == 0:
        return "distractor"
    return CYCLE[(identity - 1) % len(CYCLE)]


def list_shots(identity: int, *, seed: int) -> list[Shot]:
    """The images of an identity; of a test identity, one at random in each camera is a query."""
    use = role(identity)
    numbers = range(1, SHOTS[use] + 1)
    cameras = range(1, len(CAMERAS) + 1)
    if use in ("train", "val"):
        return [Shot(use, identity, camera, number) for camera in cameras for number in numbers]
    chosen = generator(seed, identity, QUERIES).choice(numbers, size=len(cameras))
    queries = set(zip(cameras, chosen, strict=True)) if use == "test" else set()
    return [
        Shot("query" if key in queries else "reference", identity, *key)
        for key in product(cameras, numbers)
    ]


def render(shot: Shot, *, seed: int) -> bytes:
    """The JPEG file of one image, a function of the seed and of who, where and which shot."""
    rng = generator(seed, *shot[1:])
    return photograph(
        make_person(shot.identity, seed=seed),
        CAMERAS[shot.camera - 1],
        make_person(PASSERS_BY + int(rng.integers(1000)), seed=seed),
        track=generator(seed, shot.identity, shot.camera),
        shot=rng,
    )


def _write_identity(identity: int, *, folder: Path, seed: int) -> int:
    """Make the images of one identity below `folder` and returns how many they are."""
    shots = list_shots(identity, seed=seed)
    for shot in shots:
        file = folder / shot.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(render(shot, seed=seed))
    return len(shots)


def _is_made(root: Path, parameters: dict[str, int]) -> bool:
    """Whether `root` holds this sample; no or an empty folder does not, any other is refused."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    record = root / RECORD
    if not record.is_file():
        raise FileExistsError(
            f"`root` should be a sample or a new folder, got {root}, which has no {RECORD}"
        )
    found = json.loads(record.read_text())
    if found != parameters:
        raise FileExistsError(
            f"`root` {root} holds a sample made with {found}, not with {parameters}: "
            "delete that folder, or choose another one"
        )
    return True


def _check_inputs(identities: int, seed: int, processes: int | None) -> None:
    if not MIN_IDENTITIES <= identities <= MAX_IDENTITIES:
        raise ValueError(
            f"`identities` should be from {MIN_IDENTITIES} to {MAX_IDENTITIES}, got {identities}"
        )
    if seed < 0:
        raise ValueError(f"`seed` should not be negative, got {seed}")
    if processes is not None and processes < 1:
        raise ValueError(f"`processes` should be a positive integer or None, got {processes}")


def generate_sample(
    root: Path,
    *,
    identities: int = 180,
    seed: int = 0,
    processes: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Make a set of drawn pedestrians in `root`/{train,val,reference,query}/<identity>/*.jpg.

    The images are the same bytes for the same seed and versions of pillow and numpy, however many
    processes make them, and those of an identity do not depend on how many others there are.
    Train, val and test have identities of their own; `reference` and `query` share the test
    identities, and `reference` has a few besides.

    The set is made in a temporary folder beside `root` and then renamed: `root` is never half made.
    If it already holds this very set, nothing is done.

    Args:
        root: Folder to make.
        identities: How many people there are in the four sets together.
        seed: Other seeds give other people.
        processes: How many work at it; `None` for one per available core. More than one need a
            `__main__` that can be imported, hence the usual guard in scripts.
        progress: Called with the number of images made so far and in all, after each identity.

    Raises:
        ValueError: If there are too few identities, or a number is out of its range.
        FileExistsError: If `root` holds something else, such as a sample of other parameters.
    """
    _check_inputs(identities, seed, processes)
    root = Path(root)
    parameters = {"version": VERSION, "identities": identities, "seed": seed}
    if _is_made(root, parameters):
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as scratch:
        folder = Path(scratch, root.name)
        _write_images(folder, identities, seed, processes or usable_cores(), progress)
        (folder / RECORD).write_text(json.dumps(parameters) + "\n")
        try:
            folder.rename(root)
        except OSError:
            # Somebody else was faster: theirs is as good, if it is the same.
            if not _is_made(root, parameters):
                raise


def _write_images(
    folder: Path,
    identities: int,
    seed: int,
    processes: int,
    progress: Callable[[int, int], object] | None,
) -> None:
    work = partial(_write_identity, folder=folder, seed=seed)
    everyone = range(1, identities + 1)
    total = sum(len(list_shots(identity, seed=seed)) for identity in everyone)
    with ExitStack() as stack:
        each: Iterator[int] = map(work, everyone)
        if processes > 1:
            # Not forked: the caller may be running threads.
            pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
            stack.callback(pool.shutdown, cancel_futures=True)
            each = pool.map(work, everyone)
        for done in accumulate(each):
            if progress is not None:
                progress(done, total)
