"""The search against its definition: every index equal, whatever data, precision or tiling."""

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from typing import Any

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from src.exact_retrieval.search.certificate import Frame, Queries, References
from src.exact_retrieval.search.inputs import row_norms
from src.exact_retrieval.search.limits import Limits
from src.exact_retrieval.search.nearest import nearest_references
from src.exact_retrieval.search.neighbors import Neighbors
from src.exact_retrieval.search.problem import Problem
from src.exact_retrieval.search.sweep import Found, sweep

DISTANCES: tuple[Any, ...] = ("cosine", "euclidean", "inner_product")
PRECISIONS: tuple[Any, ...] = ("int8", "bfloat16", "float32", "float64")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def naive(
    query: Tensor,
    reference: Tensor,
    *,
    k: int = 1,
    distance: str = "cosine",
    query_groups: Tensor | None = None,
    reference_groups: Tensor | None = None,
) -> Neighbors:
    """Score every pair by the definition, one query at a time, and sort."""
    similarity = torch.stack([score(row, reference, distance) for row in query])
    if query_groups is not None and reference_groups is not None:
        similarity[query_groups[:, None] == reference_groups] = -math.inf
    ranked, index = similarity.sort(dim=1, descending=True, stable=True)
    index[ranked == -math.inf] = -1
    missing = max(0, k - len(reference))
    pad = torch.nn.functional.pad
    return Neighbors(
        pad(ranked[:, :k], (0, missing), value=-math.inf), pad(index[:, :k], (0, missing), value=-1)
    )


def score(query: Tensor, reference: Tensor, distance: Any) -> Tensor:
    """Similarity of one query [D] and references [R, D] in float64."""
    q, r = query.double(), reference.double()
    if distance == "euclidean":
        return -total((q - r) ** 2)
    if distance == "inner_product":
        return total(q * r)
    if query.dtype == torch.float64:
        q, r = (x * 2.0 ** -x.abs().amax(-1, keepdim=True).log2().floor() for x in (q, r))
    return total(q * r) / (total(q * q).sqrt() * total(r * r).sqrt())


def total(terms: Tensor) -> Tensor:
    """Sum the last dimension, first half plus second half, padded with zeros to a power of two."""
    width = terms.shape[-1]
    while width & (width - 1):  # until it is a power of two
        width += 1
    terms = torch.nn.functional.pad(terms, (0, width - terms.shape[-1]))
    while terms.shape[-1] > 1:
        first, second = terms.chunk(2, dim=-1)
        terms = first + second
    return terms[..., 0]


def check(query: Tensor, reference: Tensor, **options: Any) -> None:
    """Compare with :func:`naive` in every precision."""
    limits = options.pop("limits", Limits())
    expected = naive(query, reference, **options)
    for precision in ("auto", *PRECISIONS):
        found = nearest_references(query, reference, precision=precision, limits=limits, **options)
        assert torch.equal(found.index, expected.index), precision
        assert torch.equal(found.similarity, expected.similarity), precision


def search_once(
    query: Tensor,
    reference: Tensor,
    groups: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
    *,
    k: int = 1,
    distance: Any = "cosine",
    precision: str,
    frame_type: type[Frame] = Frame,
) -> Found:
    """Search in one precision alone, by bounds of some frame's."""
    norms = row_norms(query), row_norms(reference)
    problem = Problem(query, reference, *norms, None, *groups, k, distance)
    frame = frame_type.fit(problem, getattr(torch, precision))
    return sweep(problem, frame, torch.arange(len(reference)), Limits(), may_give_up=True)


