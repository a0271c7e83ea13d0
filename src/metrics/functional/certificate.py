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
shrink with :math:`|y|`.

**What the multiplication returns.** Let :math:`u` be the unit roundoff in which rows are computed,
:math:`\hat x, \hat y` the rows rounded to low precision, :math:`\rho_x, \rho_y` the norms of their
errors, and :math:`p_j` the entry of the matrix product. Then
:math:`|p_j - s_j| \le E_j + w |p_j|`, because

- :math:`x \cdot y - \hat x \cdot \hat y = x \cdot (y - \hat y) + (x - \hat x) \cdot \hat y`, at
  most :math:`\rho_y + \rho_x |\hat y|` (triangle and Cauchy-Schwarz inequalities,
  :math:`|x| \le 1`);
- :math:`n` products summed in any order are off by at most :math:`\gamma_n |\hat x| |\hat y|`,
  :math:`\gamma_n = n u_a / (1 - n u_a)`, with :math:`u_a` the roundoff of the accumulator (Higham,
  *Accuracy and Stability of Numerical Algorithms*, 2nd ed., section 3.1, and Cauchy-Schwarz);
- the output is rounded to bfloat16 with a relative error of at most :math:`w = 2^{-8}` (op. cit.,
  theorem 2.3);
- what rounding to low precision removes is measured; before that, a row is computed with an error
  of at most :math:`(n + 64) u`, twice that for euclidean: :math:`\gamma_n / 2` from the norm or
  :math:`\gamma_n |z|^2 / 2` with :math:`|z| < 2` from the square, the rest from the other
  operations and from those that compare bounds;
- any number below the normal range may be taken for zero: :math:`n` times the smallest normal
  number, with a factor of :math:`2^{26}` for what rows are scaled by and for the places it can
  happen in.

**What the definition returns.** The float64 similarity itself is rounded, and products of float64
input may underflow: together at most :math:`A` per query, in units of :math:`s`
(:meth:`Frame.slack`).

So reference :math:`j` is not among the ``k`` nearest if :math:`p_j + w |p_j| + E_j` falls short of
the ``k``-th greatest :math:`p_i - w |p_i| - E_i` by more than :math:`2 A`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from src.metrics.functional.scoring import Distance, balance

Precision = Literal["bfloat16", "float32", "float64"]

_COMFORTABLE = 2.0**20  # rows with norms between its inverse and this are computed in float32
_CHUNK = 2**18  # elements of a temporary, which stay in a core's cache
_SAMPLE = 1024  # references that the centre is the mean of
_ALIGNMENT = 32  # columns of one bfloat16 matrix instruction


