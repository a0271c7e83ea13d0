r"""Proof, from a matrix product in low precision, that a reference cannot be among the nearest.

**Every ranking as an inner product.** For a query :math:`q` and references :math:`r_j` let

=============  ==========================================  ===================
distance       :math:`y_j`                                 :math:`v`
=============  ==========================================  ===================
cosine         :math:`r_j / |r_j| - c`                     :math:`q`
inner product  :math:`t r_j - c`                           :math:`q`
euclidean      :math:`(z_j, -|z_j|^2 / 2 - b)`             :math:`(t q - c, 1)`
               with :math:`z_j = t r_j - c`
=============  ==========================================  ===================

with :math:`t` a power of two such that :math:`t |r_j| < 1`, and :math:`x = v / |v|`. Then
:math:`s_j = x \cdot y_j` is the similarity up to a positive factor and a summand that depend on
the query alone; for euclidean, :math:`-t^2 |q - r_j|^2 = 2 v \cdot y_j - |t q - c|^2 + 2 b`. So
:math:`c` and :math:`b` are free. They are means over a sample of references, since the bounds
shrink with :math:`|y|`. In int8, a last coordinate far greater than the others would leave them few
levels; so it is spread over :math:`m = 16` columns, each of which holds :math:`1 / \sqrt m` of it
in :math:`y` and in :math:`v`.

**What the multiplication returns.** Let :math:`u` be the unit roundoff in which rows are computed,
:math:`\hat x, \hat y_j` the rows rounded to low precision, :math:`\rho_x, \rho_j` the norms of
their errors, and :math:`p_j` the entry of the matrix product. In int8, :math:`\hat x` is a row of
integers times a factor of its own, :math:`\hat y_j` one times a factor that all references share;
an entry that exceeds the range is cut, which counts as its error. Then
:math:`|p_j - s_j| \le E_j + F + w |p_j|` with

.. math:: E_j = \rho_j + \gamma |\hat y_j| + n \epsilon, \qquad
          F = \rho_x (1 + \gamma) \max_i |\hat y_i|

because

- :math:`x \cdot y - \hat x \cdot \hat y = x \cdot (y - \hat y) + (x - \hat x) \cdot \hat y`, at
  most :math:`\rho_j + \rho_x |\hat y_j|` (triangle and Cauchy-Schwarz inequalities,
  :math:`|x| \le 1`);
- :math:`n` products summed in any order are off by at most :math:`\gamma |\hat x| |\hat y_j|`,
  :math:`\gamma = n u_a / (1 - n u_a)`, with :math:`u_a` the roundoff of the accumulator (Higham,
  *Accuracy and Stability of Numerical Algorithms*, 2nd ed., section 3.1, and Cauchy-Schwarz), and
  :math:`|\hat x| \le 1 + \rho_x`; integers are summed exactly, and :math:`\gamma` is for three
  roundings when the sum is scaled back;
- the output in bfloat16 is rounded with a relative error of at most :math:`w = 2^{-8}` (op. cit.,
  theorem 2.3);
- what rounding to low precision removes is measured; before that, a row is computed with an error
  of at most :math:`(n + 64) u`, twice that for euclidean: :math:`\gamma / 2` from the norm or
  :math:`\gamma |z|^2 / 2` with :math:`|z| < 2` from the square, the rest from the other
  operations and from those that compare bounds;
- any number below the normal range may be taken for zero: :math:`\epsilon` is the smallest normal
  number, with a factor of :math:`2^{26}` for what rows are scaled by and for the places it can
  happen in.

**What the definition returns.** The float64 similarity itself is rounded, and products of float64
input may underflow: together at most :math:`A` per query, in units of :math:`s`
(:meth:`Frame.slack`).

So reference :math:`j` is not among the ``k`` nearest if :math:`p_j + w |p_j| + E_j` falls short of
the ``k``-th greatest :math:`p_i - w |p_i| - E_i` by more than :math:`2 (A + F)`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from .multiplication import accumulation_error, padding
from .rounding import LEVELS, SMALLEST_STEP, round_rows
from .scoring import Distance, balance

_COMFORTABLE = 2.0**20  # rows with norms between its inverse and this are computed in float32
_CHUNK = 2**19  # elements of a temporary, which stay in a core's cache
COPIES = 16  # m, a power of four
_SAMPLE = 1024  # references that the centre is the mean of


class Queries(NamedTuple):
    """Rows x of queries in low precision.

    Attributes:
        rows: [N, D'], padded with zeros.
        unit: what an entry of the product with them stands for [N].
        error: F over the greatest norm of a reference [N].
    """

    rows: Tensor
    unit: Tensor
    error: Tensor


class References(NamedTuple):
    """Rows y of references in low precision.

    Attributes:
        rows: [N, D'], padded with zeros.
        error: E [N].
        norm: at least the norms of the rows [N].
    """

    rows: Tensor
    error: Tensor
    norm: Tensor


@dataclass(frozen=True)
class Frame:
    """The coordinates x and y for one search.

    Attributes:
        distance: what to rank by.
        scale: t.
        columns: D.
        centre: (c, b / sqrt(m), ...) or c, in the dtype that rows are computed in.
        precision: dtype that rows are rounded to and multiplied in.
        step: what an int8 entry of y is a multiple of, in the dtype of ``centre``; 1 otherwise.
    """

    distance: Distance
    scale: float
    columns: int
    centre: Tensor
    precision: torch.dtype
    step: Tensor

    @classmethod
    def fit(
        cls,
        reference: Tensor,
        query_norm: Tensor,
        reference_norm: Tensor,
        *,
        distance: Distance,
        precision: torch.dtype,
    ) -> "Frame":
        """Choose scale, centre, step and dtype for references [R, D], given their norms."""
        exponent = min(1000, -math.frexp(float(reference_norm.max()))[1])
        if distance == "euclidean":  # |t q|**2 stays finite
            exponent = min(exponent, 400 - math.frexp(float(query_norm.max()))[1])
        norms = torch.cat((query_norm, reference_norm))
        wide = (
            torch.float64 in (reference.dtype, precision)
            or bool((norms < 1 / _COMFORTABLE).any())
            or bool((norms > _COMFORTABLE).any())
        )
        columns = width = reference.shape[1]
        if distance == "euclidean":
            width += COPIES if precision == torch.int8 else 1
        centre = reference.new_zeros(width, dtype=torch.float64 if wide else torch.float32)
        one = torch.ones_like(centre[0])
        frame = cls(distance, math.ldexp(1.0, exponent), columns, centre, precision, one)
        every = -(-len(reference) // _SAMPLE)
        sample, norms = reference[::every], reference_norm[::every]
        centre[:columns] = frame._references(sample, norms)[:, :columns].mean(dim=0)
        centre[columns:] = frame._references(sample, norms)[:, columns:].mean(dim=0)
        if precision != torch.int8:
            return frame
        greatest = frame._references(sample, norms).abs().amax()
        return replace(frame, step=(greatest / LEVELS).clamp_min(SMALLEST_STEP))

    @property
    def root(self) -> float:
        """The square root of m; 1 where there is no last coordinate."""
        return math.sqrt(max(1, len(self.centre) - self.columns))

    @property
    def arithmetic(self) -> torch.dtype:
        """The dtype that products are compared in."""
        return torch.promote_types(self.precision, torch.float32)

    def queries(self, x: Tensor) -> Queries:
        """Return coordinates [N, D'] of queries in low precision and their part of the bound."""
        step = x.new_ones(len(x))
        if self.precision == torch.int8:
            step = (x.abs().amax(dim=1) / LEVELS).clamp_min_(SMALLEST_STEP)
            x = x * step.reciprocal()[:, None]
        rounded, error, _ = self._round(x.split(max(1, _CHUNK // x.shape[1])), step)
        accumulated = accumulation_error(rounded.shape[1], self.precision, x.device)
        return Queries(rounded, step * self.step, error * (1 + accumulated))

    def references(self, rows: Tensor, norms: Tensor) -> References:
        """Return rows [N, D], given their norms, in low precision and their part of the bound."""
        size = max(1, _CHUNK // rows.shape[1])
        parts = zip(rows.split(size), norms.split(size), strict=True)
        rounded, error, norm = self._round((self._references(*part) for part in parts), self.step)
        error = error_bound(error, norm, rounded.shape[1], self.precision)
        return References(rounded, error, norm)

    def slack(self, query_norm: Tensor) -> Tensor:
        """Bound the rounding errors of the definition itself, A in the module's text.

        With L = log2(D) rounded up, a float64 similarity is the result of at most L + 4 roundings
        of positive terms or of terms whose magnitudes sum to at most |q| |r|, and twice that with
        both norms of cosine. For euclidean, |t (q - r)|**2 / 2 |v| is at most 9/2 |v|, since
        |t (q - r)| <= |v| + 2 and |v| >= 1.

        Args:
            query_norm: norms of the queries [N], float64.

        Returns:
            The bounds [N], float64.
        """
        rounding = 5 * (math.log2(self.columns) + 5) * 2.0**-53
        underflow = self.columns * 2.0**-1074
        if self.distance == "cosine":
            return torch.full_like(query_norm, rounding + 4 * underflow)
        if self.distance == "inner_product":
            return rounding + underflow / query_norm.clamp_min(5e-324) * self.scale
        return rounding * (self.scale * query_norm + 2) + underflow * self.scale * self.scale

    def coordinates(self, rows: Tensor) -> Tensor:
        """Compute x for queries [N, D]."""
        x = rows.to(self.centre.dtype)
        if self.distance == "euclidean":
            x = x * self.scale - self.centre[: self.columns]
            last = (len(self.centre) - self.columns) * [torch.full_like(x[:, :1], 1 / self.root)]
            x = torch.cat((x, *last), dim=1)
        if x.dtype == torch.float64:
            x = balance(x)
        norm: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        return x / norm.clamp_min(torch.finfo(x.dtype).tiny)

    def scaled(self, rows: Tensor, norms: Tensor) -> tuple[Tensor, Tensor]:
        """Split t r, or r / |r| under cosine, into a row and a factor for it.

        Args:
            rows: embeddings of references [N, D].
            norms: their norms [N]; not used where rows are computed in float64.

        Returns:
            Rows [N, D], which may be ``rows`` itself, and factors [N].
        """
        r = rows.to(self.centre.dtype)
        wide = r.dtype == torch.float64
        if self.distance != "cosine":
            factor = torch.full_like(norms, 1.0 if wide else self.scale, dtype=r.dtype)
            return (r * self.scale if wide else r), factor
        if wide:
            r = balance(r)
            norms = torch.linalg.vector_norm(r, dim=1)
        return r, norms.to(r.dtype).reciprocal()

    def roundoff(self, dtype: torch.dtype) -> float:
        """Bound the error of a row that is computed in a dtype, or better: (n + 64) u."""
        return (len(self.centre) + 64) * torch.finfo(dtype).eps / 2

    def _references(self, rows: Tensor, norms: Tensor) -> Tensor:
        """Compute y in units of the step."""
        centre = self.centre / self.step
        r, factor = self.scaled(rows, norms)
        z = torch.addcmul(-centre[: self.columns], r, (factor / self.step)[:, None])
        if self.distance == "euclidean":
            height = z.square().sum(dim=1, keepdim=True) * (self.step / -2 / self.root)
            return torch.cat((z, height - centre[self.columns :]), dim=1)
        return z

    def _round(self, coordinates: Iterable[Tensor], step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Round coordinates to low precision.

        Args:
            coordinates: [N, D'] in parts, in units of the step.
            step: [N] or of all rows.

        Returns:
            Rows, and bounds [N] of the norms of their errors and of themselves, in the units of x
            and y.
        """
        parts = []
        for exact in coordinates:
            norm = torch.linalg.vector_norm(exact, dim=1)
            parts.append((*round_rows(exact, self.precision), norm))
        rounded, removed, norm = (torch.cat(column) for column in zip(*parts, strict=True))
        rounded = torch.nn.functional.pad(rounded, (0, padding(rounded.shape[1], self.precision)))
        computed = self.roundoff(self.arithmetic)
        removed, norm = removed * step * (1 + computed), norm * step * (1 + computed)
        computed *= 2 if self.distance == "euclidean" else 1
        return rounded, removed + computed, norm + removed


def error_bound(error: Tensor, norm: Tensor, width: int, precision: torch.dtype) -> Tensor:
    """Bound E in the module's text.

    Args:
        error: norms [N] of what the low-precision rows of references lack.
        norm: norms [N] of those rows.
        width: number of products that are summed.
        precision: dtype of the multiplication.

    Returns:
        The bounds [N].
    """
    accumulated = accumulation_error(width, precision, error.device)
    smallest = torch.finfo(torch.promote_types(precision, torch.bfloat16)).tiny
    return error + accumulated * norm + width * smallest * 2**26