def clusters(seed: int, count: int, width: int, classes: int = 20, spread: float = 0.5) -> Tensor:
    """Draw float32 embeddings around class centres."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(7))
    member = torch.randint(classes, (count,), generator=generator)
    return centres[member] + spread * torch.randn(count, width, generator=generator)


SMALL = Limits(tile_rows=128, tile_elements=2**12, product_bytes=2**11)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_random_problems(data: st.DataObject) -> None:
    """Few distinct values: ties, duplicates, zero similarities and masked pairs are everywhere."""
    draw = data.draw
    queries, references = draw(st.integers(1, 12)), draw(st.integers(1, 70))
    width, k = draw(st.integers(1, 9)), draw(st.integers(1, 12))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    dtype, levels = draw(st.sampled_from(DTYPES)), draw(st.integers(1, 4))

    def rows(count: int) -> Tensor:
        values = torch.randint(-levels, levels + 1, (count, width), generator=generator).to(dtype)
        values[values.eq(0).all(dim=1)] = 1
        return values

    options: dict[str, Any] = {"k": k, "distance": draw(st.sampled_from(DISTANCES))}
    if draw(st.booleans()):
        options["query_groups"] = torch.randint(3, (queries,), generator=generator)
        options["reference_groups"] = torch.randint(3, (references,), generator=generator)
    check(rows(queries), rows(references), **options)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_exact_rational_arithmetic(data: st.DataObject) -> None:
    """Rank by fractions, with no float at all; these integers are summed exactly in float64."""
    draw = data.draw
    width, distance = draw(st.integers(1, 6)), draw(st.sampled_from(DISTANCES))
    vector = st.lists(st.integers(-(2**15), 2**15), min_size=width, max_size=width).filter(any)
    query, reference = draw(vector), draw(st.lists(vector, min_size=1, max_size=30))

    def exact(r: list[int]) -> Fraction:
        dot = sum(a * b for a, b in zip(query, r, strict=True))
        if distance == "cosine":  # sign(cosine) cosine**2 |q|**2, in the same order as the cosine
            return Fraction(dot * abs(dot), sum(b * b for b in r))
        return Fraction(
            dot
            if distance == "inner_product"
            else -sum((a - b) ** 2 for a, b in zip(query, r, strict=True))
        )

    scores = [exact(r) for r in reference]
    best = max(scores)
    for precision in PRECISIONS:
        found = nearest_references(
            torch.tensor([query]).float(),
            torch.tensor(reference).float(),
            distance=distance,
            precision=precision,
        )
        got = scores[int(found.index)]
        if distance == "cosine":  # distinct cosines may round to one float64
            assert float(best - got) <= 1e-12 * abs(float(best))
        else:
            assert int(found.index) == scores.index(best)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-6, 1e-7, 2.0**-23])
@pytest.mark.parametrize("width", [2, 64, 257])
def test_near_ties(distance: Any, gap: float, width: int) -> None:
    """References that differ by a relative ``gap``, down to one float32 ulp."""
    generator = torch.Generator().manual_seed(1)
    base = torch.rand(width, generator=generator) + 1
    reference = base * (1 + gap * torch.randint(-3, 4, (500, width), generator=generator))
    check(
        base * (1 + gap * torch.randn(9, width, generator=generator)),
        reference,
        distance=distance,
        k=3,
    )


@pytest.mark.parametrize("distance", DISTANCES)
def test_next_float_is_told_apart(distance: Any) -> None:
    """One winner, one float32 ulp better than all others in one coordinate."""
    reference = torch.ones(300, 16)
    query = torch.zeros(1, 16)
    query[:, 0] = 2
    reference[123, 0] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    check(query, reference, distance=distance)
    assert nearest_references(query, reference, distance=distance).index.item() == 123


@pytest.mark.parametrize("references", [1, 2, 63, 64, 65, 127, 128, 129, 4095, 4096, 4097])
def test_sizes_around_tile_edges(references: int) -> None:
    check(clusters(0, 5, 8), clusters(1, references, 8), k=2)


@pytest.mark.parametrize("queries", [1, 2, 17])
@pytest.mark.parametrize("references", [1, 64, 65, 500])
@pytest.mark.parametrize("distance", DISTANCES)
def test_many_small_tiles(queries: int, references: int, distance: Any) -> None:
    query, reference = clusters(0, queries, 32), clusters(1, references, 32)
    groups: dict[str, Any] = {
        "query_groups": torch.arange(queries) % 5,
        "reference_groups": torch.arange(references) % 7,
    }
    check(query, reference, distance=distance, k=3, limits=SMALL, **groups)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("width", [1, 2, 3, 31, 32, 33, 512, 4096])
def test_widths(distance: Any, width: int) -> None:
    check(clusters(0, 10, width), clusters(1, 200, width), distance=distance, k=2)


@pytest.mark.parametrize("k", [1, 2, 10, 100, 299, 300, 301, 1000])
def test_any_k(k: int) -> None:
    check(clusters(0, 7, 16), clusters(1, 300, 16), k=k)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(distance: Any, dtype: torch.dtype) -> None:
    check(clusters(0, 40, 24).to(dtype), clusters(1, 700, 24).to(dtype), distance=distance, k=4)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("scale", [1e-18, 1e-9, 1.0, 1e9, 1e18])
def test_one_scale(distance: Any, scale: float) -> None:
    check(scale * clusters(0, 20, 16), scale * clusters(1, 400, 16), distance=distance, k=2)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(("dtype", "decades"), [(torch.float32, 18), (torch.float64, 70)])
def test_mixed_scales(distance: Any, dtype: torch.dtype, decades: int) -> None:
    """Norms from 1e-18 to 1e18 in one search; float64 far beyond what float32 can hold."""
    generator = torch.Generator().manual_seed(3)
    query, reference = clusters(0, 40, 16).to(dtype), clusters(1, 600, 16).to(dtype)
    for rows in (query, reference):
        exponent = torch.empty(len(rows), 1, dtype=torch.float64).uniform_(
            -decades, decades, generator=generator
        )
        rows *= 10**exponent
    check(query, reference, distance=distance, k=3)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_cosine_of_extreme_float64(scale: float) -> None:
    check(clusters(0, 20, 16).double() * scale, clusters(1, 300, 16).double() * scale, k=2)


@pytest.mark.parametrize("distance", ["euclidean", "inner_product"])
def test_float64_products_that_underflow_tie(distance: Any) -> None:
    """The definition is 0 for every pair, so that the lowest indices win."""
    query, reference = clusters(0, 5, 8).double() * 1e-200, clusters(1, 300, 8).double() * 1e-200
    check(query, reference, distance=distance, k=2)
    assert nearest_references(query, reference, distance=distance).index.eq(0).all()


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_subnormals(distance: Any, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
    query, reference = (
        (torch.randint(1, 100, (n, 12), generator=generator).double() * smallest).to(dtype)
        for n in (10, 400)
    )
    check(query, reference, distance=distance, k=2)


@pytest.mark.parametrize("distance", ["euclidean", "inner_product"])
def test_zero_vectors(distance: Any) -> None:
    check(torch.zeros(2, 4), torch.zeros(100, 4), distance=distance, k=2)
    check(torch.cat((torch.zeros(1, 4), clusters(0, 3, 4))), clusters(1, 100, 4), distance=distance)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("k", [1, 3])
def test_all_references_equal(distance: Any, k: int) -> None:
    reference = clusters(1, 1, 24).expand(5000, -1)
    groups: dict[str, Any] = {
        "query_groups": torch.arange(300) % 3,
        "reference_groups": torch.arange(5000) // 2,
    }
    for options in ({}, groups):
        found = nearest_references(
            clusters(0, 300, 24), reference, distance=distance, k=k, **options
        )
        first = found.index[:, 0]
        assert first.tolist() == [2 * (i % 3 == 0) if options else 0 for i in range(300)]
    check(clusters(0, 10, 24), reference[:400], distance=distance, k=k)


@pytest.mark.parametrize("distance", DISTANCES)
def test_duplicates(distance: Any) -> None:
    """Every reference 10 times, scattered; the lowest indices win, also with a mask."""
    order = torch.randperm(600, generator=torch.Generator().manual_seed(0))
    reference = clusters(1, 60, 16).repeat(10, 1)[order]
    groups: dict[str, Any] = {
        "query_groups": torch.arange(30) % 4,
        "reference_groups": torch.arange(600) % 4,
    }
    for k, options in product((1, 12), ({}, groups)):
        check(clusters(0, 30, 16), reference, distance=distance, k=k, **options)


def test_collapsed_embeddings() -> None:
    """A network that maps everything to nearly one point, within 1e-6."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.ones(820, 32) + 1e-6 * torch.randn(820, 32, generator=generator)
    for distance in DISTANCES:
        check(rows[:20], rows[20:], distance=distance, k=2)


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_masked_references_are_no_candidates(precision: Any) -> None:
    """Half of the references are masked; no query is given up for that."""
    query, reference = clusters(0, 50, 64, 100), clusters(1, 300, 64, 100)
    groups = torch.zeros(50).long(), torch.arange(300) % 2
    found = search_once(query, reference, groups, k=10, precision=precision)
    expected = naive(query, reference, k=10, query_groups=groups[0], reference_groups=groups[1])
    assert not found.given_up.any()
    assert torch.equal(found.nearest.index, expected.index)


