import pytest
import torch

from src.models.components.backbone import build_backbone


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("resnet18", 512),
        ("shufflenet_v2_x0_5", 1024),
        ("mobilenet_v3_small", 576),
        ("efficientnet_b0", 1280),
        ("squeezenet1_1", 512),
        ("densenet121", 1024),
        ("convnext_tiny", 768),
        ("googlenet", 1024),
        ("swin_t", 768),
    ],
)
def test_features_of_a_torchvision_network(name: str, width: int) -> None:
    backbone, found = build_backbone(name)
    assert found == width
    assert backbone.training
    assert backbone(torch.rand(2, 3, 128, 64)).shape == (2, width)


def test_unknown_network() -> None:
    with pytest.raises(
        ValueError, match=r"should name a network of torchvision.models, got 'resne'"
    ):
        build_backbone("resne")


def test_network_of_timm() -> None:
    pytest.importorskip("timm", reason="the extra timm is not installed")
    backbone, width = build_backbone("mobilenetv3_small_050")
    assert width == 1024
    assert backbone(torch.rand(2, 3, 128, 64)).shape == (2, width)


def test_network_for_another_task() -> None:
    with pytest.raises(ValueError, match=r"should be a classification network, got 'raft_small'"):
        build_backbone("raft_small")
