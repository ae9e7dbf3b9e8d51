r"""Point clouds as tensors: a cloud of at most N points is one matrix, a row a point.

    x[i, :3]    coordinates of point i
    x[i, 3]     its type, 1, 2, … (of a molecule the k-th element of the vocabulary); 0: no point

Points 0 … n - 1 are there and the rows of the others are zero. The order of the points says
nothing, nor does where the cloud lies: distributions of clouds are over shapes, and a cloud is
*centred* where the mean of its points is 0,

    sum_i m_i x_i = 0,    m_i = 1 where point i is there, else 0,

which takes 3 of its 3 n degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["centred", "mask_of", "point_cloud", "positions", "sizes", "stacked", "types"]


def positions(x: Float[Tensor, "*B N C"]) -> Float[Tensor, "*B N 3"]:
    """Return the coordinates, as a view."""
    return x[..., :3]


def types(x: Float[Tensor, "*B N C"]) -> Int[Tensor, "*B N"]:
    """Return the type of each point; 0 where there is none."""
    return x[..., 3].long()


def mask_of(x: Float[Tensor, "*B N C"]) -> Bool[Tensor, "*B N"]:
    """Tell which points are there."""
    return x[..., 3] > 0


def sizes(x: Float[Tensor, "*B N C"]) -> Int[Tensor, "*B"]:
    """Return the number of points of each cloud.

    >>> sizes(point_cloud([[0.0, 0.0, 1.0]], limit=4)).item()
    1
    """
    return mask_of(x).sum(-1)


def centred(
    x: Float[Tensor, "*B N 3"], mask: Bool[Tensor, "*B N"] | None = None
) -> Float[Tensor, "*B N 3"]:
    """Return coordinates whose mean over the points is 0, with zeros where there is none.

    >>> centred(torch.tensor([[0.0, 0, 0], [2, 0, 0]])).tolist()
    [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    """
    if mask is None:
        return x - x.mean(-2, keepdim=True)
    point_mask = mask[..., None].to(x)
    return (
        x - (x * point_mask).sum(-2, keepdim=True) / point_mask.sum(-2, keepdim=True).clamp_min(1)
    ) * point_mask


def point_cloud(
    coordinates: Sequence[Sequence[float]] | Tensor,
    kinds: Sequence[int] | Tensor | None = None,
    limit: int | None = None,
) -> Float[Tensor, "N 4"]:
    """Make one cloud.

    Arguments:
        coordinates: Of each point.
        kinds: The type of each; 1 by default.
        limit: N; the number of points by default.
    """
    positions = torch.as_tensor(coordinates, dtype=torch.float32).view(-1, 3)
    out = torch.zeros(limit or len(positions), 4)
    out[: len(positions), :3] = positions
    out[: len(positions), 3] = 1.0 if kinds is None else torch.as_tensor(kinds).float()
    return out


def stacked(clouds: Sequence[Float[Tensor, "n 4"]], limit: int) -> Float[Tensor, "B N 4"]:
    """Lay clouds into one tensor."""
    out = torch.zeros(len(clouds), limit, 4)
    for row, cloud in zip(out, clouds, strict=True):
        row[: len(cloud)] = cloud
    return out
