"""A network of the user's own class."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from src.models.retrieval_module import RetrievalModule
from src.utils.checkpoint import load_weights, read_weights


def open_module(
    module: nn.Module,
    weights: str | None = None,
    strip_prefix: str | None = None,
    ignore: Iterable[str] = (),
    **options: Any,
) -> RetrievalModule:
    """Put weights from a file into a network.

    Args:
        module: from images [B, 3, H, W] to embeddings [B, D].
        weights: a file that `read_weights` reads; None leaves the weights as they are.
        strip_prefix: what the names in the file begin with, and those of the network do not.
        ignore: what the names of further weights in the file begin with, such as a classifier's.
        options: as for `RetrievalModule`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the weights do not fit the network.
    """
    model = RetrievalModule(module, **options)
    if weights is None:
        return model
    checkpoint = read_weights(weights)
    prefix, ignored = strip_prefix or "", tuple(ignore)
    kept = {
        name.removeprefix(prefix): value
        for name, value in checkpoint.weights.items()
        if not name.startswith(ignored)
    }
    load_weights(module, kept, checkpoint.file.path)
    model.file, model.preprocessing = checkpoint.file, checkpoint.preprocessing
    return model
