"""Checkpoints, and the weights and programs of other networks."""

import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from tests.conftest import HYPER_PARAMETERS, TRAIN, save_checkpoint
from tests.faults.fault import Case, Fault, Faults, Provoke

FAULTS = Faults("Checkpoints and networks")

SMALL = {**HYPER_PARAMETERS, "backbone": "shufflenet_v2_x0_5"}


def weights(case: Case) -> dict[str, Tensor]:
    content: dict[str, Any] = torch.load(case.checkpoint, weights_only=True)
    state_dict: dict[str, Tensor] = content["state_dict"]
    return state_dict


def saved(change: Callable[[Case], Mapping[str, object]]) -> Provoke:
    """Evaluate a checkpoint that holds something else."""

    def provoke(case: Case) -> list[str]:
        return [f"ckpt_path={save_checkpoint(case.folder / 'other.ckpt', **change(case))}"]

    return provoke


def written(content: bytes, name: str = "other.ckpt") -> Provoke:
    def provoke(case: Case) -> list[str]:
        (case.folder / name).write_bytes(content)
        return [f"ckpt_path={case.folder / name}"]

    return provoke


class Trap:
    """An object whose loading would make a folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("trap",)


ROWS: list[tuple[str, str, Provoke]] = [
    (
        "Hyper-parameters are a list",
        "<file> should hold `hyper_parameters` by name, got list",
        saved(lambda _: {"hyper_parameters": [1]}),
    ),
    (
        "Hyper-parameters are missing",
        "<file> should hold `hyper_parameters` by name, got NoneType",
        saved(lambda _: {"hyper_parameters": None}),
    ),
    (
        "Names of hyper-parameters are numbers",
        "<file> does not fit MetricLearningModule with {1: 2, ",
        saved(lambda _: {"hyper_parameters": {1: 2}}),
    ),
    (
        "A number of classes is negative",
        "<file> does not fit MetricLearningModule with {<options>}: Trying to create tensor with "
        "negative dimension -1",
        saved(lambda _: {"hyper_parameters": {**SMALL, "num_classes": -1}}),
    ),
    (
        "A number of classes is text",
        "<file> does not fit MetricLearningModule with {'num_classes': 'many', ",
        saved(lambda _: {"hyper_parameters": {**SMALL, "num_classes": "many"}}),
    ),
    (
        "A width of embeddings is negative",
        "<file> does not fit MetricLearningModule with {<options>}: Trying to create tensor with "
        "negative dimension -4",
        saved(lambda _: {"hyper_parameters": {**SMALL, "embedding_size": -4}}),
    ),
    (
        "A width of embeddings is too large for the memory",
        "<file> does not fit MetricLearningModule with {<options>}: <reason> can't allocate memory",
        saved(lambda _: {"hyper_parameters": {**SMALL, "embedding_size": 10**12}}),
    ),
    (
        "A number of classes is too large for a number",
        "<file> does not fit MetricLearningModule with {<options>}: ",
        saved(lambda _: {"hyper_parameters": {**SMALL, "num_classes": 10**30}}),
    ),
    (
        "A hyper-parameter is unknown",
        "<file> does not fit MetricLearningModule with {<options>}: <reason> argument 'colour'",
        saved(lambda _: {"hyper_parameters": {**SMALL, "colour": "red"}}),
    ),
    (
        "A backbone in the checkpoint does not exist",
        "`backbone` should name a network of torchvision.models, got 'nothing'",
        saved(lambda _: {"hyper_parameters": {**SMALL, "backbone": "nothing"}}),
    ),
    (
        "The weights are of another network",
        "<file> does not fit MetricLearningModule:\n<count> missing: <names>, ...\n<count> "
        "surplus: ",
        saved(lambda _: {"hyper_parameters": HYPER_PARAMETERS}),
    ),
    (
        "The weights are a list",
        "<file> should hold tensors by name, on top or under `state_dict`",
        saved(lambda _: {"state_dict": [torch.zeros(3)]}),
    ),
    (
        "The weights are one tensor",
        "<file> should hold tensors by name, on top or under `state_dict`",
        saved(lambda _: {"state_dict": torch.zeros(3)}),
    ),
    (
        "A weight is text",
        "<file> should hold tensors by name, on top or under `state_dict`",
        saved(lambda case: {"state_dict": {**weights(case), "embedder.bias": "x"}}),
    ),
    (
        "A name of a weight is a number",
        "<file> should hold tensors by name, on top or under `state_dict`",
        saved(lambda case: {"state_dict": {**weights(case), 3: torch.zeros(1)}}),
    ),
    (
        "A weight is missing",
        "1 missing: embedder.bias",
        saved(
            lambda case: {
                "state_dict": {n: w for n, w in weights(case).items() if n != "embedder.bias"}
            }
        ),
    ),
    (
        "A weight is surplus",
        "1 surplus: other.bias",
        saved(lambda case: {"state_dict": {**weights(case), "other.bias": torch.zeros(3)}}),
    ),
    (
        "A weight has another shape",
        "1 of another shape: embedder.bias [3] instead of [16]",
        saved(lambda case: {"state_dict": {**weights(case), "embedder.bias": torch.zeros(3)}}),
    ),
    (
        "Weights are integers",
        "<count> of another kind: <name> torch.int64, ",
        saved(lambda case: {"state_dict": {n: w.long() for n, w in weights(case).items()}}),
    ),
    (
        "Weights are complex numbers",
        "1 of another kind: embedder.bias torch.complex64",
        saved(
            lambda case: {
                "state_dict": {
                    **weights(case),
                    "embedder.bias": torch.zeros(16, dtype=torch.complex64),
                }
            }
        ),
    ),
    (
        "A weight has no values",
        "<file> should hold plain tensors: ",
        saved(
            lambda case: {
                "state_dict": {**weights(case), "embedder.bias": torch.zeros(16, device="meta")}
            }
        ),
    ),
    (
        "The weights are those of a wrapped network",
        "The names in the file begin with 'module.': model.strip_prefix=module. with model=module",
        saved(lambda case: {"state_dict": {f"module.{n}": w for n, w in weights(case).items()}}),
    ),
    (
        "Weights are NaN",
        "The network of <file> cannot be judged: `embeddings` should be finite, got NaN or "
        "infinity",
        saved(
            lambda case: {
                "state_dict": {
                    **weights(case),
                    "embedder.weight": torch.full((16, 1024), torch.nan),
                }
            }
        ),
    ),
    (
        "Weights are 0, and embeddings have no direction",
        "The network of <file> cannot be judged: `embeddings` should have a direction under cosine",
        saved(lambda case: {"state_dict": {n: 0 * w for n, w in weights(case).items()}}),
    ),
    (
        "A preprocessing is no such thing",
        "`preprocessing` in <file> is invalid: ",
        saved(lambda _: {"preprocessing": 3}),
    ),
    (
        "A preprocessing has an image size of 0",
        "`preprocessing` in <file> is invalid: `size` should be a height and a width in pixels",
        saved(lambda _: {"preprocessing": {"size": [0, 3]}}),
    ),
    (
        "A checkpoint would run code",
        "<file> holds more than tensors and plain containers, and loading it could run code: "
        "posix.mkdir. Nothing was loaded",
        saved(lambda _: {"callbacks": Trap()}),
    ),
    ("A checkpoint is empty", "<file> is no checkpoint, or a damaged one", written(b"")),
    ("A checkpoint is text", "<file> is no checkpoint, or a damaged one", written(b"some text")),
    (
        "A checkpoint has the end of a safetensors file",
        "<file> is no checkpoint, or a damaged one",
        written(b"text", "other.safetensors"),
    ),
    (
        "There is no checkpoint",
        "No checkpoint at nowhere.ckpt",
        lambda _: ["ckpt_path=nowhere.ckpt"],
    ),
    (
        "A checkpoint is a folder",
        "No checkpoint at <folder>",
        lambda case: [f"ckpt_path={case.prepared_data}"],
    ),
]
for name, shown, provocation in ROWS:
    FAULTS.add(name, shown)(provocation)


@FAULTS.add(
    "One bit of the weights has flipped",
    "<file> is no checkpoint, or a damaged one: the content of <entry> in it does not match its "
    "checksum",
)
def _(case: Case) -> list[str]:
    return [f"ckpt_path={flip_a_bit(case.checkpoint, case.folder / 'flipped.ckpt')}"]


def flip_a_bit(source: Path, target: Path) -> Path:
    """Copy an archive, with one bit of its largest entry changed."""
    content = bytearray(source.read_bytes())
    with zipfile.ZipFile(source) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    content[largest.header_offset + largest.file_size // 2] ^= 4
    target.write_bytes(content)
    return target


@FAULTS.add("A checkpoint is cut off", "<file> is no checkpoint, or a damaged one")
def _(case: Case) -> list[str]:
    return written(case.checkpoint.read_bytes()[:-1000])(case)  # type: ignore[return-value]


@FAULTS.add(
    "A file holds weights alone",
    "<file> should be a checkpoint that Lightning saved, with the keys ['state_dict', "
    "'hyper_parameters']; missing ['state_dict', 'hyper_parameters'], found [<names>]. Weights "
    "alone "
    "go with model=module or model=timm",
)
def _(case: Case) -> list[str]:
    torch.save(weights(case), case.folder / "weights.pt")
    return [f"ckpt_path={case.folder / 'weights.pt'}"]


@FAULTS.add(
    "A safetensors file is taken for a checkpoint",
    "<file> should be a checkpoint that Lightning saved, with the keys",
)
def _(case: Case) -> list[str]:
    safetensors.torch.save_file(weights(case), case.folder / "weights.safetensors")
    return [f"ckpt_path={case.folder / 'weights.safetensors'}"]


@FAULTS.add("A file of torch is no checkpoint", "<file> should hold tensors by name, found list")
def _(case: Case) -> list[str]:
    torch.save([torch.zeros(3)], case.folder / "list.pt")
    return [f"ckpt_path={case.folder / 'list.pt'}"]


def script(case: Case) -> Path:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is deprecated", FutureWarning)
        network = torch.jit.script(torch.nn.Linear(4, 4000))
        network.save(case.folder / "script.pt")
    return case.folder / "script.pt"


@FAULTS.add(
    "A TorchScript program is taken for a checkpoint",
    "<file> is a TorchScript program, no checkpoint: choose model=exported model.file=<file> if "
    "you "
    "trust its origin",
)
def _(case: Case) -> list[str]:
    return [f"ckpt_path={script(case)}"]


@FAULTS.add(
    "A checkpoint is taken for a program",
    "<file> should be a network that torch.export or torch.jit saved; weights alone go with",
)
def _(case: Case) -> list[str]:
    return ["model=exported", "ckpt_path=null", f"model.file={case.checkpoint}"]


@FAULTS.add(
    "A program is damaged",
    "<file> should be a network that torch.export or torch.jit saved; weights alone go with "
    "model=module or model=timm: the content of <entry> in it does not match its checksum",
)
def _(case: Case) -> list[str]:
    flipped = flip_a_bit(script(case), case.folder / "flipped.pt")
    return ["model=exported", "ckpt_path=null", f"model.file={flipped}"]


@FAULTS.add("There is no program", "No such file or directory: 'nowhere.pt'")
def _(case: Case) -> list[str]:
    return ["model=exported", "ckpt_path=null", "model.file=nowhere.pt"]


@FAULTS.add(
    "A checkpoint goes with another network",
    "`ckpt_path` should go with model=checkpoint, got <file>: other networks take model.weights",
)
def _(case: Case) -> list[str]:
    return ["model=exported", "model.file=some.pt", f"ckpt_path={case.checkpoint}"]


@FAULTS.add(
    "All embeddings are equal",
    "Warning           Every query is exactly as similar to a reference of its identity as to "
    "one of "
    "another: the embeddings do not tell people apart, and the result says nothing.",
    code=0,
)
def _(case: Case) -> list[str]:
    embedder = {"embedder.weight": torch.zeros(16, 1024), "embedder.bias": torch.ones(16)}
    changed = save_checkpoint(case.folder / "flat.ckpt", state_dict={**weights(case), **embedder})
    return [f"ckpt_path={changed}"]


def resumed(change: Mapping[str, object]) -> Provoke:
    """Resume a training from a checkpoint that lacks something, or holds something else."""

    def provoke(case: Case) -> list[str]:
        state = {
            "optimizer_states": [],
            "lr_schedulers": [],
            "loops": {},
            "epoch": 0,
            "hyper_parameters": {**SMALL, "num_classes": len(TRAIN)},
        }
        changed = save_checkpoint(case.folder / "last.ckpt", **state | change)
        return [f"ckpt_path={changed}", "trainer.max_epochs=2"]

    return provoke


RESUMED: list[tuple[str, str, Provoke]] = [
    (
        "A training resumes from weights alone",
        "<file> cannot be resumed: it lacks ['optimizer_states', 'lr_schedulers', 'loops']",
        lambda case: [f"ckpt_path={case.checkpoint}"],
    ),
    *(
        (
            f"A training resumes with {key} of another kind",
            f"<file> cannot be resumed: it lacks ['{key}']",
            resumed({key: "x"} if key != "pytorch-lightning_version" else {key: 3}),
        )
        for key in ("optimizer_states", "lr_schedulers", "loops", "pytorch-lightning_version")
    ),
    (
        "A training resumes that has ended",
        "`trainer.max_epochs` should be greater than 2 to resume <file>, which was trained for "
        "that "
        "many epochs, got 2",
        resumed({"epoch": 1}),
    ),
    (
        "A training resumes with another preprocessing",
        "`preprocessing` should be that of <file> to resume it",
        resumed({"preprocessing": {"size": [64, 32]}}),
    ),
    (
        "A training resumes with weights of other classes",
        "<file> does not fit MetricLearningModule:\n1 of another shape: arcface.W [16, 5] "
        "instead of "
        "[16, 3]",
        resumed({}),
    ),
    (
        "A training resumes from nowhere",
        "No checkpoint at nowhere",
        lambda _: ["ckpt_path=nowhere"],
    ),
]
for name, shown, provocation in RESUMED:
    FAULTS.add(name, shown, task="train")(provocation)


@FAULTS.parametrize()
def test_fault(fault: Fault, provoke: Callable[[Fault], str]) -> None:
    provoke(fault)
