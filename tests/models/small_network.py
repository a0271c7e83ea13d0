"""A network as a user might have it, which a test names as `_target_`."""

import torch
from torch import Tensor, nn


class SmallNetwork(nn.Module):
    """From images [B, 3, H, W] to embeddings [B, width]."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d((4, 3))
        )
        self.head = nn.Linear(96, width)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image).flatten(1))


def trained_network() -> SmallNetwork:
    """A network whose batch normalisation has seen images."""
    torch.manual_seed(0)
    network = SmallNetwork()
    network(torch.randn(16, 3, 96, 80))
    return network.eval()
