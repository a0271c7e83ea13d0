"""What a data set gives for one of its images."""

from typing import NamedTuple

from torch import Tensor


class Sample(NamedTuple):
    """One image, or after collation a batch of B images.

    Attributes:
        image: RGB, uint8 [3, H, W]; batch [B, 3, H, W]. As the network gets it, float32.
        label: int64 scalar, the integer of the identity; batch [B].
        camera: int64 scalar, the integer of the camera, -1 where unknown; batch [B].
        index: int64 scalar, position in the sorted listing of the set; batch [B].
    """

    image: Tensor
    label: Tensor
    camera: Tensor
    index: Tensor  # type: ignore[assignment]  # shadows tuple.index


class EmbeddedSample(NamedTuple):
    """One image that was embedded before, or a batch of B of them.

    Attributes:
        embedding: floating tensor [D]; batch [B, D].
        label: as in `Sample`, like the others.
        camera: likewise.
        index: likewise.
    """

    embedding: Tensor
    label: Tensor
    camera: Tensor
    index: Tensor  # type: ignore[assignment]  # shadows tuple.index
