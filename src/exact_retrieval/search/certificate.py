r"""Proof, from a matrix product in low precision, that a reference cannot be among the nearest.

**Every ranking as an inner product.** For a query :math:`q` and references :math:`r_j` let

=============  =====================  ===============  ========================  ==============
distance       :math:`y_j`            :math:`v`        :math:`\nu`               :math:`g`
=============  =====================  ===============  ========================  ==============
cosine         :math:`r_j / |r_j|-c`  :math:`q`        :math:`|q|`               :math:`0`
inner product  :math:`t r_j - c`      :math:`q`        :math:`|q|`               :math:`0`
euclidean      :math:`t r_j - c`      :math:`t q - c`  :math:`\sqrt{|v|^2 + 1}`  :math:`1 / \nu`
=============  =====================  ===============  ========================  ==============

with :math:`t` a power of two such that :math:`t |r_j| < 1`, :math:`x = v / \nu` and
:math:`h_j = |y_j|^2 / 2`. Then :math:`s_j = x \cdot y_j - g h_j = \alpha \sigma_j + \beta`, where
:math:`\sigma_j` is the similarity, and :math:`\alpha > 0` and :math:`\beta` depend on the query
alone:

=============  =========================  ========================
distance       :math:`\alpha`             :math:`\beta`
=============  =========================  ========================
cosine         :math:`1`                  :math:`- x \cdot c`
inner product  :math:`t / |q|`            :math:`- x \cdot c`
euclidean      :math:`g t^2 / 2`          :math:`g |v|^2 / 2`
=============  =========================  ========================

So :math:`c` is free. It is the mean of a sample of references, since the bounds shrink with
:math:`|y|`. Only :math:`x \cdot y_j` is computed in low precision. The height :math:`h_j` is
subtracted afterwards; references of similar height share a block (:mod:`~.tiles`), and the least
height stands for all of them.

**What the multiplication returns.** Let :math:`u` be the unit roundoff in which references are
computed, :math:`\hat x, \hat y_j` the rows rounded to low precision, :math:`\rho_x, \rho_j` the
norms of their errors, and :math:`p_j` the entry of the matrix product. In int8, :math:`\hat x` is a
row of integers times a factor of its own, :math:`\hat y_j` one times a factor that its block
shares. Then :math:`|p_j - x \cdot y_j| \le E_j + F_j + w |p_j|` with

.. math:: E_j = \rho_j + \gamma |\hat y_j| + n \epsilon, \qquad
          F_j = \rho_x (1 + \gamma) |\hat y_j|

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
- what rounding to low precision removes is measured; before that, a reference is computed with an
  error of at most :math:`(n + 64) u`, twice that for euclidean: :math:`\gamma / 2` from the norm or
  :math:`\gamma h` with :math:`h < 2` from the height, the rest from the other operations and from
  those that compare bounds; queries are computed in float64, with the same bound for its roundoff;
- any number below the normal range may be taken for zero: :math:`\epsilon` is the smallest normal
  number, with a factor of :math:`2^{26}` for what rows are scaled by and for the places it can
  happen in.

**What the definition returns.** The float64 similarity :math:`\hat \sigma_j` is itself rounded,
products of float64 input may underflow, and :math:`\alpha` and :math:`\beta` are computed in
float64: together they move :math:`\alpha \hat \sigma_j + \beta` by at most :math:`A` from
:math:`s_j` (:meth:`Frame.slack`).

So if :math:`k` references are known whose similarity is at least :math:`\hat \sigma`, reference
:math:`j` is not among the ``k`` nearest if
:math:`p_j + w |p_j| + E_j + F_j - g h_j < \alpha \hat \sigma + \beta - A`.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64, Shaped
from torch import Tensor

from .multiplication import accumulation_error, output_roundoff, padding
from .problem import Problem
from .rounding import int8_steps, round_rows
from .scoring import Distance, balance

_COMFORTABLE = 2.0**20  # rows with norms between its inverse and this are computed in float32
_CHUNK_BYTES = 2**21  # of a temporary, which should stay in a core's cache
_SAMPLE = 1024  # references that the centre is the mean of


class Queries(NamedTuple):
    """Rows x of queries in low precision, and what the proof needs of them.

    Attributes:
        rows: padded with zeros.
        unit: what an entry of the product with a reference of step 1 stands for.
        error: F over the norm of the reference.
        weight: g.
        gain: alpha.
        shift: beta.
        slack: A.
    """

    rows: Shaped[Tensor, "N D2"]
    unit: Float[Tensor, " N"]
    error: Float[Tensor, " N"]
    weight: Float[Tensor, " N"]
    gain: Float64[Tensor, " N"]
    shift: Float64[Tensor, " N"]
    slack: Float64[Tensor, " N"]

    def of(self, some: slice) -> "Queries":
        """Take some of the queries."""
        return Queries(*(field[some] for field in self))

    def floor(self, similarity: Float64[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Return what bounds have to reach if k references have at least this similarity.

        Where it leaves the range of floats, every bound reaches it.
        """
        floor = self.gain * similarity + self.shift - self.slack
        return floor.masked_fill_(~floor.isfinite(), -torch.inf).to(self.unit.dtype)


