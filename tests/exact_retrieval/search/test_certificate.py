"""Upper bounds of the similarities in blocks, and of pairs, against float64."""

from typing import Any

import pytest
import torch
from torch import Tensor

from src.exact_retrieval.search.certificate import Frame
from src.exact_retrieval.search.estimate import bound_similarity
from src.exact_retrieval.search.inputs import row_norms
from src.exact_retrieval.search.limits import Limits
from src.exact_retrieval.search.multiplication import multiply, product_dtype
from src.exact_retrieval.search.problem import Problem
from src.exact_retrieval.search.scoring import pair_similarity
from src.exact_retrieval.search.tiles import cut_tiles

DISTANCES: tuple[Any, ...] = ("cosine", "euclidean", "inner_product")
PRECISIONS = (torch.int8, torch.bfloat16, torch.float32, torch.float64)


def problem(distance: Any, dtype: torch.dtype, k: int = 1) -> Problem:
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
    query, reference = query.to(dtype), reference.to(dtype)
    norms = row_norms(query), row_norms(reference)
    return Problem(query, reference, *norms, None, None, None, k, distance)


def similarities(frame: Frame, query: Tensor, reference: Tensor) -> Tensor:
    """s by its definition in float64 [Q, R]."""
    q, r, c = query.double(), reference.double(), frame.centre.double()
    if frame.distance == "cosine":
        q, r = (a / a.norm(dim=1, keepdim=True) for a in (q, r))
        return q @ (r - c).T
    if frame.distance == "inner_product":
        return q @ (frame.scale * r - c).T / q.norm(dim=1, keepdim=True)
    v, y = frame.scale * q - c, frame.scale * r - c
    nu = (v.square().sum(dim=1, keepdim=True) + 1).sqrt()
    return (v @ y.T - y.square().sum(dim=1) / 2) / nu


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_bounds_hold_and_are_tight(
    distance: Any, precision: torch.dtype, dtype: torch.dtype
) -> None:
    case = problem(distance, dtype)
    frame = Frame.fit(case, precision)
    x = frame.queries(case.query, case.query_norm)
    s = similarities(frame, case.query, case.reference)
    for tile in cut_tiles(case, frame, torch.arange(1500), Limits(tile_rows=700)):
        product = x.rows.new_empty((60, len(tile.member)), dtype=product_dtype(precision))
        multiply(x.rows, tile.rows, out=product)
        tile.mask(product, None)
        bounds = frame.bounds(x, tile.references)
        of_members = s[:, tile.member].index_fill(1, tile.missing, -torch.inf)
        of_members = of_members.unflatten(1, tile.shape)
        excess = bounds.upper(tile.maxima(product)) - of_members.amax(dim=1)
        assert (excess >= 0).all()

        query, block = torch.ones(60, tile.shape[1]).nonzero().unbind(1)
        entries = product.unflatten(1, tile.shape)[query, :, block]
        each = bounds.at(query, block).upper(entries) - of_members[query, :, block]
        each = each[of_members[query, :, block] > -torch.inf]
        assert (each >= 0).sum() == 60 * (len(tile.member) - len(tile.missing))
        assert excess.median() < {torch.int8: 0.1, torch.bfloat16: 0.05}.get(precision, 1e-2)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_floor_is_below_the_similarity_that_it_stands_for(
    distance: Any, precision: torch.dtype
) -> None:
    case = problem(distance, torch.float32)
    frame = Frame.fit(case, precision)
    x = frame.queries(case.query, case.query_norm)
    query = torch.arange(60)
    sigma = pair_similarity(case.query, case.reference, query, query, distance=distance)
    s = similarities(frame, case.query, case.reference).diagonal()
    gap = s - x.floor(sigma)
    assert (gap > -1e-6).all()  # rounding to float32 is within what the bounds allow for
    assert gap.max() < 1e-5
    assert x.floor(torch.full_like(sigma, -torch.inf)).eq(-torch.inf).all()


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_estimate_is_above_the_definition(distance: Any, dtype: torch.dtype) -> None:
    case = problem(distance, dtype)
    query, reference = torch.ones(60, 1500).nonzero().unbind(1)
    norms = case.query_norm, case.reference_norm
    exact = pair_similarity(case.query, case.reference, query, reference, distance=distance)
    bound = bound_similarity(case.query, case.reference, norms, query, reference, distance=distance)
    excess = bound - exact
    assert (excess >= 0).all()
    extent = {
        "cosine": torch.ones_like(exact),
        "inner_product": norms[0][query] * norms[1][reference],
        "euclidean": exact.abs() + 1e-9,
    }[distance]
    assert (excess <= 1e-4 * extent).all()


@pytest.mark.parametrize("references", [1, 5, 64, 100, 1025])
@pytest.mark.parametrize("k", [1, 10, 1000])
@pytest.mark.parametrize("distance", DISTANCES)
def test_every_reference_is_in_one_block(references: int, k: int, distance: Any) -> None:
    case = problem(distance, torch.float32, k)
    frame = Frame.fit(case, torch.int8)
    kept = torch.arange(1500)[-references:]
    members, sizes = [], []
    for tile in cut_tiles(case, frame, kept, Limits(tile_rows=512)):
        exists = torch.ones_like(tile.member).index_fill(0, tile.missing, 0).bool()
        assert exists.view(tile.shape)[0].all()
        members.append(tile.member[exists])
        sizes.append(len(tile.member))
    assert torch.cat(members).sort().values.tolist() == kept.tolist()
    assert max(sizes) <= 512 + 32
