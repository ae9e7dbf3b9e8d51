r"""Numbers that say what a point cloud is like, whatever its pose and the order of its points.

    distances     quantiles of |x_i - x_j| over all pairs
    reach         quantiles of |x_i - mean|
    nearest       quantiles of the distance of each point to its nearest
    axes          square roots of the eigenvalues of the covariance
    size          n
    molecules     atoms of each element; for each pair of elements the bonds an atom has, and the
                  mean of their lengths

Two clouds that differ by a rotation, a reflection, a translation or the names of their points have
the same; a few that differ otherwise do too.

Reference:
    Shape distributions (Osada, Funkhouser, Chazelle & Dobkin, 2002), for the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from trilemma.core.point_cloud import centred, mask_of, positions, types
from trilemma.data.bond_perception import bond_orders
from trilemma.data.dataset import DataSet

__all__ = ["NAME", "describe", "standardised_features"]

NAME = "shape"
"""Of the extractor."""
DISTANCES, REACH, NEAREST = 24, 12, 8
"""Quantiles of each kind."""
AT_ONCE = 512
MAX_CLOUDS = 4096
"""Training clouds by which features are standardised at most."""


def describe(x: Float[Tensor, "B N 4"], elements: Sequence[str] = ()) -> Float[Tensor, "B F"]:
    """Return the features of clouds.

    Arguments:
        x: Clouds in data units.
        elements: What the types are; empty for points that are no atoms.
    """
    if not len(x):
        return torch.zeros(0, dimension(elements))
    return torch.cat([_described(chunk, elements) for chunk in x.float().split(AT_ONCE)])


def dimension(elements: Sequence[str] = ()) -> int:
    """Return F."""
    kinds = len(elements)
    return DISTANCES + REACH + NEAREST + 4 + kinds + kinds * (kinds + 1)


def _described(x: Tensor, elements: Sequence[str]) -> Tensor:
    mask = mask_of(x)
    n = mask.sum(1)
    coords = centred(positions(x).nan_to_num(0.0), mask)
    distances = (coords[:, :, None] - coords[:, None]).square().sum(-1).sqrt()
    pair_mask = mask[:, :, None] & mask[:, None]
    upper_pairs = pair_mask & torch.ones_like(pair_mask[0]).triu(1)
    infinity = float("inf")
    diagonal = torch.eye(x.shape[1], dtype=torch.bool)
    nearest = distances.masked_fill(~pair_mask | diagonal, infinity).amin(2)
    covariance = coords.mT @ coords / n.clamp_min(1)[:, None, None]
    axes = torch.linalg.eigvalsh(covariance.double()).clamp_min(0).sqrt().to(x)
    parts = [
        _quantiles(distances.flatten(1), upper_pairs.flatten(1), DISTANCES),
        _quantiles(coords.norm(dim=2), mask, REACH),
        _quantiles(nearest, mask & (nearest < infinity), NEAREST),
        axes,
        n[:, None].to(x),
    ]
    if elements:
        parts += _chemical(x, distances, elements)
    return torch.cat(parts, 1)


def _quantiles(values: Float[Tensor, "B M"], mask: Tensor, count: int) -> Float[Tensor, "B count"]:
    """Return quantiles of the values that are there, from the least to the largest; 0 of none."""
    ordered = values.masked_fill(~mask, float("inf")).sort(1).values
    last = (mask.sum(1, keepdim=True) - 1).clamp_min(0)
    position = torch.linspace(0, 1, count) * last
    low = position.floor().long()
    high = (low + 1).minimum(last)
    weight = position - low
    interpolated = ordered.gather(1, low) * (1 - weight) + ordered.gather(1, high) * weight
    return interpolated.nan_to_num(0.0, 0.0, 0.0)


def _chemical(x: Tensor, apart: Tensor, elements: Sequence[str]) -> list[Tensor]:
    """Return how many atoms of each element there are, and what bonds pairs of elements have."""
    kinds = len(elements)
    one_hot = F.one_hot(types(x), kinds + 1)[..., 1:].float()
    bonded = (bond_orders(x, elements) > 0).float()
    bonds = one_hot.mT @ bonded @ one_hot
    lengths = one_hot.mT @ (bonded * apart) @ one_hot
    upper = torch.ones(kinds, kinds, dtype=torch.bool).triu()
    share = (bonds / x[..., 3].bool().sum(1).clamp_min(1)[:, None, None])[:, upper]
    mean = (lengths / bonds.clamp_min(1))[:, upper]
    return [one_hot.sum(1), share, mean]


def standardised_features(data: DataSet) -> tuple[Callable[[Tensor], Tensor], int]:
    """Return features in units of their deviation over training clouds, and how many there are."""
    elements = data.domain.elements
    train_features = describe(data.train.x[:: max(1, len(data.train) // MAX_CLOUDS)], elements)
    mean, std = train_features.mean(0), train_features.std(0)
    varying = std > 1e-6 * (mean.abs() + 1)

    def features(x: Tensor) -> Tensor:
        return ((describe(x.cpu(), elements) - mean) / std)[:, varying]

    return features, int(varying.sum())
