"""Similarities of chosen pairs, many at once, in float32 or better."""

import torch
from torch import Tensor

from .certificate import Frame
from .multiplication import accumulation_error


class Refinement:
    r"""Similarities s of a frame up to a summand per query, without its centre.

    .. math:: s_j - o = x' \cdot f_j r_j - g h_j, \qquad o = g (|c|^2 / 2 - b) - x' \cdot c

    with :math:`f r = t r`, or :math:`r / |r|` under cosine, and :math:`x' = x, g = 0`; for
    euclidean, :math:`x' = t q / |v|, g = 1 / |v|` and :math:`h = |t r|^2 / 2`. So references need
    no arithmetic before they are multiplied.

    With :math:`u` the roundoff of the dtype and :math:`n` the width, :math:`x', f, o` and :math:`h`
    are off by at most :math:`2 (n + 64) u` together, and the product by :math:`\gamma |x'|`; twice
    all that for euclidean, where :math:`|x'| \le 2`.

    Args:
        frame: whose similarities these are.
        x: coordinates of queries in it [Q, D'].

    Attributes:
        offset: o [Q].
        error: bound of the errors.
    """

    def __init__(self, frame: Frame, x: Tensor) -> None:
        dtype = frame.arithmetic
        columns = frame.columns
        centre = frame.centre[:columns]
        weight = x[:, columns:].sum(dim=1) / frame.root
        if frame.distance == "euclidean":
            x = x[:, :columns].addcmul(weight[:, None], centre)
        height = centre.square().sum() / 2 - frame.centre[columns:].sum() / frame.root
        self.offset = (weight * height - (x * centre).sum(dim=1)).to(dtype)
        self._frame, self._x, self._weight = frame, x.to(dtype), weight.to(dtype)
        accumulated = accumulation_error(columns, dtype, x.device)
        magnitude = 2 if frame.distance == "euclidean" else 1
        self.error = magnitude * (2 * frame.roundoff(dtype) + accumulated)

    def similarities(self, rows: Tensor, norms: Tensor, query: Tensor) -> Tensor:
        """Compute s - o, to within ``error``, of references and queries in B groups.

        Args:
            rows: embeddings of references [B, N, D].
            norms: their norms [B, N].
            query: rows of queries [B, M].

        Returns:
            Similarities [B, N, M].
        """
        r, factor = self._frame.scaled(rows.flatten(0, 1), norms.flatten())
        r, factor = r.to(self._x.dtype), factor.to(self._x.dtype)
        x = self._x.index_select(0, query.flatten()).view(*query.shape, -1)
        product = torch.bmm(r.view_as(rows), x.transpose(1, 2)).mul_(factor.view(*norms.shape, 1))
        if self._frame.distance == "euclidean":
            square = torch.linalg.vector_norm(r, dim=1).mul_(factor).square_().view_as(norms)
            product -= square[:, :, None] / 2 * self._weight[query][:, None, :]
        return product
