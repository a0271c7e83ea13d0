"""Ranges of products, cut into buckets of equal width."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

_MARGIN = 16  # buckets beyond the range, on both sides
_SPREAD = 8  # of these for products below all: adding to one number again and again is slow
_NARROWEST = 2.0**-100  # bucket, so that the buckets in a unit are a finite number


class Buckets(NamedTuple):
    """Buckets of some ranges of products.

    Positions count from 0. Products above all buckets of a range are at the last one, those below
    all at some of the first ones.

    Attributes:
        origin: product at position 0, for each range.
        rate: buckets per unit of the product.
        count: of the buckets of a range.
    """

    origin: Float[Tensor, "N 1"]
    rate: Float[Tensor, "N 1"]
    count: int  # type: ignore[assignment]  # the field hides tuple.count

    @classmethod
    def fit(
        cls, low: Float64[Tensor, " N"], high: Float64[Tensor, " N"], least: int, dtype: torch.dtype
    ) -> "Buckets":
        """Cut each of the ranges from `low` to `high`, for products of a dtype.

        The number of buckets is a power of two. They are not narrower than rounding.
        """
        count = 1 << max(least - 1, 4 * _MARGIN).bit_length()
        rounding = torch.maximum(low.abs(), high.abs()) * torch.finfo(dtype).eps
        width = torch.maximum((high - low) / (count - 2 * _MARGIN), rounding)
        width.clamp_(min=_NARROWEST)
        origin, rate = (column.to(dtype)[:, None] for column in (low - _MARGIN * width, 1 / width))
        return cls(origin, rate, count)

    def of(self, ranges: Int64[Tensor, " M"]) -> "Buckets":
        """Take some of the ranges, which may come again."""
        origin, rate = (column.index_select(0, ranges) for column in self[:2])
        return Buckets(origin, rate, self.count)

    def find(self, product: Float[Tensor, "M K"]) -> Float[Tensor, "M K"]:
        """Find the positions of products, each row in a range of its own or all in the only one."""
        first = torch.arange(product.shape[1], device=product.device) % _SPREAD
        position = (product - self.origin).mul_(self.rate).clamp_(max=self.count - 1)
        return torch.maximum(position, first.to(product.dtype), out=position)

    def find_bounds(
        self, low: Float64[Tensor, " M"], high: Float64[Tensor, " M"]
    ) -> tuple[Float64[Tensor, " M"], Float64[Tensor, " M"]]:
        """Find positions that no product between `low` and `high` is beyond."""
        positions = []
        for bound, outward in ((low, -torch.inf), (high, torch.inf)):
            rounded = bound.to(self.origin.dtype)
            rounded = rounded.nextafter(rounded.new_tensor(outward))
            positions.append(self.find(rounded[:, None])[:, 0].double())
        return positions[0], positions[1]
