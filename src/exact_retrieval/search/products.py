"""Approximate similarities of all pairs of a query and an impostor, block by block."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from .approximation import Approximation, approximate, multiply_rows
from .pairs import pairs_with_sorted
from .scoring import Distance, defined_norms, pair_similarity
from .threads import map_in_threads, threads_on

_Result = TypeVar("_Result")


class Sizes(NamedTuple):
    """How the work is cut; no result depends on it.

    Attributes:
        multiplied: bytes of products of some queries with all references, computed at once.
        looked_at: bytes of these that are looked at together: they stay in the caches.
        fewest: references that blocks are cut for at least: a query also takes memory beside its
            products.
        many: matches of a query from which on float64 is worth its price: it leaves fewer impostors
            to be scored.
        held: similarities of a window, from which on equal ones are put together, each time that
            there are twice as many.
    """

    multiplied: int = 2**24
    looked_at: int = 2**23
    fewest: int = 512
    many: int = 512
    held: int = 2**20


class Sides(NamedTuple):
    """The embeddings of both sides, and who is in each.

    Attributes:
        query: embeddings.
        query_label: likewise.
        reference: embeddings of the same dtype and on the same device.
        reference_label: likewise.
    """

    query: Float[Tensor, "Q D"]
    query_label: Int64[Tensor, " Q"]
    reference: Float[Tensor, "R D"]
    reference_label: Int64[Tensor, " R"]


class Block(NamedTuple):
    """Some queries with all references.

    Attributes:
        rows: of the queries.
        product: approximate similarities; `-inf` for pairs of one label.
        tolerance: bound of their errors, for each query.
        score: the similarity of pairs of rows, those of the queries counted from the first of the
            block, by the definition.
    """

    rows: slice
    product: Float[Tensor, "Q R"]
    tolerance: Float64[Tensor, " Q"]
    score: Callable[[Tensor, Tensor], Tensor]

    def rows_at(
        self, place: Int64[Tensor, " N"]
    ) -> tuple[Int64[Tensor, " N"], Int64[Tensor, " N"]]:
        """Return the rows of the query and of the reference at places of the flat product."""
        references = self.product.shape[1]
        return place // references, place % references


@dataclass(frozen=True)
class Products:
    """What the products of all queries with all references are made of.

    Attributes:
        sides: what to compare.
        approximation: how similarities become products.
        x: coordinates of the queries.
        y: coordinates of the references.
        norms: what `defined_norms` returns for both, under cosine.
        by_label: labels of the references in ascending order, and the rows that have them.
        sizes: how the work is cut.
    """

    sides: Sides
    approximation: Approximation
    x: Float[Tensor, "Q D2"]
    y: Float[Tensor, "R D2"]
    norms: tuple[Float64[Tensor, " Q"], Float64[Tensor, " R"]] | None
    by_label: tuple[Int64[Tensor, " R"], Int64[Tensor, " R"]]
    sizes: Sizes

    @classmethod
    def of(cls, sides: Sides, distance: Distance, sizes: Sizes, *, sharp: bool) -> "Products":
        """Prepare products in float64, where `sharp`, or else in float32.

        Raises:
            ValueError: for embeddings without finite similarities, or that do not fit each other.
        """
        fitted = approximate(sides.query, sides.reference, distance=distance, sharp=sharp)
        norms = None
        if distance == "cosine":
            norms = defined_norms(sides.query), defined_norms(sides.reference)
        ordered, order = sides.reference_label.sort(stable=True)
        return cls(sides, *fitted, norms, (ordered, order), sizes)

    def visit(self, look: Callable[[Block], _Result]) -> Iterator[_Result]:
        """Look at all products in blocks, on several threads; yield what that gives in order."""
        row_bytes = max(len(self.y), self.sizes.fewest) * self.y.element_size()

        def visit_rows(rows: slice) -> list[_Result]:
            product = multiply_rows(self.x[rows], self.y)
            results = []
            for some in _cut(rows, self.sizes.looked_at // row_bytes):
                part = product[some.start - rows.start : some.stop - rows.start]
                i, j = pairs_with_sorted(self.sides.query_label[some], *self.by_label)
                part.view(-1).index_fill_(0, i * len(self.y) + j, -torch.inf)
                results.append(look(self._block(some, part)))
            return results

        everything, length = slice(0, len(self.x)), self.sizes.multiplied // row_bytes
        parts = _cut(everything, length, multiple_of=threads_on(self.x.device))
        for results in map_in_threads(visit_rows, parts, self.x.device):
            yield from results

    def _block(self, rows: slice, product: Tensor) -> Block:
        query, norms = self.sides.query[rows], self.norms
        if norms is not None:
            norms = norms[0][rows], norms[1]

        def score(i: Tensor, j: Tensor) -> Tensor:
            distance = self.approximation.distance
            return pair_similarity(
                query, self.sides.reference, i, j, distance=distance, norms=norms
            )

        return Block(rows, product, self.approximation.tolerance[rows], score)


def _cut(rows: slice, length: int, multiple_of: int = 1) -> list[slice]:
    """Cut consecutive rows into even parts of at most a length, or of one row.

    If there is more than one part, their number is a multiple of `multiple_of`, or one for each
    row.
    """
    total = rows.stop - rows.start
    parts = -(-total // max(length, 1))
    if parts > 1:
        parts = min(-(-parts // multiple_of) * multiple_of, total)
    bounds = [rows.start + total * part // parts for part in range(parts + 1)]
    return [slice(*pair) for pair in itertools.pairwise(bounds)]
