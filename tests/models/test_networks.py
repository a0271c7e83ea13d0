"""Every way to bring a network, against a plain loop over the images."""

import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from src.eval import evaluate
from src.models.networks.exported import ExportedNetwork, open_exported, open_onnx
from src.models.networks.weighted import open_module, open_timm
from src.models.retrieval_module import RetrievalModule
from src.preprocessing import Preprocessing
from tests.conftest import ComposeConfig
from tests.exact_retrieval import oracle
from tests.helpers import embed_again
from tests.models.small_network import SmallNetwork, trained_network
from tests.utils.test_checkpoint import Trap

SIZE = (96, 80)
PREPROCESSING = ["preprocessing=imagenet", f"preprocessing.size={list(SIZE)}"]
OWN = ["model=module", "model.module._target_=tests.models.small_network.SmallNetwork"]

Embed = Callable[[Tensor], Tensor]


def loop(data_dir: Path, embed: Embed) -> dict[str, tuple[Tensor, Tensor]]:
    """Embeddings and identities of the images of each set, one image at a time."""
    prepare = transforms.Compose(
        [
            transforms.Resize(SIZE),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    sets = {}
    for name in ("query", "reference"):
        paths = sorted((data_dir / name).rglob("*.jpg"))
        with torch.no_grad():
            embeddings = [embed(prepare(Image.open(path)).unsqueeze(0)) for path in paths]
        identities = torch.tensor([int(path.parent.name) for path in paths])
        sets[name] = torch.cat(embeddings), identities
    return sets


def compare(objects: dict[str, Any], accuracy: float, expected: Any) -> None:
    metric = embed_again(objects)
    for name in ("query", "reference"):
        found, embeddings = torch.cat(getattr(metric, f"{name}_embeddings")), expected[name][0]
        assert (found - embeddings).norm() <= 1e-5 * embeddings.norm()
    query, reference = expected["query"], expected["reference"]
    assert accuracy == pytest.approx(oracle.accuracy(*query, *reference, "cosine"), abs=1e-6)
    assert 0 < accuracy < 1


def save_weights(folder: Path) -> list[str]:
    torch.save(trained_network().state_dict(), folder / "plain.pt")
    return [*OWN, f"model.weights={folder / 'plain.pt'}"]


def save_nested_weights(folder: Path) -> list[str]:
    weights = {f"model.{name}": value for name, value in trained_network().state_dict().items()}
    content = {"state_dict": {**weights, "loss.W": torch.zeros(3)}, "epoch": 7}
    torch.save(content, folder / "nested.ckpt")
    options = ["model.strip_prefix=model.", "model.ignore=[loss.]"]
    return [*OWN, f"model.weights={folder / 'nested.ckpt'}", *options]


def save_safetensors(folder: Path) -> list[str]:
    import safetensors.torch

    safetensors.torch.save_file(trained_network().state_dict(), folder / "net.safetensors")
    return [*OWN, f"model.weights={folder / 'net.safetensors'}"]


def export(folder: Path, batch: int | None = None) -> list[str]:
    dynamic = ({0: torch.export.Dim("batch", min=1)},) if batch is None else None
    images = torch.rand(batch or 2, 3, *SIZE)
    program = torch.export.export(trained_network(), (images,), dynamic_shapes=dynamic)
    torch.export.save(program, folder / "net.pt2")
    return ["model=exported", f"model.file={folder / 'net.pt2'}"]


def export_fixed_batch(folder: Path) -> list[str]:
    return export(folder, batch=4)


def script(folder: Path) -> list[str]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.* is deprecated", FutureWarning)
        torch.jit.trace(trained_network(), torch.rand(1, 3, *SIZE)).save(folder / "net.pt")
    return ["model=exported", f"model.file={folder / 'net.pt'}"]


def export_onnx(folder: Path, batch: int | None = None) -> list[str]:
    for extra in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(extra, reason="the extra onnx is not installed")
    dynamic = ({0: torch.export.Dim("batch", min=1)},) if batch is None else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter
        torch.onnx.export(
            trained_network(),
            (torch.rand(batch or 2, 3, *SIZE),),
            folder / "net.onnx",
            dynamic_shapes=dynamic,
            dynamo=True,
            verbose=False,
        )
    return ["model=onnx", f"model.file={folder / 'net.onnx'}"]


def export_onnx_fixed_batch(folder: Path) -> list[str]:
    return export_onnx(folder, batch=4)


DOORS = [
    save_weights,
    save_nested_weights,
    save_safetensors,
    export,
    export_fixed_batch,
    script,
    export_onnx,
    export_onnx_fixed_batch,
]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_a_network_gives_what_a_loop_gives(
    eval_config: ComposeConfig, prepared_data: Path, tmp_path: Path, door: Callable[[Path], Any]
) -> None:
    options = ["datamodule.batch_size=3", "logger=none", *PREPROCESSING, *door(tmp_path)]
    with pytest.warns(UserWarning, match=r"are not 96 x 80 pixels"):
        metrics, objects = evaluate(eval_config("ckpt_path=null", *options))
    compare(objects, metrics["test/acc"].item(), loop(prepared_data, trained_network()))
    provenance = objects["evaluation"].provenance
    assert Path(provenance.checkpoint).parent == tmp_path
    assert provenance.epoch == (7 if door is save_nested_weights else None)
    assert provenance.preprocessing == objects["datamodule"].preprocessing
    assert provenance.preprocessing.size == SIZE
    assert provenance.preprocessing.sha256 == provenance.run_tags()["preprocessing_sha256"]


def test_the_mean_with_the_mirror_image(
    eval_config: ComposeConfig, prepared_data: Path, tmp_path: Path
) -> None:
    network = trained_network()
    options = ["logger=none", "model.flip=true", *PREPROCESSING, *save_weights(tmp_path)]
    with pytest.warns(UserWarning, match=r"are not 96 x 80 pixels"):
        metrics, objects = evaluate(eval_config("ckpt_path=null", *options))
    expected = loop(
        prepared_data, lambda image: (network(image) + network(torch.flip(image, [3]))) / 2
    )
    compare(objects, metrics["test/acc"].item(), expected)
    assert objects["evaluation"].provenance.flip
    assert "mirror image" in objects["evaluation"].provenance.run_tags()["flip"]


def test_a_checkpoint_does_not_go_with_another_network(
    eval_config: ComposeConfig, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"`ckpt_path` should go with model=checkpoint, got .*"):
        evaluate(eval_config(*save_weights(tmp_path)))


def test_market_where_the_preprocessing_is_unknown(
    eval_config: ComposeConfig, tmp_path: Path
) -> None:
    given = ["ckpt_path=null", "logger=none", *save_weights(tmp_path)]
    with pytest.warns(UserWarning, match=r"assumed, as for Market-1501: size \[128, 64\]; mean"):
        assumed, _ = evaluate(eval_config(*given))
    chosen, _ = evaluate(eval_config(*given, "preprocessing=market"))
    assert assumed == chosen


class TestWeights:
    def weights(self, folder: Path, **changes: Tensor | None) -> Path:
        weights = {**trained_network().state_dict(), **changes}
        kept = {name: value for name, value in weights.items() if value is not None}
        torch.save(kept, folder / "w.pt")
        return folder / "w.pt"

    def test_missing_surplus_and_other_shapes_are_counted(self, tmp_path: Path) -> None:
        surplus = {f"fc.{number}": torch.zeros(1) for number in range(9)}
        changes = {"head.weight": torch.zeros(2, 96), "head.bias": None, **surplus}
        with pytest.raises(ValueError, match=r"w.pt does not fit SmallNetwork:\n1 miss") as error:
            open_module(SmallNetwork(), str(self.weights(tmp_path, **changes)))
        assert str(error.value).splitlines()[1:] == [
            "1 missing: head.bias",
            "9 surplus: fc.0, fc.1, fc.2, fc.3, fc.4, ...",
            "1 of another shape: head.weight [2, 96] instead of [16, 96]",
        ]

    def test_a_prefix_is_suggested_but_not_guessed(self, tmp_path: Path) -> None:
        weights = {f"module.{n}": v for n, v in trained_network().state_dict().items()}
        torch.save({"state_dict": {**weights, "loss.W": torch.zeros(1)}}, tmp_path / "w.pt")
        with pytest.raises(ValueError, match=r"begin with 'module.': model.strip_prefix=module\."):
            open_module(SmallNetwork(), str(tmp_path / "w.pt"))

    def test_code_in_a_file_does_not_run(self, tmp_path: Path) -> None:
        torch.save({"head.bias": Trap(tmp_path / "ran")}, tmp_path / "trap.pt")
        with pytest.raises(ValueError, match=r"trap.pt holds more than tensors .* posix.mkdir"):
            open_module(SmallNetwork(), str(tmp_path / "trap.pt"))
        assert not (tmp_path / "ran").exists()

    def test_other_contents(self, tmp_path: Path) -> None:
        torch.save({"epoch": 1, "net": {}}, tmp_path / "other.pt")
        with pytest.raises(ValueError, match=r"should hold tensors by name, .* got \['epoch', 'n"):
            open_module(SmallNetwork(), str(tmp_path / "other.pt"))
        (tmp_path / "bad.safetensors").write_bytes(b"no tensors")
        with pytest.raises(ValueError, match=r"bad.safetensors is no checkpoint, or a damaged one"):
            open_module(SmallNetwork(), str(tmp_path / "bad.safetensors"))
        with pytest.raises(FileNotFoundError, match=r"No checkpoint at .*none.pt"):
            open_module(SmallNetwork(), str(tmp_path / "none.pt"))


class TestTimm:
    @pytest.fixture(autouse=True)
    def extra(self) -> None:
        pytest.importorskip("timm", reason="the extra timm is not installed")

    def test_weights_without_their_classifier(self, tmp_path: Path) -> None:
        import safetensors.torch
        import timm

        torch.manual_seed(0)
        whole = timm.create_model("resnet18", num_classes=10).eval()
        safetensors.torch.save_file(whole.state_dict(), tmp_path / "resnet18.safetensors")
        model = open_timm("resnet18", str(tmp_path / "resnet18.safetensors")).eval()
        image = torch.rand(2, 3, 128, 64)
        with torch.no_grad():
            features = whole.forward_head(whole.forward_features(image), pre_logits=True)
            assert torch.equal(model(image), features)
        assert model.preprocessing == Preprocessing(
            (224, 224),
            (0.485, 0.456, 0.406),
            (0.229, 0.224, 0.225),
            "bicubic",
            resize="crop",
            crop_fraction=0.95,
        )

    def test_options_of_a_network(self) -> None:
        options = {"img_size": (64, 32), "patch_size": 16, "depth": 1}
        model = open_timm("vit_tiny_patch16_224", options=options)
        assert model.eval()(torch.rand(2, 3, 64, 32)).shape == (2, 192)
        with pytest.raises(ValueError, match=r"does not take images of 128 x 64 pixels: "):
            model.try_out((128, 64))

    def test_another_name(self) -> None:
        with pytest.raises(ValueError, match=r"should name a network of timm, got 'resne'"):
            open_timm("resne")


class TestExported:
    def test_other_files(self, tmp_path: Path) -> None:
        torch.save(trained_network().state_dict(), tmp_path / "weights.pt")
        (tmp_path / "text.pt2").write_text("no archive")
        for name in ("weights.pt", "text.pt2"):
            with pytest.raises(ValueError, match=rf"{name} should be a network that torch.export"):
                open_exported(str(tmp_path / name))
        with pytest.raises(FileNotFoundError, match=r"No such file or directory: .*none.pt2"):
            open_exported(str(tmp_path / "none.pt2"))


class TestOnnx:
    @pytest.fixture(autouse=True)
    def extra(self) -> None:
        for extra in ("onnx", "onnxruntime"):
            pytest.importorskip(extra, reason="the extra onnx is not installed")

    def test_weights_beside_the_file_count_in_its_digest(self, tmp_path: Path) -> None:
        export_onnx(tmp_path)
        first = open_onnx(str(tmp_path / "net.onnx")).file
        content = bytearray((tmp_path / "net.onnx.data").read_bytes())
        content[0] ^= 1
        (tmp_path / "net.onnx.data").write_bytes(content)
        second = open_onnx(str(tmp_path / "net.onnx")).file
        assert first is not None
        assert second is not None
        assert first.sha256 != second.sha256

    def test_two_inputs(self, tmp_path: Path) -> None:
        from onnx import TensorProto, helper, save

        images = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 8, 4]) for n in "ab"]
        out = helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1, 3, 8, 4])
        node = helper.make_node("Add", ["a", "b"], ["sum"])
        graph = helper.make_graph([node], "two", images, [out])
        opset = [helper.make_opsetid("", 17)]
        file = tmp_path / "two.onnx"
        save(helper.make_model(graph, opset_imports=opset, ir_version=8), file)
        with pytest.raises(ValueError, match=r"two.onnx should have one input, .* got \['a tensor"):
            open_onnx(str(file))

    def test_other_files(self, tmp_path: Path) -> None:
        (tmp_path / "text.onnx").write_text("no graph")
        with pytest.raises(ValueError, match=r"text.onnx is no ONNX file, or a damaged one"):
            open_onnx(str(tmp_path / "text.onnx"))
        with pytest.raises(FileNotFoundError, match=r"No such file or directory: .*none.onnx"):
            open_onnx(str(tmp_path / "none.onnx"))


