r"""Energy distance and sliced Wasserstein distance: how far clouds lie apart in shape.

Energy distance, zero where and only where the distributions are equal,

    E(P, Q) = 2 E|X - Y| - E|X - X'| - E|Y - Y'|,      X, X' ~ P, Y, Y' ~ Q independent,

estimated without bias, the pairs of a point with itself left out, so that it is zero in the mean
for equal distributions, hence also negative, at any n.

Sliced Wasserstein distance, the root mean square over directions w on the unit sphere of the
distance of the projections, by their quantiles,

    SW²(P, Q) = E_w ∫_0^1 (F_w^-1(u) - G_w^-1(u))² du.

Finite samples lie apart by chance, so that it is above zero for equal distributions too, by about
n^-½: its floor, of as many real examples, stands beside it.

Both see every difference of shape, where a Fréchet distance of coordinates compares means and
covariances alone: a Gaussian with the moments of two moons is at distance zero from them there.

References:
    | Energy statistics: A class of statistics based on distances (Székely & Rizzo, 2013)
    | Sliced and Radon Wasserstein Barycenters of Measures (Bonneel, Rabin, Peyré & Pfister, 2015)
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.noise import mix

__all__ = ["METRICS", "energy_distance", "shape_distances", "sliced_wasserstein"]

METRICS = ("energy_distance", "sliced_wasserstein")

ROWS = 1024
"""Rows of a matrix of distances computed at once."""
DIRECTIONS = 128


def _mean_distance(x: Tensor, y: Tensor) -> Float[Tensor, ""]:
    total = sum(torch.cdist(part, y).sum() for part in x.split(ROWS))
    return torch.as_tensor(total) / (len(x) * len(y))


def energy_distance(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> float:
    """Return the unbiased estimate of 2 E|X - Y| - E|X - X'| - E|Y - Y'|.

    >>> energy_distance(torch.zeros(3, 1), torch.ones(3, 1))
    2.0
    """
    x, y, n, m = x.double(), y.double(), len(x), len(y)
    own = _mean_distance(x, x) * n / (n - 1) + _mean_distance(y, y) * m / (m - 1)
    return (2 * _mean_distance(x, y) - own).item()


def directions(dimensions: int, seed: int = 0) -> Float[Tensor, "D L"]:
    """Return unit vectors, drawn by the seed; in the plane evenly spaced over half a turn."""
    if dimensions == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    if dimensions == 2:
        turn = torch.arange(DIRECTIONS, dtype=torch.float64) * torch.pi / DIRECTIONS
        return torch.stack([turn.cos(), turn.sin()])
    generator = torch.Generator().manual_seed(mix(seed, "directions", dimensions))
    w = torch.randn(dimensions, DIRECTIONS, generator=generator, dtype=torch.float64)
    return w / w.norm(dim=0)


def sliced_wasserstein(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> float:
    """Return the root of the mean squared Wasserstein distance of projections.

    The integral over quantiles is exact: both quantile functions are steps, and the union of their
    jumps cuts [0, 1] into intervals on which each is constant.

    >>> sliced_wasserstein(torch.zeros(3, 1), torch.ones(2, 1))
    1.0
    """
    w = directions(x.shape[1])
    a, b = ((z.double() @ w).sort(0).values for z in (x, y))
    jumps = torch.cat([torch.arange(1, len(z) + 1).double() / len(z) for z in (a, b)])
    ends = jumps.sort().values
    width = torch.diff(ends, prepend=ends.new_zeros(1))
    middle = ends - width / 2
    p, q = (z[(middle * len(z)).long().clamp_max(len(z) - 1)] for z in (a, b))
    return ((p - q).square() * width[:, None]).sum(0).mean().sqrt().item()


def shape_distances(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> dict[str, float]:
    """Return both distances by name."""
    return {
        "energy_distance": energy_distance(x, y),
        "sliced_wasserstein": sliced_wasserstein(x, y),
    }
