"""A network in an ONNX file, run by ONNX Runtime."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from src.models.networks.fixed_batch import FixedBatch
from src.models.retrieval_module import RetrievalModule
from src.utils.checkpoint import NetworkFile

_GPU, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_DTYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}


def open_onnx(file: str, **options: Any) -> RetrievalModule:
    """Open an ONNX file with one input and embeddings as its first output.

    Args:
        file: from images [B, 3, H, W] to embeddings [B, D]; B may be fixed.
        options: as for `RetrievalModule`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the extra is missing, or the file is damaged or has other inputs.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"No ONNX file at {path}")
    network = OnnxNetwork(path)
    batch = network.input.shape[0]
    model = RetrievalModule(
        FixedBatch(network, batch) if isinstance(batch, int) else network, **options
    )
    model.file = NetworkFile(path, _digest(path))
    return model


class OnnxNetwork(nn.Module):
    """A session of ONNX Runtime, on a GPU if the runtime can use one.

    Args:
        path: of the file.

    Attributes:
        input: name, shape and type of its input.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError as error:
            raise ValueError("model=onnx needs more: pip install onnx onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        providers = [p for p in (_GPU, _CPU) if p in onnxruntime.get_available_providers()]
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # the runtime's errors have no base of their own
            raise ValueError(f"{path} is no ONNX file, or a damaged one: {error}") from error
        self.input, *others = self._session.get_inputs()
        if others or self.input.type not in _DTYPES or len(self.input.shape) != 4:
            found = [f"{i.name} {i.type} {i.shape}" for i in (self.input, *others)]
            raise ValueError(f"{path} should have one input, images [B, 3, H, W], got {found}")

    def forward(self, image: Tensor) -> Tensor:
        """Embed images [B, 3, H, W]."""
        pixels = image.to(_DTYPES[self.input.type]).cpu().numpy()
        embeddings = self._session.run(None, {self.input.name: pixels})[0]
        return torch.from_numpy(embeddings).to(image.device)


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file and of those beside it that hold its weights."""
    import onnx

    tensors = onnx.load(path, load_external_data=False).graph.initializer
    places = {
        entry.value
        for tensor in tensors
        for entry in tensor.external_data
        if entry.key == "location"
    }
    digest = hashlib.sha256(path.read_bytes())
    for place in sorted(places):
        digest.update((path.parent / place).read_bytes())
    return digest.hexdigest()
