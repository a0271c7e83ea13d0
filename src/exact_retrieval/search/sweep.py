"""The search in one precision: tile by tile, first blocks, then pairs, at last the definition."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor
from torch.nn.functional import pad

from .bits import lowest
from .certificate import Bounds, Frame, Queries
from .estimate import bound_similarity
from .limits import Limits
from .masks import find_few
from .multiplication import multiply, product_dtype
from .neighbors import Neighbors, select_nearest
from .pairs import order_pairs
from .problem import Problem
from .tiles import Tile, cut_tiles

_GROUPS = 5  # of blocks for each neighbour: the best of so many seldom share one
_FEW_PAIRS = 8  # for each neighbour: so many pairs are never too many for a query
_PAIR_COST = 32  # entries of a float32 product that take as long as one pair


class Found(NamedTuple):
    """What is known of each query.

    Attributes:
        nearest: the k best of the references scored so far.
        given_up: whether so many pairs may be among the k nearest that a higher precision is
            cheaper than to score them. Then ``nearest`` has no meaning.
    """

    nearest: Neighbors
    given_up: Bool[Tensor, " Q"]

    @classmethod
    def nothing(cls, problem: Problem) -> "Found":
        """Return what is known before the first tile."""
        queries, device = len(problem.query), problem.query.device
        nearest = Neighbors.nothing(queries, problem.k, device)
        return cls(nearest, torch.zeros(queries, dtype=torch.bool, device=device))

    def of(self, some: slice) -> "Found":
        """Take consecutive queries."""
        return Found(Neighbors(*(field[some] for field in self.nearest)), self.given_up[some])

    def put(self, some: slice, found: "Found") -> None:
        """Replace what is known of consecutive queries."""
        self.nearest.similarity[some], self.nearest.index[some] = found.nearest
        self.given_up[some] = found.given_up


class Pairs(NamedTuple):
    """Pairs of a query and a reference."""

    query: Int64[Tensor, " N"]
    reference: Int64[Tensor, " N"]

    @classmethod
    def join(cls, parts: Sequence["Pairs"]) -> "Pairs":
        """Put several together."""
        return cls(*map(torch.cat, zip(*parts, strict=True)))

    def where(self, mask: Bool[Tensor, " N"]) -> "Pairs":
        """Take some of the pairs."""
        some = mask.nonzero()[:, 0]
        return Pairs(self.query.index_select(0, some), self.reference.index_select(0, some))


def sweep(
    problem: Problem,
    frame: Frame,
    kept: Int64[Tensor, " K"],
    limits: Limits,
    *,
    may_give_up: bool,
) -> Found:
    """Find the nearest references of every query in one precision.

    If most queries of the first product are given up, so are all others.

    Args:
        problem: what to search for.
        frame: coordinates of the products.
        kept: the rows of the references to search.
        limits: sizes of tiles and products.
        may_give_up: whether queries may be left to another precision.
    """
    x, queries = frame.queries(problem.query, problem.query_norm), len(problem.query)
    found, held = Found.nothing(problem), list[Pairs]()
    room = kept.new_empty(0, dtype=product_dtype(frame.precision))
    for number, tile in enumerate(cut_tiles(problem, frame, kept, limits)):
        references = len(tile.member)
        height = limits.queries(queries, references, room.itemsize, room.device)
        if len(room) < height * references:
            room = room.new_empty(height * references)
        for start in range(0, queries, height):
            some = slice(start, start + height)
            part = problem.of(some)
            product = room[: len(part.query) * references].view(-1, references)
            multiply(x.rows[some], tile.rows, out=product)
            after, pairs = _search_product(
                part, frame, tile, x.of(some), product, found.of(some), may_give_up
            )
            if number == start == 0 and after.given_up.double().mean() > 0.5:
                return Found(found.nearest, torch.ones_like(found.given_up))
            found.put(some, after)
            held.append(Pairs(pairs.query + start, pairs.reference))
            if sum(len(pairs.query) for pairs in held) > problem.k * queries:
                found = found._replace(nearest=_insert(found.nearest, held, problem, frame))
                held = []
    return found._replace(nearest=_insert(found.nearest, held, problem, frame))


def _search_product(
    problem: Problem,
    frame: Frame,
    tile: Tile,
    x: Queries,
    product: Tensor,
    before: Found,
    may_give_up: bool,
) -> tuple[Found, Pairs]:
    """Find the pairs of a product [Q, N] that may be among the k nearest; overwrite the product.

    If fewer than k references are known of some query, the best guesses of the tile are scored
    first; they are in what is found, not among the pairs.
    """
    tile.mask(product, problem.query_groups)
    bounds = frame.bounds(x, tile.references)
    upper = bounds.upper(tile.maxima(product))
    nearest, given_up = before
    if bool((nearest.index[:, -1] < 0).any()):
        guess = _guess(upper, product, tile.shape, problem.k)
        scored = _score_guess(problem, tile, product, guess)
        product.scatter_(1, guess, lowest(product.dtype))  # they are scored only once
        known = [nearest] if bool((nearest.index >= 0).any()) else []
        nearest, _ = select_nearest([*known, scored], problem.k)
    floor = x.floor(nearest.similarity[:, -1]).masked_fill_(given_up, torch.inf)
    pairs = _find_pairs(tile, product, bounds, upper, floor)
    if may_give_up:
        given_up = given_up | _too_many(pairs, given_up, tile, problem.k)
        pairs = pairs.where(~given_up.index_select(0, pairs.query))
    return Found(nearest, given_up), pairs


def _guess(
    upper: Float[Tensor, "Q blocks"],
    product: Shaped[Tensor, "Q N"],
    shape: tuple[int, int],
    k: int,
) -> Int64[Tensor, "Q M"]:
    """Guess the positions of the k nearest, or of fewer: the best members of the best blocks.

    Blocks compete in groups, since the best of few are found faster than the best of many.
    """
    size, blocks = shape
    members = max(1, blocks // (_GROUPS * k))
    groups = blocks // members
    greatest = upper[:, : members * groups].unflatten(1, (members, groups)).amax(dim=1)
    group = greatest.topk(min(k, groups), dim=1, sorted=False).indices
    return _best_member(product, _best_member(upper, group, members, groups), size, blocks)


def _best_member(values: Tensor, group: Tensor, members: int, groups: int) -> Tensor:
    """Find the greatest of the values [Q, N] in some groups [Q, M], which have every n-th value."""
    if members == 1:
        return group
    member = group[:, None] + groups * torch.arange(members, device=group.device)[:, None]
    best = values.gather(1, member.flatten(1)).view_as(member).max(dim=1, keepdim=True).indices
    return member.gather(1, best)[:, 0]


def _score_guess(problem: Problem, tile: Tile, product: Tensor, guess: Tensor) -> Neighbors:
    """Score positions [Q, M] of a tile; leave out those that are masked; fill up to k."""
    index = tile.member.index_select(0, guess.flatten()).view_as(guess)
    query = torch.arange(len(index), device=index.device)
    similarity = problem.score(query, index)
    masked = product.gather(1, guess) == lowest(product.dtype)
    missing = (0, problem.k - guess.shape[1])
    return Neighbors(
        pad(similarity.masked_fill_(masked, -torch.inf), missing, value=-torch.inf),
        pad(index.masked_fill_(masked, -1), missing, value=-1),
    )


def _find_pairs(tile: Tile, product: Tensor, bounds: Bounds, upper: Tensor, floor: Tensor) -> Pairs:
    """Find the pairs whose upper bound reaches the floor of the query [Q]."""
    size, blocks = tile.shape
    query, block = (upper >= floor[:, None]).nonzero().unbind(1)
    entry = product.unflatten(1, tile.shape)[query, :, block]
    reaches = bounds.at(query, block).upper(entry) >= floor.index_select(0, query)[:, None]
    reaches &= entry != lowest(entry.dtype)
    found = find_few(reaches)
    row = found // size
    position = block.index_select(0, row) + blocks * (found % size)
    return Pairs(query.index_select(0, row), tile.member.index_select(0, position))


def _too_many(pairs: Pairs, given_up: Tensor, tile: Tile, k: int) -> Tensor:
    """Tell which queries have too many pairs [Q], if they are worth another precision.

    That has to round all references of the tile again.
    """
    count = torch.bincount(pairs.query, minlength=len(given_up))
    references = len(tile.member)
    many = count > _FEW_PAIRS * k + references // _PAIR_COST
    return many & (count[many].sum() > references)


def _may_be_near(problem: Problem, pairs: Pairs, nearest: Neighbors) -> Tensor:
    """Tell which pairs [N] float32 does not rule out."""
    bound = bound_similarity(
        problem.query,
        problem.reference,
        (problem.query_norm, problem.reference_norm),
        *pairs,
        distance=problem.distance,
    )
    return bound >= nearest.similarity[:, -1].index_select(0, pairs.query)


def _insert(nearest: Neighbors, held: Sequence[Pairs], problem: Problem, frame: Frame) -> Neighbors:
    """Score pairs and keep the k best."""
    if not held:
        return nearest
    pairs = Pairs.join(held)
    if not frame.is_wide and frame.precision.itemsize < 4:
        pairs = pairs.where(_may_be_near(problem, pairs, nearest))
    if not len(pairs.query):
        return nearest
    similarity = problem.score(pairs.query, pairs.reference[:, None])[:, 0]
    order = order_pairs(pairs.query, similarity, pairs.reference)
    query, similarity, reference = (
        column.index_select(0, order) for column in (pairs.query, similarity, pairs.reference)
    )
    rows, row, count = query.unique_consecutive(return_inverse=True, return_counts=True)
    most = min(int(count.max()), problem.k)
    new = Neighbors.of_pairs(row, similarity, reference, len(rows), most)
    some = Neighbors(*(field[rows] for field in nearest))
    best, _ = select_nearest([some, new], problem.k)
    return Neighbors(
        *(field.index_copy(0, rows, part) for field, part in zip(nearest, best, strict=True))
    )
