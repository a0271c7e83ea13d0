"""Networks that take batches of one size alone."""

import torch
from torch import Tensor, nn


class FixedBatch(nn.Module):
    """A network that gets batches of one size, whatever the size of those that come.

    Args:
        network: from images [size, 3, H, W] to embeddings [size, D].
        size: of its batches.
    """

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network = network
        self.size = size

    def forward(self, image: Tensor) -> Tensor:
        """Embed images [B, 3, H, W]; the last one fills up the last batch."""
        missing = -len(image) % self.size
        filled = torch.cat([image, image[-1:].expand(missing, -1, -1, -1)])
        embeddings = torch.cat([self.network(batch) for batch in filled.split(self.size)])
        return embeddings[: len(image)]
