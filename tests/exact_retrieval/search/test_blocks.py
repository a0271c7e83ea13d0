"""Blocks of references, and bounds of the similarities in them, against float64."""

from typing import Any

import pytest
import torch
from torch import Tensor

from src.exact_retrieval.search.blocks import Blocks, find_maxima
from src.exact_retrieval.search.certificate import Frame
from src.exact_retrieval.search.inputs import row_norms
from src.exact_retrieval.search.refinement import Refinement

DISTANCES: tuple[Any, ...] = ("cosine", "euclidean", "inner_product")
DTYPES = (torch.int8, torch.bfloat16, torch.float32, torch.float64)


def embeddings() -> tuple[Tensor, Tensor]:
    """Clusters, and some references of other norms, a few of them outliers in one coordinate."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(30, 40, generator=generator)
    query, reference = (
        centres[torch.randint(30, (n,), generator=generator)]
        + 0.3 * torch.randn(n, 40, generator=generator)
        for n in (60, 1500)
    )
    reference[::7] *= 5
    reference[11::500, 3] = 1e3
    return query, reference


def similarities(frame: Frame, query: Tensor, reference: Tensor) -> Tensor:
    """s, less the offset of a query, by its definition in float64 [Q, R]."""
    q, r = query.double(), reference.double()
    if frame.distance == "cosine":
        q, r = (a / a.norm(dim=1, keepdim=True) for a in (q, r))
        return q @ r.T
    q, r = frame.scale * q, frame.scale * r
    if frame.distance == "inner_product":
        return q @ r.T / q.norm(dim=1, keepdim=True)
    v = torch.cat((q - frame.centre[: frame.columns].double(), torch.ones(len(q), 1)), dim=1)
    return (q @ r.T - r.square().sum(dim=1) / 2) / v.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bounds_hold(distance: Any, precision: torch.dtype, dtype: torch.dtype) -> None:
    query, reference = (rows.to(dtype) for rows in embeddings())
    norms = row_norms(query), row_norms(reference)
    frame = Frame.fit(reference, *norms, distance=distance, precision=precision)
    x = frame.coordinates(query)
    blocks = Blocks(len(reference), 16, 256)
    maxima = find_maxima(frame.queries(x), reference, norms[1], None, None, blocks, frame)
    lower, upper = (bound.double() for bound in maxima.bounds())
    position, exists = blocks.members(torch.arange(blocks.count))

    refinement = Refinement(frame, x)
    s = similarities(frame, query, reference) + refinement.offset.double()[:, None]
    greatest = s[:, position].masked_fill(~exists, -torch.inf).amax(dim=2).T
    error = maxima.query_error.double() + refinement.error  # the latter for the offset
    assert (lower - error <= greatest).all()
    assert (greatest <= upper + error).all()
    width = (upper - lower)[(greatest > 0) & (maxima.block_error < 0.05)[:, None]]
    assert width.median() < {torch.int8: 0.1, torch.bfloat16: 0.05}.get(precision, 1e-3)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_refinement_is_within_its_error(
    distance: Any, precision: torch.dtype, dtype: torch.dtype
) -> None:
    query, reference = (rows.to(dtype) for rows in embeddings())
    norms = row_norms(query), row_norms(reference)
    frame = Frame.fit(reference, *norms, distance=distance, precision=precision)
    refinement = Refinement(frame, frame.coordinates(query))
    rows, column = torch.arange(1500).view(3, 500), torch.arange(60).view(3, 20)
    got = refinement.similarities(reference[rows], norms[1][rows], column)
    expected = similarities(frame, query, reference)[column[:, None, :], rows[:, :, None]]
    assert (got - expected).abs().max() <= refinement.error
    assert refinement.error < 1e-4


@pytest.mark.parametrize(
    ("total", "size", "tile"),
    [(1, 1, 1), (5, 4, 8), (64, 16, 64), (100, 16, 32), (4097, 32, 4096)],
)
def test_every_reference_is_in_one_block(total: int, size: int, tile: int) -> None:
    blocks = Blocks(total, size, tile)
    position, exists = blocks.members(torch.arange(blocks.count))
    assert exists.any(dim=1).all()
    assert position[exists].sort().values.tolist() == list(range(total))


@pytest.mark.parametrize("total", [1, 20, 1000, 13_115, 10**6])
@pytest.mark.parametrize("k", [1, 10, 1000])
def test_sizes_of_blocks(total: int, k: int) -> None:
    blocks = Blocks.fit(total, queries=1000, columns=256, k=k)
    assert blocks.tile % blocks.size == 0
    assert blocks.size == 1 or total >= 16 * k * blocks.size
