"""What to search for."""

from dataclasses import dataclass, replace

from jaxtyping import Float, Float64, Int64
from torch import Tensor

from .scoring import Distance, grid_similarity


@dataclass(frozen=True)
class Problem:
    """Embeddings, and which references of theirs to find.

    Attributes:
        query: embeddings.
        reference: embeddings.
        query_norm: norms of the queries.
        reference_norm: norms of the references.
        defined_norms: what :func:`~.scoring.defined_norms` returns for both; None where few of the
            references will be scored, or none by their norms.
        query_groups: references of a query's own group are no neighbours of it; None for no mask.
        reference_groups: given together with ``query_groups``.
        k: number of neighbours.
        distance: what to rank by.
    """

    query: Float[Tensor, "Q D"]
    reference: Float[Tensor, "R D"]
    query_norm: Float64[Tensor, " Q"]
    reference_norm: Float64[Tensor, " R"]
    defined_norms: tuple[Float64[Tensor, " Q"], Float64[Tensor, " R"]] | None
    query_groups: Int64[Tensor, " Q"] | None
    reference_groups: Int64[Tensor, " R"] | None
    k: int
    distance: Distance

    def of(self, some: slice | Tensor) -> "Problem":
        """Restrict the problem to some of the queries."""
        groups = None if self.query_groups is None else self.query_groups[some]
        norms = self.defined_norms
        return replace(
            self,
            query=self.query[some],
            query_norm=self.query_norm[some],
            defined_norms=None if norms is None else (norms[0][some], norms[1]),
            query_groups=groups,
        )

    def score(
        self, query: Int64[Tensor, " N"], reference: Int64[Tensor, "N M"]
    ) -> Float64[Tensor, "N M"]:
        """Score each of N queries with M references of its own by the definition."""
        return grid_similarity(
            self.query,
            self.reference,
            query,
            reference,
            distance=self.distance,
            norms=self.defined_norms,
        )
