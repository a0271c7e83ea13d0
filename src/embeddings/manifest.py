"""What kept embeddings were made of, and how."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from src.preprocessing import Preprocessing

MANIFEST_FILE = "manifest.json"

_LIBRARIES = ("torch", "torchvision", "pytorch-lightning", "pyarrow")


@dataclass(frozen=True)
class Origin:
    """What embeddings were made of.

    Attributes:
        checkpoint: the file; None for random weights, or if it is unknown.
        checkpoint_sha256: of the file; None likewise.
        epoch: that the checkpoint was saved after; None where it does not say.
        data_dir: the folder that paths of images are relative to.
        dataset_digest: of the content of both sets; of names and labels if no more is known.
        preprocessing: what was done to an image before the network saw it; None if it is unknown.
        preprocessing_sha256: its digest.
        network: what the network was built of beside its file, as JSON; None if it is unknown.
        flip: whether an embedding is the mean of an image's and its mirror image's.
    """

    checkpoint: str | None
    checkpoint_sha256: str | None
    epoch: int | None
    data_dir: str
    dataset_digest: str
    preprocessing: Preprocessing | None
    preprocessing_sha256: str | None
    network: str | None = None
    flip: bool = False


@dataclass(frozen=True)
class Computation:
    """How embeddings were computed: only the same way gives the same, bit for bit.

    Attributes:
        batch_size: images in a batch.
        processes: that shared the images.
        shard_images: images in a shard, rounded up to whole batches.
        precision: of the trainer.
        device: its kind, such as "cpu".
        form: of the network; unknown in what earlier versions wrote.
    """

    batch_size: int
    processes: int
    shard_images: int
    precision: str
    device: str
    form: str = "unknown"


@dataclass(frozen=True)
class Content:
    """The embeddings of a folder that is complete.

    Attributes:
        dtype: as torch calls it, without "torch.".
        width: of each embedding.
        shards: SHA-256 of every file, by name.
    """

    dtype: str
    width: int
    shards: Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
    """What is known of a folder of kept embeddings.

    Attributes:
        origin: what the embeddings were made of.
        computation: how.
        counts: number of images of each set.
        content: None as long as embeddings are missing.
    """

    origin: Origin
    computation: Computation
    counts: Mapping[str, int]
    content: Content | None = None

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into a folder that exists; it is never half written."""
        document = {**asdict(self), "versions": {name: version(name) for name in _LIBRARIES}}
        write_atomically(folder / MANIFEST_FILE, json.dumps(document, indent=2).encode() + b"\n")

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read what `write` wrote.

        Raises:
            FileNotFoundError: if the folder has no manifest.
            ValueError: if it is not one that this version writes.
        """
        path = folder / MANIFEST_FILE
        if not path.is_file():
            raise FileNotFoundError(f"No {MANIFEST_FILE} in {folder}")
        try:
            document: dict[str, Any] = json.loads(path.read_text())
            origin, content = document["origin"], document["content"]
            preprocessing = origin["preprocessing"] and Preprocessing(**origin["preprocessing"])
            return cls(
                Origin(**{**origin, "preprocessing": preprocessing}),
                Computation(**document["computation"]),
                document["counts"],
                content and Content(**content),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} should be a manifest of kept embeddings, got one that lacks or adds "
                f"something: {error}"
            ) from error


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file that appears under its name only when it is whole and on the disk."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