@pytest.mark.parametrize(
    ("package", "build", "message"),
    [
        ("onnxruntime", open_onnx, r"model=onnx needs more: pip install onnx onnxruntime"),
        ("timm", partial(open_timm, "resnet10t"), r"model=timm needs timm: pip install timm"),
    ],
)
def test_an_extra_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, build: Any, message: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "weights").touch()
    with pytest.raises(ValueError, match=message):
        build(str(tmp_path / "weights"))


@pytest.mark.parametrize("images", [1, 3, 4, 9])
def test_batches_of_one_size(images: int) -> None:
    sizes = []

    class Counting(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            sizes.append(len(image))
            return image.mean((2, 3))

    batch = torch.rand(images, 3, 5, 4)
    assert torch.equal(ExportedNetwork(Counting(), 4)(batch), batch.mean((2, 3)))
    assert set(sizes) == {4}


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            nn.Identity(),
            r"should give embeddings \[B, D\] .* got a Tensor of shape \[1, 3, 96, 80\] for",
        ),
        (
            nn.AdaptiveMaxPool2d(1, return_indices=True),
            r"should give embeddings .* got a tuple of shape \[\] for",
        ),
        (nn.Linear(7, 3), r"does not take images of 96 x 80 pixels: mat1 and mat2"),
    ],
)
def test_networks_that_give_no_embeddings(network: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RetrievalModule(network).try_out(SIZE)


def test_a_network_is_tried_out_in_the_mode_of_evaluation() -> None:
    network = trained_network().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    RetrievalModule(network).train().try_out(SIZE)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
