r"""Similarities of all pairs by matrix products, tile by tile, with a bound of their error.

A matrix product gives an approximate similarity of every pair. It differs from
:func:`~.scoring.pair_similarity`, in units of the product, by at most

.. math:: (\gamma + 4 u + (2 D + 256)\, 2^{-53} (1 + 2^{-23} D))\, e + \epsilon, \qquad
          e = 1 \text{ (cosine)}, \quad |q| \max|r| \text{ (inner product)}, \quad
          (|q| + \max|r|)^2 \text{ (euclidean)},

because

- the products of one row are off by at most :math:`\gamma` times the product of the norms
  (:func:`~.multiplication.accumulation_error`);
- coordinates are computed in float64 and rounded once, each with a relative error of at most
  :math:`u`, the roundoff of the product's dtype;
- a norm of :math:`D` squares is off by at most :math:`D\, 2^{-54}` relatively, and two of them
  enter a cosine; for euclidean, :math:`2 q \cdot r - |q|^2 - |r|^2` has squares off by
  :math:`D\, 2^{-53}`;
- the definition itself is off by at most :math:`5 (\log_2 D + 5)\, 2^{-53} e`, less than
  :math:`150 \cdot 2^{-53} e` for :math:`D < 2^{25}`; the rest of 256 covers what is linear in
  neither;
- the norms in :math:`e` may come from float32, hence the factor :math:`1 + 2^{-23} D`;
- whatever underflows, in the product or in the definition, loses at most :math:`\epsilon`.

So what the product cannot decide is left to the definition: few pairs come that near to whatever
they are compared with.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from .inputs import check_embeddings, check_norms, row_norms
from .multiplication import accumulation_error, multiplication_is_covered
from .scoring import Distance, balance
from .threads import map_in_threads

_CHUNK = 2**17  # elements of a temporary, which stays in a core's cache
_TILE = 1024  # references whose sums stay in a core's cache while they grow
_BEYOND = 2.0**10  # all products: they are below 2**5
_SEGMENT = 64  # columns of a partial product in float32: the shorter a sum, the smaller its error


@dataclass(frozen=True)
class Approximation:
    """How similarities are approximated for some embeddings.

    Attributes:
        distance: what similarities are by.
        query_scale: power of two that queries are multiplied by.
        reference_scale: likewise.
        tolerance: bound of the error for each query, in units of the product.
        precision: dtype of the product.
    """

    distance: Distance
    query_scale: float
    reference_scale: float
    tolerance: Float64[Tensor, " Q"]
    precision: torch.dtype

    @classmethod
    def fit(
        cls,
        query_norm: Float64[Tensor, " Q"],
        reference_norm: Float64[Tensor, " R"],
        *,
        width: int,
        distance: Distance,
        sharp: bool,
    ) -> "Approximation":
        """Choose scales and a precision, float64 where `sharp`, and bound the error."""
        device = query_norm.device
        is_covered = multiplication_is_covered(device, torch.float32, width + 2)
        precision = torch.float64 if sharp or not is_covered else torch.float32
        q, r = _exponent(query_norm), _exponent(reference_norm)
        if distance == "cosine":
            q = r = 0
        elif distance == "euclidean":
            q = r = max(q, r)
        scales = math.ldexp(1.0, -q), math.ldexp(1.0, -r)
        query_norm, greatest = query_norm * scales[0], reference_norm.max() * scales[1]
        if distance == "cosine":
            extent = torch.ones_like(query_norm)
        elif distance == "inner_product":
            extent = query_norm * greatest
        else:
            extent = (query_norm + greatest).square()
        definition = (2 * width + 256) * 2.0**-53 * (1 + width * 2.0**-23)
        finfo = torch.finfo(precision)
        relative = _product_error(width + 2, precision, device) + 2 * finfo.eps + definition
        underflow = width * (64 * finfo.tiny + 2.0**-1072 * scales[0] * scales[1])
        return cls(distance, *scales, relative * extent + underflow, precision)

    @property
    def unit(self) -> float:
        """What a product of 1 stands for."""
        return 1 / (self.query_scale * self.reference_scale)

    def in_units(self, similarity: Float64[Tensor, "*shape"]) -> Float64[Tensor, "*shape"]:
        """Express similarities in units of the product; those beyond all products stay so."""
        return (similarity / self.unit).clamp(-_BEYOND, _BEYOND)

    def coordinates(self, rows: Float[Tensor, "N D"], *, is_query: bool) -> Float[Tensor, "N D2"]:
        """Compute rows whose inner products are the similarities."""

        def compute(part: Tensor) -> Tensor:
            return self._coordinates(part, is_query=is_query)

        parts = rows.split(max(1, _CHUNK // rows.shape[1]))
        return torch.cat(list(map_in_threads(compute, parts, rows.device)))

    def _coordinates(self, rows: Tensor, *, is_query: bool) -> Tensor:
        if self.distance == "cosine":
            rows = balance(rows) if rows.dtype == torch.float64 else rows.double()
            rows = rows * (1 / torch.linalg.vector_norm(rows, dim=1, keepdim=True))
        else:
            rows = rows.double() * (self.query_scale if is_query else self.reference_scale)
        if self.distance == "euclidean":
            square = rows.square().sum(dim=1, keepdim=True)
            one = torch.ones_like(square)
            columns = (2 * rows, -one, -square) if is_query else (rows, square, one)
            rows = torch.cat(columns, dim=1)
        return rows.to(self.precision)


def approximate(
    query: Float[Tensor, "Q D"],
    reference: Float[Tensor, "R D"],
    *,
    distance: Distance,
    sharp: bool,
) -> tuple[Approximation, Float[Tensor, "Q D2"], Float[Tensor, "R D2"]]:
    """Choose how similarities are approximated, and compute the coordinates of both sides.

    Raises:
        ValueError: for embeddings without finite similarities, or that do not fit each other.
    """
    check_embeddings(query, reference)
    norms = row_norms(query), row_norms(reference)
    check_norms(*norms, distance)
    fitted = Approximation.fit(*norms, width=query.shape[1], distance=distance, sharp=sharp)
    x = fitted.coordinates(query, is_query=True)
    return fitted, x, fitted.coordinates(reference, is_query=False)


def _exponent(norms: Tensor) -> int:
    """The exponent that scales the greatest norm to [1, 2), within limits that stay finite."""
    return min(max(math.frexp(float(norms.max()))[1] - 1, -500), 511)


def _segments(width: int, precision: torch.dtype) -> list[slice]:
    """Columns that are summed by one product each, before the sums are added."""
    step = _SEGMENT if precision == torch.float32 else width
    return [slice(start, start + step) for start in range(0, width, step)]


def _product_error(width: int, precision: torch.dtype, device: torch.device) -> float:
    """Bound the relative error of `multiply_rows`."""
    segments = _segments(width, precision)
    longest = min(width, segments[0].stop)
    return accumulation_error(longest + len(segments) - 1, precision, device)


def multiply_rows(x: Float[Tensor, "Q D"], y: Float[Tensor, "R D"]) -> Float[Tensor, "Q R"]:
    """Multiply coordinates of queries by coordinates of references."""
    product = x.new_empty((len(x), len(y)))
    for tile, rows in zip(product.split(_TILE, dim=1), y.split(_TILE), strict=True):
        first, *others = _segments(x.shape[1], x.dtype)
        tile.addmm_(x[:, first], rows[:, first].T, beta=0)
        for columns in others:
            tile.addmm_(x[:, columns], rows[:, columns].T)
    return product
