r"""Upper bounds of the similarity of pairs, from float32.

Let :math:`u = 2^{-24}` be the unit roundoff and :math:`\delta = 4 (D + 16) u`. A bound adds to what
float32 gives

- :math:`\delta |q| |r|` for the inner product: :math:`D` products summed in any order are off by at
  most :math:`\gamma |q| |r|`, :math:`\gamma = D u / (1 - D u)` (Higham, *Accuracy and Stability of
  Numerical Algorithms*, 2nd ed., section 3.1, and the Cauchy-Schwarz inequality);
- :math:`\delta` for the cosine: besides, two norms from float32 are each off by :math:`(D + 2) u`
  relatively;
- :math:`\delta |q - r|^2` for euclidean: a difference is off by :math:`u` relatively, and a sum of
  squares by :math:`\gamma`.

The rest of :math:`\delta` covers the roundings of the definition. Norms should be between
:math:`2^{-20}` and :math:`2^{20}`: then nothing overflows, and what underflows loses at most
:math:`2^{-149}` a product.
"""

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from .scoring import Distance

_CHUNK = 2**18  # elements of a temporary, which stays in a core's cache


def bound_similarity(
    query: Float[Tensor, "Q D"],
    reference: Float[Tensor, "R D"],
    norms: tuple[Float64[Tensor, " Q"], Float64[Tensor, " R"]],
    query_index: Int64[Tensor, " N"],
    reference_index: Int64[Tensor, " N"],
    *,
    distance: Distance,
) -> Float64[Tensor, " N"]:
    """Bound the similarity of pairs from above, several times faster than scoring them.

    Args:
        query: embeddings of queries, in float32 or narrower.
        reference: embeddings of references.
        norms: of both.
        query_index: rows of ``query``.
        reference_index: rows of ``reference``.
        distance: what similarities are by.
    """
    size = max(1, _CHUNK // query.shape[1])
    sums = []
    for i, j in zip(query_index.split(size), reference_index.split(size), strict=True):
        q, r = query.index_select(0, i).float(), reference.index_select(0, j).float()
        terms = q.sub_(r).square_() if distance == "euclidean" else q.mul_(r)
        sums.append(terms.sum(dim=1))
    total = torch.cat(sums).double()
    relative = 4 * (query.shape[1] + 16) * 2.0**-24
    underflow = query.shape[1] * 2.0**-148
    if distance == "euclidean":
        return underflow - total * (1 - relative)
    extent = norms[0][query_index] * norms[1][reference_index]
    if distance == "cosine":
        return total / extent + (relative + underflow / extent)
    return total + (relative * extent + underflow)