def test_everything_masked() -> None:
    found = nearest_references(
        torch.ones(2, 3),
        torch.ones(4, 3),
        k=2,
        query_groups=torch.tensor([5, 6]),
        reference_groups=torch.tensor([5, 5, 5, 5]),
    )
    assert found.index.tolist() == [[-1, -1], [0, 1]]
    assert found.similarity[0].tolist() == [-math.inf, -math.inf]


def test_groups_are_compared_as_int64() -> None:
    found = nearest_references(
        torch.ones(1, 2),
        torch.ones(2, 2),
        query_groups=torch.tensor([2**53]),
        reference_groups=torch.tensor([2**53, 2**53 + 1]),
    )
    assert found.index.item() == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_threads(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        check(clusters(0, 60, 48), clusters(1, 3000, 48), k=2)
    finally:
        torch.set_num_threads(before)


def test_settings_that_make_products_less_precise() -> None:
    """Autocast and reduced float32 multiplication change neither result nor dtype."""
    query, reference = clusters(0, 50, 64, spread=1e-3), clusters(1, 900, 64, spread=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        check(query, reference)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        check(query, reference)
    finally:
        torch.set_float32_matmul_precision(before)


def adversarial(step: float, ones: float) -> tuple[Tensor, Tensor]:
    """Build a winner that rounding costs what the bound allows, and rivals that gain as much.

    Every coordinate of the winner lies just below the middle of two numbers of low precision and is
    rounded against the sign of the query's, every coordinate of a rival the other way. Half of the
    products are positive, half negative, so that errors add up while the sum stays small.
    References come with their negatives, which keeps the centre at zero.

    Args:
        step: distance of two numbers of low precision.
        ones: one of them, which all coordinates are near to.
    """
    width = 256
    query = torch.ones(1, width)
    query[:, 1::2] = -1
    sign = torch.ones(width)  # of the references: alternate pairs agree with the query
    sign[2::4], sign[3::4] = -1, -1
    agrees = sign * query[0]
    down, up = ones + 0.499 * step, ones + 0.501 * step  # rounded to ones and to ones + step
    winner = torch.where(agrees > 0, down, up) * sign
    rival = torch.where(agrees > 0, up, down) * sign
    # the winner loses 0.002 step per coordinate by its magnitudes; one coordinate makes up for it
    winner[0] += 0.003 * step * width
    rows = torch.stack([rival, winner, -winner, -rival])
    return query, rows


def adversarial_to_int8() -> tuple[Tensor, Tensor]:
    """The same, with a coordinate that the query ignores and that makes the step of int8 1."""
    query, rows = adversarial(1, 10)
    ignored = torch.tensor([[127.0], [127.0], [-127.0], [-127.0]])
    return torch.nn.functional.pad(query, (0, 1)), torch.cat((rows, ignored), dim=1)


class HalfReferenceBound(Frame):
    """Take half of E for the whole."""

    def references(self, *args: Tensor) -> References:
        references = super().references(*args)
        return references._replace(error=references.error / 2)


class HalfQueryBound(Frame):
    """Take half of F for the whole."""

    def queries(self, *args: Tensor) -> Queries:
        queries = super().queries(*args)
        return queries._replace(error=queries.error / 2)


@pytest.mark.parametrize(
    ("precision", "problem"),
    [("bfloat16", adversarial(2.0**-7, 1)), ("int8", adversarial_to_int8())],
)
def test_bound_is_needed(precision: Any, problem: tuple[Tensor, Tensor]) -> None:
    """The bound is tight enough that half of it gives a wrong answer, and the whole a right one."""
    options: dict[str, Any] = {"distance": "inner_product", "precision": precision}
    assert naive(*problem, distance="inner_product").index.item() == 1
    assert search_once(*problem, **options).nearest.index.item() == 1
    half = search_once(*problem, frame_type=HalfReferenceBound, **options)
    assert half.nearest.index.item() != 1


@pytest.mark.parametrize(
    ("precision", "step", "ones", "greatest"),
    [("bfloat16", 2.0**-7, 1, 1.0), ("int8", 1, 10, 127.0)],
)
def test_bound_of_the_query_is_needed(
    precision: Any, step: float, ones: float, greatest: float
) -> None:
    """The same where the query is rounded badly, and the references are exact."""
    pattern, rows = adversarial(step, ones)
    query = torch.cat((rows[1:2], torch.tensor([[greatest]])), dim=1)
    same = torch.ones(1, 1)  # what makes both products positive
    pairs = [(-pattern, same), (pattern, same), (-pattern, -same), (pattern, -same)]
    reference = torch.cat([torch.cat(pair, dim=1) for pair in pairs])
    options: dict[str, Any] = {"distance": "inner_product", "precision": precision}
    assert naive(query, reference, distance="inner_product").index.item() == 1
    assert search_once(query, reference, **options).nearest.index.item() == 1
    half = search_once(query, reference, frame_type=HalfQueryBound, **options)
    assert half.nearest.index.item() != 1


@pytest.mark.parametrize("distance", DISTANCES)
def test_outliers_that_the_sample_lacks(distance: Any) -> None:
    """Coordinates far beyond what int8 holds with the step that the others have."""
    query, reference = clusters(0, 30, 16), clusters(1, 3000, 16)
    for row, column, value in ((1, 3, 40.0), (7, 0, -300.0), (8, 15, 1e4)):
        reference[row, column] = value
        query[row, column] = value
    check(query, reference, distance=distance, k=3)


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_first_queries_give_up_for_all(precision: Any) -> None:
    """Where low precision is hopeless, it is not tried on all queries; the result is the same."""
    query, reference = clusters(0, 600, 8, spread=1e-3), clusters(1, 9000, 8, spread=1e-3)
    found = search_once(query, reference, k=2, precision=precision)
    assert found.given_up.all()
    assert found.nearest.index.eq(-1).all()  # not even those of the first product were kept
    expected = naive(query, reference, k=2)
    found = nearest_references(query, reference, k=2, precision=precision)
    assert torch.equal(found.index, expected.index)
    assert torch.equal(found.similarity, expected.similarity)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("k", [1, 10])
def test_many_queries_with_many_neighbours(distance: Any, k: int) -> None:
    """So many that hits of several parts of the table are put together."""
    query, reference = clusters(0, 700, 24), clusters(1, 5000, 24)
    expected = naive(query, reference, distance=distance, k=k)
    for precision in PRECISIONS:
        found = nearest_references(query, reference, distance=distance, k=k, precision=precision)
        assert torch.equal(found.index, expected.index)
        assert torch.equal(found.similarity, expected.similarity)


def test_less_accurate_hardware_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product that accumulates in bfloat16 is noticed, and the search still right."""
    multiply, used = torch.mm, []

    def short(a: Tensor, b: Tensor, **options: Tensor) -> Tensor:
        used.append(a.dtype)
        if a.dtype == torch.float64:
            return multiply(a, b, **options)
        halves = [multiply(a[:, i::2].bfloat16(), b[i::2].bfloat16()) for i in range(2)]
        result = (halves[0] + halves[1]).to(a.dtype) * 1.02
        return options["out"].copy_(result) if options else result

    monkeypatch.setattr(torch, "mm", short)
    query, reference = clusters(0, 20, 61), clusters(1, 300, 61)  # a width with no verdict yet
    check(query, reference)
    assert torch.float64 in used


class LargestTensor(TorchDispatchMode):
    """Remember how many elements the largest tensor has that an operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("share", [16, 128])
def test_memory_of_ties(precision: Any, share: int) -> None:
    """Orthogonal to the query, distinct and tied, an eighth of the references or all of them."""
    reference = clusters(1, 4096, 8)
    reference[:, 0] = -1
    reference[torch.arange(4096) % 128 < share, 0] = 0
    query = torch.eye(1, 8).repeat(200, 1)
    limits = Limits(product_bytes=2**17)
    with LargestTensor() as largest:
        found = nearest_references(
            query, reference, distance="inner_product", precision=precision, limits=limits
        )
    assert found.index.eq(0).all()
    assert largest.elements <= 2**17 + 4096 * 32 < 200 * 4096 * share / 128 / 2 + 2**20


@pytest.mark.parametrize("precision", PRECISIONS)
def test_memory_of_one_query_with_many_pairs(precision: Any) -> None:
    """The last query has hundreds of equal references, found at once with those of others."""
    query, reference = clusters(0, 1500, 8), clusters(1, 2048, 8)
    reference[1024 + torch.randperm(1024)[:700]] = query[-1]
    limits = Limits(tile_rows=512, product_bytes=2**18)
    with LargestTensor() as largest:
        found = nearest_references(query, reference, k=3, precision=precision, limits=limits)
    assert found.index[-1].equal((reference == query[-1]).all(dim=1).nonzero()[:3, 0])
    assert largest.elements <= 2**18 < 1500 * 700 / 3


def test_does_not_touch_its_arguments() -> None:
    query, reference = clusters(0, 5, 8).requires_grad_(), clusters(1, 50, 8)
    copies = query.detach().clone(), reference.clone()
    found = nearest_references(query, reference)
    assert torch.equal(query, copies[0])
    assert torch.equal(reference, copies[1])
    assert not found.similarity.requires_grad
    assert found.similarity.dtype == torch.float64
    assert found.index.dtype == torch.int64


def test_transposed_and_strided_input() -> None:
    query, reference = clusters(0, 16, 40).T[::2], clusters(1, 16, 400).T[:, ::1]
    check(query[:, :16], reference, k=2)


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Let wrong arguments through to the function's own checks."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


GOOD = torch.ones(3, 2)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": torch.ones(3)}, r"`query` should have shape \[Q, D\], .* got \[3\]"),
        (
            {"reference": torch.ones(0, 2)},
            r"`reference` should have shape \[R, D\], .* got \[0, 2\]",
        ),
        ({"query": torch.ones(3, 2).long()}, r"`query` should be a tensor of .* got torch.int64"),
        ({"reference": torch.ones(3, 2).half()}, r"`reference` should have the dtype of `query`"),
        (
            {"reference": torch.ones(3, 4)},
            r"`reference` should have the width of `query`, 2, got 4",
        ),
        ({"k": 0}, r"`k` should be a positive integer, got 0"),
        ({"k": True}, r"`k` should be a positive integer, got True"),
        ({"k": 1.0}, r"`k` should be a positive integer, got 1.0"),
        ({"distance": "l2"}, r"`distance` should be one of cosine, .* got 'l2'"),
        ({"precision": "float8"}, r"`precision` should be one of auto, int8, .* got 'float8'"),
        ({"query_groups": torch.zeros(3).long()}, r"should be given together, got only one"),
        (
            {"query_groups": torch.zeros(2).long(), "reference_groups": torch.zeros(3).long()},
            r"`query_groups` should be int64 of shape \[3\], got torch.int64 of \[2\]",
        ),
        (
            {"query_groups": torch.zeros(3).long(), "reference_groups": torch.zeros(3)},
            r"`reference_groups` should be int64 of shape \[3\], got torch.float32",
        ),
        ({"query": GOOD * torch.nan}, r"`query` should be finite, got NaN or infinity in row 0"),
        ({"reference": GOOD / 0}, r"`reference` should be finite, got NaN or infinity in row 0"),
        (
            {"query": torch.tensor([[1.0, 0], [0, 0], [0, 0]])},
            r"`query` should have no zero vector under cosine, got one in row 1",
        ),
        (
            {"query": GOOD.double() * 1e160, "reference": GOOD.double(), "distance": "euclidean"},
            r"finite in float64, got norms up to 1.41e\+160 and 1.41",
        ),
        (
            {
                "query": GOOD.double() * 1e160,
                "reference": GOOD.double() * 1e160,
                "distance": "inner_product",
            },
            r"inner_product similarity is finite in float64",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_rejects(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nearest_references(**({"query": GOOD, "reference": GOOD} | arguments))
