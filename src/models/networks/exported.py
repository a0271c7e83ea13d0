"""A network in a file of torch.export or TorchScript. To run it is to run what the file says."""

import hashlib
import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from src.models.networks.fixed_batch import FixedBatch
from src.models.retrieval_module import RetrievalModule
from src.utils.checkpoint import NetworkFile

_EXPORT, _SCRIPT = "archive_format", "constants.pkl"  # files in the archives of either kind


def open_exported(file: str, **options: Any) -> RetrievalModule:
    """Open a program that torch.export or TorchScript saved.

    Args:
        file: from images [B, 3, H, W] to embeddings [B, D]; B may be fixed.
        options: as for `RetrievalModule`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is neither, or damaged.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"No exported network at {path}")
    content = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = {Path(name).name for name in archive.namelist()}
        if _EXPORT in names:
            network = _open_export(content)
        elif _SCRIPT in names:
            network = _open_script(content)
        else:
            raise ValueError(f"it holds {sorted(names)[:3]}")
    except Exception as error:  # a damaged file can make the readers stumble anywhere
        raise ValueError(
            f"{path} should be a network that torch.export or torch.jit saved; weights alone go "
            f"with model=module or model=timm: {error}"
        ) from error
    model = RetrievalModule(network, **options)
    model.file = NetworkFile(path, hashlib.sha256(content).hexdigest())
    return model


class _Program(nn.Module):
    """An exported program, which has no modes of training and evaluation."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def forward(self, image: Tensor) -> Tensor:
        embeddings: Tensor = self.program(image)
        return embeddings

    def train(self, mode: bool = True) -> "_Program":
        return self


def _open_export(content: bytes) -> nn.Module:
    program = torch.export.load(io.BytesIO(content))
    network = _Program(program.module())
    (name,) = program.graph_signature.user_inputs
    batch = next(node for node in program.graph.nodes if node.name == name).meta["val"].shape[0]
    return FixedBatch(network, batch) if isinstance(batch, int) else network


def _open_script(content: bytes) -> nn.Module:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.load. is deprecated", FutureWarning)
        network: nn.Module = torch.jit.load(io.BytesIO(content), map_location="cpu")
    return network
