"""Networks in files that other programs run. To run one is to run what its file says."""

import hashlib
import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from src.models.retrieval_module import RetrievalModule
from src.utils.checkpoint import NetworkFile, check_archive

_EXPORT, _SCRIPT = "archive_format", "constants.pkl"  # files in the archives of either kind
_GPU, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_DTYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}


class ExportedNetwork(nn.Module):
    """A program, which has no modes of training and evaluation.

    Args:
        program: from images [B, 3, H, W] to embeddings [B, D].
        batch: the only B that it takes, if that is an integer. Batches are then split, and the last
            image fills up the last one.
    """

    def __init__(self, program: Any, batch: Any) -> None:
        super().__init__()
        self.program = program
        self.batch = batch

    def forward(self, image: Tensor) -> Tensor:
        """Embed images [B, 3, H, W]."""
        if not isinstance(self.batch, int):
            embeddings: Tensor = self.program(image)
            return embeddings
        missing = -len(image) % self.batch
        filled = torch.cat([image, image[-1:].expand(missing, -1, -1, -1)])
        parts = [self.program(part) for part in filled.split(self.batch)]
        return torch.cat(parts)[: len(image)]

    def train(self, mode: bool = True) -> "ExportedNetwork":
        """Leave the program as it is."""
        return self


def open_exported(file: str, **options: Any) -> RetrievalModule:
    """Open a network that torch.export or TorchScript saved.

    Args:
        file: from images [B, 3, H, W] to embeddings [B, D]; B may be fixed.
        options: as for `RetrievalModule`.

    Raises:
        OSError: if there is no such file.
        ValueError: if it is neither, or damaged.
    """
    content = Path(file).read_bytes()
    try:
        check_archive(content)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = {Path(name).name for name in archive.namelist()}
        if _EXPORT in names:
            program = torch.export.load(io.BytesIO(content))
            (name,) = program.graph_signature.user_inputs
            images = next(node for node in program.graph.nodes if node.name == name).meta["val"]
            network = ExportedNetwork(program.module(), images.shape[0])
        elif _SCRIPT in names:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*torch.jit.load. is deprecated", FutureWarning)
                script = torch.jit.load(io.BytesIO(content), map_location="cpu")
            network = ExportedNetwork(script.eval(), None)
        else:
            raise ValueError(f"it holds {sorted(names)[:3]}")
    except Exception as error:  # a damaged file can make the readers stumble anywhere
        raise ValueError(
            f"{file} should be a network that torch.export or torch.jit saved; weights alone go "
            f"with model=module or model=timm: {error}"
        ) from error
    return _wrap(network, file, content, options)


def open_onnx(file: str, **options: Any) -> RetrievalModule:
    """Open an ONNX file with one input and embeddings as its first output, on a GPU if possible.

    Args:
        file: from images [B, 3, H, W] to embeddings [B, D]; B may be fixed.
        options: as for `RetrievalModule`.

    Raises:
        OSError: if there is no such file.
        ValueError: if the extra is missing, or the file is damaged or has other inputs.
    """
    content = Path(file).read_bytes()
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise ValueError("model=onnx needs more: pip install onnx onnxruntime") from error
    threads = onnxruntime.SessionOptions()
    threads.intra_op_num_threads = torch.get_num_threads()
    providers = [each for each in (_GPU, _CPU) if each in onnxruntime.get_available_providers()]
    try:
        session = onnxruntime.InferenceSession(file, threads, providers=providers)
        tensors = onnx.load_model_from_string(content).graph.initializer
    except Exception as error:  # the runtime's errors have no base of their own
        raise ValueError(f"{file} is no ONNX file, or a damaged one: {error}") from error
    images, *others = session.get_inputs()
    if others or images.type not in _DTYPES or len(images.shape) != 4:
        found = [f"{each.name} {each.type} {each.shape}" for each in (images, *others)]
        raise ValueError(f"{file} should have one input, images [B, 3, H, W], got {found}")

    def run(image: Tensor) -> Tensor:
        pixels = image.to(_DTYPES[images.type]).cpu().numpy()
        return torch.from_numpy(session.run(None, {images.name: pixels})[0]).to(image.device)

    entries = (entry for tensor in tensors for entry in tensor.external_data)
    beside = sorted({entry.value for entry in entries if entry.key == "location"})
    weights = b"".join(Path(file).with_name(name).read_bytes() for name in beside)
    return _wrap(ExportedNetwork(run, images.shape[0]), file, content + weights, options)


def _wrap(network: nn.Module, file: str, content: bytes, options: Any) -> RetrievalModule:
    model = RetrievalModule(network, **options)
    model.file = NetworkFile(Path(file), hashlib.sha256(content).hexdigest())
    return model