class References(NamedTuple):
    """Rows y of references in low precision, and what the proof needs of their blocks.

    Attributes:
        rows: the members of each block along the first dimension; padded with zeros.
        step: what an entry of the rows is a multiple of in int8, otherwise 1.
        error: the greatest E.
        extent: at least the norms of the rows.
        height: the least h.
    """

    rows: Shaped[Tensor, "size blocks D2"]
    step: Float[Tensor, " blocks"]
    error: Float[Tensor, " blocks"]
    extent: Float[Tensor, " blocks"]
    height: Float[Tensor, " blocks"]


class Bounds(NamedTuple):
    """What turns products with the members of blocks into upper bounds of s.

    Attributes:
        factor: what an entry of the product stands for.
        allowance: E + F - g h.
        roundoff: w.
    """

    factor: Float[Tensor, "Q blocks"]
    allowance: Float[Tensor, "Q blocks"]
    roundoff: float

    def at(self, query: Int64[Tensor, " N"], block: Int64[Tensor, " N"]) -> "Bounds":
        """Select blocks for which there are several products each."""
        place = query * self.factor.shape[1] + block
        factor, allowance = (table.flatten().index_select(0, place) for table in self[:2])
        return Bounds(factor[:, None], allowance[:, None], self.roundoff)

    def upper(self, product: Shaped[Tensor, "N M"]) -> Float[Tensor, "N M"]:
        """Bound s from above."""
        value = product * self.factor
        if self.roundoff:
            value += self.roundoff * value.abs()
        return value.add_(self.allowance)


