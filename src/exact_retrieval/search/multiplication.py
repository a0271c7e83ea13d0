"""Matrix products in low precision: which is fast here, and how far off its results may be."""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Shaped
from torch import Tensor

from .rounding import LEVELS

Precision = Literal["int8", "bfloat16", "float32", "float64"]

_ALIGNMENT = 32  # columns that one instruction for low precision reads, or a multiple of them
_WIDEST = 2**20  # columns for which the bound of a sum is of use
_EXACT_WIDTH = 2**16  # products of int8 that a sum of int32 holds, half of its range unused
_CHUNK = 2**20  # elements of a matrix that the check multiplies, about
Multiply = Callable[[Tensor, Tensor, Tensor], Tensor]


def multiply(
    queries: Shaped[Tensor, "Q D"],
    references: Shaped[Tensor, "R D"],
    out: Shaped[Tensor, "Q R"],
) -> Shaped[Tensor, "Q R"]:
    """Multiply queries by references into ``out``, of :func:`product_dtype`."""
    if queries.dtype == torch.int8:
        return torch._int_mm(queries, references.T, out=out)
    return torch.mm(queries, references.T, out=out)


def padding(width: int, precision: torch.dtype) -> int:
    """Columns to add to a row so that it is multiplied fast."""
    return -width % _ALIGNMENT if precision in (torch.int8, torch.bfloat16) else 0


def product_dtype(precision: torch.dtype) -> torch.dtype:
    """Name the dtype of a product: int32 for int8, otherwise that of its operands."""
    return torch.int32 if precision == torch.int8 else precision


def accumulation_error(width: int, precision: torch.dtype, device: torch.device) -> float:
    """Bound the relative error of summing n products, and of rounding float32 to TF32.

    Integers are summed without one; converting the sum to float32 and scaling it are three
    roundings. Matrix units for bfloat16 may truncate where IEEE 754 rounds, and sum several
    products at once after aligning them: four times the roundoff of float32 covers both.
    """
    if precision == torch.int8:
        return 2.0**-22
    if precision == torch.float64:
        total = width * 2.0**-53
    else:
        total = width * (2.0**-22 if precision == torch.bfloat16 else 2.0**-24)
    if precision == torch.float32 and not _float32_is_ieee(device):
        total += 2.0**-6
    return total / (1 - total)


def output_roundoff(precision: torch.dtype) -> float:
    """Bound w, the relative rounding error of an entry of the product beyond its accumulation."""
    return 2.0**-8 if precision == torch.bfloat16 else 0.0


def fastest_precision(device: torch.device) -> Precision:
    """Name the cheapest precision to search in first.

    On a GPU of CUDA capability 8.0 or more, and on a CPU that multiplies bfloat16 by matrix
    instructions (AMX, Arm), bfloat16. On a CPU with AVX-512 VNNI alone, int8: it does four products
    where float32 does one, and bfloat16 gains nothing there. Otherwise float32, which on a GPU is
    TF32 if PyTorch is set to multiply so.
    """
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    features = torch.cpu.get_capabilities() if torch.backends.mkldnn.enabled else {}
    if features.get("amx_bf16") or features.get("bf16"):
        return "bfloat16"
    return "int8" if features.get("avx512_vnni") else "float32"


def multiplication_is_covered(
    device: torch.device, precision: torch.dtype, width: int, *, multiply: Multiply = multiply
) -> bool:
    """Check that products of operands without rounding errors of their own are within the bound.

    This finds accumulation in half precision and int8 products that saturate, among others. int8 is
    for CPUs; rows of more than a million columns are for float64 alone. The answer is kept per
    device, precision, width and PyTorch's own settings of matrix multiplication.
    """
    width += padding(width, precision)
    if precision == torch.int8 and (device.type != "cpu" or width > _EXACT_WIDTH):
        return False
    if width > _WIDEST:
        return False
    return _multiplies_well(device, precision, width, multiply, _settings())


@lru_cache
def _multiplies_well(
    device: torch.device,
    precision: torch.dtype,
    width: int,
    multiply: Multiply,
    settings: tuple[object, ...],
) -> bool:
    """Compare one product with float64."""
    rows = min(256, max(8, _CHUNK // width))
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, rows, width, generator=generator)
    x[0] = y[0] = 1  # the sum that a short accumulator stops at
    y[1::2] -= 0.5  # sums with cancellation
    if precision == torch.int8:
        x, y = x * LEVELS, y * LEVELS
    x, y = x.to(precision), y.to(precision)
    product = torch.empty(rows, rows, dtype=product_dtype(precision), device=device)
    multiply(x.to(device), y.to(device), product)
    product = product.double().cpu()
    x, y = x.double(), y.double()
    error = (product - x @ y.T).abs()
    if precision == torch.int8:
        return not error.any()
    norms = (torch.linalg.vector_norm(a, dim=1) for a in (x, y))
    bound = accumulation_error(width, precision, device) * torch.outer(*norms)
    return bool((error <= bound + output_roundoff(precision) * product.abs()).all())


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
