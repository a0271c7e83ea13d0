"""Products in low precision: chosen by the hardware, and checked before they are trusted."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from src.exact_retrieval.search.multiplication import (
    accumulation_error,
    fastest_precision,
    multiplication_is_covered,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"amx_bf16", "avx512_bf16", "avx512_vnni"}, "bfloat16"),
        ({"avx512_bf16", "avx512_vnni"}, "int8"),
        ({"avx512_vnni"}, "int8"),
        ({"bf16"}, "bfloat16"),  # Arm
        ({"avx2"}, "float32"),
    ],
)
def test_fastest_precision(
    monkeypatch: pytest.MonkeyPatch, features: set[str], expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(features, True))
    assert fastest_precision(CPU) == expected


@pytest.mark.parametrize("dtype", [torch.int8, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1, 257, 4096])
def test_this_machine_multiplies_within_the_bound(dtype: torch.dtype, width: int) -> None:
    assert multiplication_is_covered(CPU, dtype, width)


@pytest.mark.parametrize(
    ("precision", "roundoff"),
    [(torch.bfloat16, 2.0**-22), (torch.float32, 2.0**-24), (torch.float64, 2.0**-53)],
)
def test_the_bound_of_a_sum_is_gamma(precision: torch.dtype, roundoff: float) -> None:
    """No product on this machine may show that a bound is too small."""
    gamma = 1000 * roundoff / (1 - 1000 * roundoff)
    assert accumulation_error(1000, precision, CPU) == pytest.approx(gamma, rel=1e-12)


def test_int8_is_not_for_sums_that_int32_cannot_hold() -> None:
    assert not multiplication_is_covered(CPU, torch.int8, 2**16 + 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_low_precision_is_not_for_millions_of_columns(dtype: torch.dtype) -> None:
    assert not multiplication_is_covered(CPU, dtype, 2**22)


def test_saturation_is_found_out() -> None:
    """Sums of two products that stop at 16 bits, as AVX2 makes them of unsigned numbers."""

    def saturate(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
        products = (a.int() + 128)[:, None] * b.int()
        pairs = products.view(len(a), len(b), -1, 2).sum(dim=3)
        return out.copy_(pairs.clamp(-(2**15), 2**15 - 1).sum(dim=2) - 128 * b.int().sum(dim=1))

    assert multiplication_is_covered(CPU, torch.int8, 64)
    assert not multiplication_is_covered(CPU, torch.int8, 64, multiply=saturate)


@pytest.mark.skipif(
    not torch.cpu.get_capabilities().get("avx512_vnni"),
    reason="only where PyTorch multiplies int8 by oneDNN, which this makes saturate",
)
def test_a_saturating_library_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN held to AVX2 saturates; the search then does without int8."""
    script = """
import torch
from src.exact_retrieval.search.multiplication import multiplication_is_covered
from src.exact_retrieval.search.nearest import nearest_references
generator = torch.Generator().manual_seed(0)
query, reference = (torch.rand(n, 64, generator=generator) for n in (20, 2000))
index = [nearest_references(query, reference, precision=p).index for p in ("int8", "float64")]
print(multiplication_is_covered(query.device, torch.int8, 64), torch.equal(*index))
"""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert output.stdout.split() == ["False", "True"], output.stderr