@dataclass(frozen=True)
class Frame:
    """The coordinates x and y for one search.

    Attributes:
        distance: what to rank by.
        scale: t.
        centre: c, in the dtype that references are computed in.
        precision: dtype that rows are rounded to and multiplied in.
    """

    distance: Distance
    scale: float
    centre: Float[Tensor, " D"]
    precision: torch.dtype

    @classmethod
    def fit(cls, problem: Problem, precision: torch.dtype) -> "Frame":
        """Choose scale, centre and dtype."""
        distance, reference = problem.distance, problem.reference
        exponent = min(1000, -math.frexp(float(problem.reference_norm.max()))[1])
        if distance == "euclidean":  # |t q|**2 stays finite
            exponent = min(exponent, 400 - math.frexp(float(problem.query_norm.max()))[1])
        norms = torch.cat((problem.query_norm, problem.reference_norm))
        is_comfortable = (norms > 1 / _COMFORTABLE) & (norms < _COMFORTABLE)
        is_narrow = torch.float64 not in (reference.dtype, precision)
        dtype = torch.float32 if is_narrow and bool(is_comfortable.all()) else torch.float64
        origin = reference.new_zeros(reference.shape[1], dtype=dtype)
        frame = cls(distance, math.ldexp(1.0, exponent), origin, precision)
        every = -(-len(reference) // _SAMPLE)
        sample = frame._coordinates(reference[::every], problem.reference_norm[::every])
        return replace(frame, centre=sample.mean(dim=0))

    @property
    def is_wide(self) -> bool:
        """Whether references are computed in float64."""
        return self.centre.dtype == torch.float64

    @property
    def arithmetic(self) -> torch.dtype:
        """The dtype that bounds are compared in."""
        return torch.promote_types(self.precision, torch.float32)

    def queries(self, rows: Float[Tensor, "N D"], norms: Float64[Tensor, " N"]) -> Queries:
        """Round queries, given their norms, to low precision."""
        size = max(1, _CHUNK_BYTES // (rows.shape[1] * torch.float64.itemsize))
        parts = zip(rows.split(size), norms.split(size), strict=True)
        return Queries(*map(torch.cat, zip(*(self._queries(*part) for part in parts), strict=True)))

    def _queries(self, rows: Tensor, norms: Tensor) -> Queries:
        """Compute in float64 and round some queries."""
        centre, q = self.centre.double(), rows.double()
        if self.distance == "euclidean":
            v = q * self.scale - centre
            square = v.square().sum(dim=1)
            weight = (square + 1).rsqrt()
            x = v * weight[:, None]
            gain, shift = weight * self.scale * self.scale / 2, weight * square / 2
        else:
            v = balance(q) if self.is_wide else q
            norm: Tensor = torch.linalg.vector_norm(v, dim=1, keepdim=True)
            x = v / norm.clamp_min(torch.finfo(v.dtype).tiny)
            weight, shift = torch.zeros_like(norms), -(x @ centre)
            gain = torch.ones_like(norms) if self.distance == "cosine" else self._gain(q, x)
        unit = norms.new_ones(len(x), dtype=self.arithmetic)
        if self.precision == torch.int8:
            unit = int8_steps(x.abs().amax(dim=1)).to(self.arithmetic)
            x = x / unit[:, None]
        rounded, removed = round_rows(x, self.precision)
        computed = self._roundoff(torch.float64)
        accumulated = accumulation_error(len(centre), self.precision, x.device)
        error = (removed * unit + computed) * (1 + computed) * (1 + accumulated)
        error, weight = error.to(self.arithmetic), weight.to(self.arithmetic)
        return Queries(self._pad(rounded), unit, error, weight, gain, shift, self.slack(norms))

    def _gain(self, q: Tensor, x: Tensor) -> Tensor:
        """Compute t / |q| as t x / q, of the greatest coordinate; 0 for a zero vector."""
        greatest = q.abs().argmax(dim=1, keepdim=True)
        gain = x.gather(1, greatest) * self.scale / q.gather(1, greatest)
        return gain[:, 0].nan_to_num_(0.0, torch.inf)

    def references(
        self, rows: Float[Tensor, "size blocks D"], norms: Float64[Tensor, "size blocks"]
    ) -> References:
        """Round blocks of references, given their norms, to low precision."""
        parts = max(1, rows.numel() * self.centre.itemsize // _CHUNK_BYTES)
        blocks = zip(rows.tensor_split(parts, 1), norms.tensor_split(parts, 1), strict=True)
        rounded, *fields = zip(*(self._references(*block) for block in blocks), strict=True)
        return References(torch.cat(rounded, dim=1), *map(torch.cat, fields))

    def _references(self, rows: Tensor, norms: Tensor) -> References:
        """Compute and round some blocks."""
        y = self._coordinates(rows, norms)
        norm = torch.linalg.vector_norm(y, dim=2)
        step = y.new_ones(y.shape[1])
        if self.precision == torch.int8:
            step = int8_steps(y.abs().amax(dim=(0, 2)))
            y = y * step.reciprocal()[:, None]
        rounded, removed = round_rows(y, self.precision)
        computed = self._roundoff(self.arithmetic)
        removed = removed * step * (1 + computed)
        extent = norm * (1 + computed) + removed
        error = removed + computed * (2 if self.distance == "euclidean" else 1)
        error = error_bound(error, extent, len(self.centre), self.precision)
        height = norm.square().amin(dim=0) / 2
        bounds = (step, error.amax(dim=0), extent.amax(dim=0), height)
        return References(self._pad(rounded), *(bound.to(self.arithmetic) for bound in bounds))

    def bounds(self, x: Queries, y: References) -> Bounds:
        """Return what bounds the similarities of queries and the members of blocks."""
        allowance = torch.addcmul(y.error, x.error[:, None], y.extent)
        if self.distance == "euclidean":
            allowance.addcmul_(x.weight[:, None], y.height, value=-1)
        return Bounds(x.unit[:, None] * y.step, allowance, output_roundoff(self.precision))

    def heights(
        self, rows: Float[Tensor, "N D"], norms: Float64[Tensor, " N"]
    ) -> Float64[Tensor, " N"]:
        """Estimate |y|**2 of references, given their norms, for all distances but cosine."""
        dot = (rows.to(self.centre.dtype) * self.scale) @ self.centre
        return (norms * self.scale).square() - 2 * dot

    def slack(self, query_norm: Float64[Tensor, " N"]) -> Float64[Tensor, " N"]:
        """Bound the rounding errors of the definition and of its conversion, A in the text.

        With L = log2(D) rounded up, a float64 similarity is the result of at most L + 4 roundings
        of positive terms or of terms whose magnitudes sum to at most |q| |r|, and twice that with
        both norms of cosine. For euclidean, |t (q - r)|**2 / 2 nu is at most 9/2 nu, since
        |t (q - r)| <= |v| + 2. The conversion sums at most D products, and |beta| is at most 1, or
        |v| for euclidean.
        """
        columns = len(self.centre)
        rounding = (5 * (math.log2(columns) + 5) + columns + 64) * 2.0**-53
        underflow = columns * 2.0**-1074
        if self.distance == "cosine":
            return torch.full_like(query_norm, rounding + 4 * underflow)
        if self.distance == "inner_product":
            return rounding + underflow / query_norm.clamp_min(5e-324) * self.scale
        return rounding * (self.scale * query_norm + 2) + underflow * self.scale * self.scale

    def _coordinates(self, rows: Tensor, norms: Tensor) -> Tensor:
        """Compute y of references [..., D], given their norms [...]."""
        r, factor = rows.to(self.centre.dtype), norms.new_tensor(self.scale)
        if self.distance == "cosine":
            if self.is_wide:
                r = balance(r)
                norms = torch.linalg.vector_norm(r, dim=-1)
            factor = norms.reciprocal()
        elif self.is_wide:  # the scale may be beyond what a product of two factors can hold
            r, factor = r * self.scale, torch.ones_like(factor)
        return torch.addcmul(-self.centre, r, factor.to(r.dtype)[..., None])

    def _roundoff(self, dtype: torch.dtype) -> float:
        """Bound the error of a row that is computed in a dtype, or better: (n + 64) u."""
        return (len(self.centre) + 64) * torch.finfo(dtype).eps / 2

    def _pad(self, rows: Tensor) -> Tensor:
        return torch.nn.functional.pad(rows, (0, padding(rows.shape[-1], self.precision)))


def error_bound(
    error: Float[Tensor, "*N"], norm: Float[Tensor, "*N"], width: int, precision: torch.dtype
) -> Float[Tensor, "*N"]:
    """Compute E.

    Args:
        error: norms of what the low-precision rows of references lack.
        norm: norms of those rows.
        width: number of products that are summed.
        precision: dtype of the multiplication.
    """
    accumulated = accumulation_error(width, precision, error.device)
    smallest = torch.finfo(torch.promote_types(precision, torch.bfloat16)).tiny
    return error + accumulated * norm + width * smallest * 2**26