@dataclass(frozen=True)
class Frame:
    """The coordinates x and y for one search.

    Attributes:
        distance: what to rank by.
        scale: t.
        centre: (c, b) or c, in the dtype that rows are computed in.
        precision: dtype that rows are rounded to and multiplied in.
    """

    distance: Distance
    scale: float
    centre: Tensor
    precision: torch.dtype

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
        """Choose scale, centre and working dtype for references [R, D], given their norms."""
        exponent = min(1000, -math.frexp(float(reference_norm.max()))[1])
        if distance == "euclidean":  # |t q|**2 stays finite
            exponent = min(exponent, 400 - math.frexp(float(query_norm.max()))[1])
        norms = torch.cat((query_norm, reference_norm))
        wide = (
            torch.float64 in (reference.dtype, precision)
            or bool((norms < 1 / _COMFORTABLE).any())
            or bool((norms > _COMFORTABLE).any())
        )
        width = reference.shape[1] + (distance == "euclidean")
        centre = reference.new_zeros(width, dtype=torch.float64 if wide else torch.float32)
        frame = cls(distance, math.ldexp(1.0, exponent), centre, precision)
        sample = reference[:: -(-len(reference) // _SAMPLE)]
        columns = reference.shape[1]
        centre[:columns] = frame._references(sample)[:, :columns].mean(dim=0)
        centre[columns:] = frame._references(sample)[:, columns:].mean(dim=0)
        return frame

    def queries(self, rows: Tensor) -> tuple[Tensor, float]:
        """Return the rows of queries [N, D] in low precision and the greatest of their errors."""
        rounded, error, _ = self._round(rows, self._queries)
        return rounded, float(error.max())

    def references(self, rows: Tensor, query_error: float) -> tuple[Tensor, Tensor]:
        """Return the rows of references [N, D] in low precision and their bounds E [N]."""
        rounded, error, norm = self._round(rows, self._references)
        return rounded, error_bound(error, norm, query_error, rounded.shape[1], self.precision)

    def at_least_float32(self) -> "Frame":
        """The same coordinates, rounded to float32 where this frame rounds to less."""
        precision = torch.promote_types(self.precision, torch.float32)
        return replace(self, precision=precision)

    def slack(self, query_norm: Tensor, columns: int) -> Tensor:
        """Bound the rounding errors of the definition itself, A in the module's text.

        With L = log2(D) rounded up, a float64 similarity is the result of at most L + 4 roundings
        of positive terms or of terms whose magnitudes sum to at most |q| |r|, and twice that with
        both norms of cosine. For euclidean, |t (q - r)|**2 / 2 |v| is at most 9/2 |v|, since
        |t (q - r)| <= |v| + 2 and |v| >= 1.

        Args:
            query_norm: norms of the queries [N], float64.
            columns: D.

        Returns:
            The bounds [N], float64.
        """
        rounding = 5 * (math.log2(columns) + 5) * 2.0**-53
        underflow = columns * 2.0**-1074
        if self.distance == "cosine":
            return torch.full_like(query_norm, rounding + 4 * underflow)
        if self.distance == "inner_product":
            return rounding + underflow / query_norm.clamp_min(5e-324) * self.scale
        return rounding * (self.scale * query_norm + 2) + underflow * self.scale * self.scale

    def _queries(self, rows: Tensor) -> Tensor:
        """Compute x."""
        x = rows.to(self.centre.dtype)
        if self.distance == "euclidean":
            x = x * self.scale - self.centre[: rows.shape[1]]
            x = torch.cat((x, torch.ones_like(x[:, :1])), dim=1)
        if x.dtype == torch.float64:
            x = balance(x)
        norm: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        return x / norm.clamp_min(torch.finfo(x.dtype).tiny)

    def _references(self, rows: Tensor) -> Tensor:
        """Compute y."""
        r, columns = rows.to(self.centre.dtype), rows.shape[1]
        if self.distance == "cosine":
            if r.dtype == torch.float64:
                r = balance(r)
            factor = torch.linalg.vector_norm(r, dim=1, keepdim=True).reciprocal()
        else:
            factor = r.new_tensor(self.scale)
        z = torch.addcmul(-self.centre[:columns], r, factor)
        if self.distance == "euclidean":
            height = z.square().sum(dim=1, keepdim=True) / -2
            return torch.cat((z, height - self.centre[columns:]), dim=1)
        return z

    def _round(
        self, rows: Tensor, coordinates: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Round coordinates to low precision; bound errors and norms of the result."""
        width = len(self.centre)
        unit = torch.finfo(torch.promote_types(self.precision, torch.float32)).eps / 2
        computed = (width + 64) * unit
        if self.precision == self.centre.dtype:
            rounded = coordinates(rows)
            norm = torch.linalg.vector_norm(rounded, dim=1) * (1 + computed)
            removed = torch.zeros_like(norm)
        else:
            rounded, removed, norm = self._convert(rows, coordinates)
            removed, norm = removed * (1 + computed), norm * (1 + computed)
        computed *= 2 if self.distance == "euclidean" else 1
        return rounded, removed + computed, norm + removed

    def _convert(
        self, rows: Tensor, coordinates: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Round to another dtype; measure the norms of the errors and of the coordinates."""
        width = len(self.centre)
        padded = -(-width // _ALIGNMENT) * _ALIGNMENT
        rounded = rows.new_empty((len(rows), padded), dtype=self.precision)
        rounded[:, width:] = 0
        errors, norms = [], []
        size = max(1, _CHUNK // width)
        for part, target in zip(rows.split(size), rounded[:, :width].split(size), strict=True):
            exact = coordinates(part)
            target.copy_(exact)
            norms.append(torch.linalg.vector_norm(exact, dim=1))
            errors.append(torch.linalg.vector_norm(exact.sub_(target), dim=1))
        return rounded, torch.cat(errors), torch.cat(norms)


def error_bound(
    error: Tensor, norm: Tensor, query_error: float, width: int, precision: torch.dtype
) -> Tensor:
    """Bound E in the module's text.

    Args:
        error: norms [N] of what the low-precision rows of references lack.
        norm: norms [N] of those rows.
        query_error: the greatest error of a query's row.
        width: number of products that are summed.
        precision: dtype of the multiplication.

    Returns:
        The bounds [N].
    """
    accumulated = _accumulation_error(width, precision, error.device)
    underflow = width * torch.finfo(precision).tiny * 2**26
    return error + (query_error + accumulated * (1 + query_error)) * norm + underflow


def output_roundoff(precision: torch.dtype) -> float:
    """Relative rounding error w of an entry of the product, beyond its accumulation."""
    return 2.0**-8 if precision == torch.bfloat16 else 0.0


def fastest_precision(device: torch.device) -> Precision:
    """Name the cheapest precision to search in first.

    bfloat16 where the hardware multiplies it faster than float32: CPUs with AMX, AVX-512 or Arm
    bfloat16 instructions, GPUs of CUDA capability 8.0 or more. Otherwise float32, which on a GPU
    is TF32 if PyTorch is set to multiply so.
    """
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    features = torch.cpu.get_capabilities()
    fast = any(features.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    return "bfloat16" if fast and torch.backends.mkldnn.enabled else "float32"


def multiplication_is_covered(device: torch.device, precision: torch.dtype, width: int) -> bool:
    """Check on operands without rounding errors of their own that products are within the bound.

    Catches accumulation in half precision, among others. The answer is kept per device,
    precision, width and PyTorch's own settings of matrix multiplication.
    """
    return _check_multiplication(
        device, precision, -(-width // _ALIGNMENT) * _ALIGNMENT, _settings()
    )


@lru_cache
def _check_multiplication(
    device: torch.device, precision: torch.dtype, width: int, settings: tuple[object, ...]
) -> bool:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(256, width, generator=generator).to(precision) for _ in range(2))
    x[0] = y[0] = 1  # the sum that a short accumulator stops at
    y[1::2] -= 0.5  # sums with cancellation
    product = torch.mm(y.to(device), x.to(device).T).double().cpu()
    norms = (torch.linalg.vector_norm(a.double(), dim=1) for a in (y, x))
    bound = _accumulation_error(width, precision, device) * torch.outer(*norms)
    error = (product - y.double() @ x.double().T).abs()
    return bool((error <= bound + output_roundoff(precision) * product.abs()).all())


def _accumulation_error(width: int, precision: torch.dtype, device: torch.device) -> float:
    """Relative error of summing n products, and of rounding float32 to TF32 or bfloat16.

    Matrix units for bfloat16 may truncate where IEEE 754 rounds, and sum several products at once
    after aligning them: four times the roundoff of float32 covers both.
    """
    if precision == torch.float64:
        total = width * 2.0**-53
    else:
        total = width * (2.0**-22 if precision == torch.bfloat16 else 2.0**-24)
    if precision == torch.float32 and not _float32_is_ieee(device):
        total += 2.0**-6
    return total / (1 - total)


def _float32_is_ieee(device: torch.device) -> bool:
    backend = torch.backends.cuda if device.type == "cuda" else torch.backends.mkldnn
    return backend.matmul.fp32_precision in ("none", "ieee")


def _settings() -> tuple[object, ...]:
    cuda = torch.backends.cuda.matmul
    return (
        torch.backends.fp32_precision,  # type: ignore[attr-defined]
        torch.backends.mkldnn.enabled,
        torch.backends.mkldnn.matmul.fp32_precision,  # type: ignore[attr-defined]
        cuda.fp32_precision,
        cuda.allow_bf16_reduced_precision_reduction,
    )
