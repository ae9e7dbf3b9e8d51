r"""Densities in the plane that can be looked at whole, each with its exact logarithm.

A Gaussian of deviation s is put on every point of a set of points or along a curve c(u):

    p(x) = sum_k w_k N(x; c_k, s² I)        eight-gaussians, twenty-five-gaussians
    p(x) = ∫_0^1 N(x; c(u), s² I) du        two-moons, swiss-roll

The integral is taken by Gauss-Legendre quadrature on short panels, which turns a curve into a
mixture too, right to 1e-6 nats where there are data. The checkerboard is uniform on half of its
squares.

Each set has a fixed number of points, drawn once and for all from a seed made of its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trilemma.core.domain import Domain, Real
from trilemma.core.noise import Noise, mix
from trilemma.data.dataset import Centres, DataSet, Split
from trilemma.registry import Registry

__all__ = ["TOYS", "Toy", "points"]

TRAIN, TEST = 20_000, 5_000


@dataclass(frozen=True)
class Toy:
    """A density in the plane: how to draw from it, and its logarithm."""

    description: str
    draw: Callable[[Noise], Tensor]
    """A point for each row of the noise, [N, 2] float32."""
    log_prob: Callable[[Tensor], Tensor]
    """ln p(x) in nats, [N], of points [N, 2]."""
    spread: float
    """Root of the mean variance of the two coordinates, by which they are standardised."""
    centres: Centres | None = None
    """The modes, where the density is a mixture of equal Gaussians."""


def mixture_log_prob(x: Tensor, centres: Tensor, weights: Tensor, deviation: float) -> Tensor:
    """Return ln sum_k w_k N(x; c_k, s² I).

    Arguments:
        x: Points, [N, 2].
        centres: c, [K, 2].
        weights: w, [K], which sum to 1.
        deviation: s.

    Returns:
        ln p(x), [N].
    """
    square = torch.cdist(x, centres.to(x), compute_mode="donot_use_mm_for_euclid_dist") ** 2
    component_log_prob = -square / (2 * deviation**2) - math.log(2 * math.pi * deviation**2)
    return torch.logsumexp(component_log_prob + weights.to(x).log(), dim=1)


def _gaussians(centres: Tensor, deviation: float, description: str) -> Toy:
    weights = torch.full((len(centres),), 1 / len(centres), dtype=torch.float64)

    def draw(noise: Noise) -> Tensor:
        return centres.float()[noise.integers(len(centres))] + deviation * noise.normal(2)

    def log_prob(x: Tensor) -> Tensor:
        return mixture_log_prob(x, centres, weights, deviation)

    variance = centres.square().mean() - centres.mean() ** 2 + deviation**2
    return Toy(description, draw, log_prob, math.sqrt(variance), Centres(centres, deviation))


def _curve(
    curve: Callable[[Tensor], Tensor], deviation: float, panels: int, description: str
) -> Toy:
    """Blur a curve c: [0, 1] -> plane whose coordinates have mean zero together."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(8))
    u = ((torch.arange(panels)[:, None] + (nodes + 1) / 2) / panels).flatten()
    weights = weights.repeat(panels) / (2 * panels)
    centres = curve(u)

    def draw(noise: Noise) -> Tensor:
        return curve(noise.uniform()) + deviation * noise.normal(2)

    def log_prob(x: Tensor) -> Tensor:
        return mixture_log_prob(x, centres, weights, deviation)

    variance = (weights[:, None] * centres**2).sum() / 2 + deviation**2
    return Toy(description, draw, log_prob, math.sqrt(variance))


def _moons(u: Tensor) -> Tensor:
    """Two half circles of radius 1 that reach into each other, about their common centre."""
    second = (u >= 0.5).to(u)
    angle = math.pi * (2 * u - second)
    x = torch.cos(angle) * (1 - 2 * second) + second - 0.5
    y = torch.sin(angle) * (1 - 2 * second) + second / 2 - 0.25
    return torch.stack([x, y], dim=-1)


def _roll(u: Tensor) -> Tensor:
    """Three half turns of Archimedes' spiral, each 1.26 from the next, about its centre."""
    angle = 1.5 * math.pi * (1 + 2 * u)
    spiral = torch.stack([angle * torch.cos(angle), angle * torch.sin(angle)], dim=-1) / 5
    return spiral - spiral.new_tensor([0.4, 2 / (15 * math.pi)])


def _board_draw(noise: Noise) -> Tensor:
    square, offset = noise.integers(8), noise.uniform(2)
    row = square // 2
    column = 2 * (square % 2) + row % 2
    return torch.stack([column - 2 + offset[:, 0], row - 2 + offset[:, 1]], dim=-1)


def _board_log_prob(x: Tensor) -> Tensor:
    inside = ((x >= -2) & (x < 2)).all(dim=1) & (x.floor().sum(dim=1) % 2 == 0)
    return torch.where(inside, -math.log(8), -math.inf).to(x)


def _ring(count: int, radius: float) -> Tensor:
    angle = torch.arange(count, dtype=torch.float64) * (2 * math.pi / count)
    return radius * torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)


def _grid(side: int, step: float) -> Tensor:
    line = step * (torch.arange(side, dtype=torch.float64) - (side - 1) / 2)
    return torch.cartesian_prod(line, line)


TOYS: Registry[Toy] = Registry(
    "point set",
    [
        (
            "eight-gaussians",
            _gaussians(_ring(8, 2.0), 0.2, "eight Gaussians on a circle: are all modes found?"),
        ),
        (
            "twenty-five-gaussians",
            _gaussians(
                _grid(5, 1.0), 0.1, "twenty-five narrow Gaussians on a grid: many modes, wide gaps"
            ),
        ),
        ("two-moons", _curve(_moons, 0.1, 32, "two half circles that reach into each other")),
        ("swiss-roll", _curve(_roll, 0.1, 64, "a spiral: one long thin strip, rolled up")),
        (
            "checkerboard",
            Toy(
                "uniform on eight squares of a board: sharp edges and corners",
                _board_draw,
                _board_log_prob,
                math.sqrt(4 / 3),
            ),
        ),
    ],
)


def points(name: str) -> DataSet:
    """Draw the data set of one of `TOYS`.

    >>> data = points("two-moons")
    >>> tuple(data.train.x.shape), data.domain.kind
    ((20000, 2), 'points')
    """
    toy = TOYS[name]
    train, test = (
        Split(toy.draw(Noise.of(mix("toy", name, part), n)))
        for part, n in (("train", TRAIN), ("test", TEST))
    )
    domain = Domain("points", (2,), Real(0.0, toy.spread))
    return DataSet(
        name,
        domain,
        train,
        test,
        (toy.description,),
        "coordinates",
        truth=toy.log_prob,
        centres=toy.centres,
    )
