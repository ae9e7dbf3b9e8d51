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

import math

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.noise import mix
from trilemma.metrics.chance import Sums, chance, discrepancy, summed
from trilemma.metrics.features import CLOSED, FeatureReference, SampleFeatures, of_features
from trilemma.metrics.metric import EQUAL, QUALITY, Metric
from trilemma.metrics.neighbours import CAP
from trilemma.metrics.score import Chance

__all__ = [
    "METRICS",
    "energy_chance",
    "energy_distance",
    "sliced_spread",
    "sliced_wasserstein",
]

DIRECTIONS = 128
HALVES = 24
"""Splits of the test examples in two from which the chance between equal sets is found."""


def _sums(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> tuple[Sums, Sums, Sums]:
    """Sum up -|x - y| within x, from x to y, and within y."""
    return _within(x), _between(x, y), _within(y)


def _within(x: Float[Tensor, "N D"]) -> Sums:
    x = x.double()
    return summed(lambda rows: -torch.cdist(x[rows], x), len(x), same_set=True)


def _between(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Sums:
    x, y = x.double(), y.double()
    return summed(lambda rows: -torch.cdist(x[rows], y), len(x))


def energy_distance(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> float:
    """Return the unbiased estimate of 2 E|X - Y| - E|X - X'| - E|Y - Y'|.

    >>> energy_distance(torch.zeros(3, 1), torch.ones(3, 1))
    2.0
    """
    return discrepancy(*_sums(x, y))


def energy_chance(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Chance:
    """Return the chance in `energy_distance` over fresh rows of both: a discrepancy by k = -d."""
    return chance(*_sums(x, y))


def directions(dimensions: int, seed: int = 0) -> Float[Tensor, "D L"]:
    """Return unit vectors, drawn by the seed; in the plane evenly spaced over half a turn."""
    if dimensions == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    if dimensions == 2:
        angles = torch.arange(DIRECTIONS, dtype=torch.float64) * torch.pi / DIRECTIONS
        return torch.stack([angles.cos(), angles.sin()])
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
    return math.sqrt(_squared((x.double() @ w).sort(0).values, (y.double() @ w).sort(0).values))


def _squared(a: Float[Tensor, "N L"], b: Float[Tensor, "M L"]) -> float:
    """Return the mean over columns of the squared Wasserstein distance of sorted values."""
    if len(a) == len(b):
        return (a - b).square().mean().item()
    jumps = torch.cat([torch.arange(1, len(z) + 1).double() / len(z) for z in (a, b)])
    ends = jumps.sort().values
    interval_widths = torch.diff(ends, prepend=ends.new_zeros(1))
    middle = ends - interval_widths / 2
    p, q = (z[(middle * len(z)).long().clamp_max(len(z) - 1)] for z in (a, b))
    return ((p - q).square() * interval_widths[:, None]).sum(0).mean().item()


def sliced_spread(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"], *, seed: int) -> float:
    r"""Return the deviation of `sliced_wasserstein` over fresh rows of both sets.

    With T = SW², Var SW = Var T / 4 T. What of T is linear in the rows is by Kantorovich's
    potentials: in each direction the integral of 2 (u - G^-1(F(u))) du, taken at the rows'
    projections and averaged over directions. Where the sets are equal this part is chance, twice
    as much as the quadratic part, which is found from splits of y in halves, and it is taken off
    as `metrics.chance` has it. What is left there is still too wide, by a third.

    Arguments:
        x: [N, D].
        y: [M, D].
        seed: Seed of the halves.
    """
    w, n, m = directions(x.shape[1]), len(x), len(y)
    a, b = ((z.double() @ w).sort(0) for z in (x, y))
    squared = _squared(a.values, b.values)
    if squared <= 0:
        return 0.0
    linear_variance = (
        _potential(*a, b.values).var().item() / n + _potential(*b, a.values).var().item() / m
    )
    generator, half = torch.Generator().manual_seed(mix(seed, "halves", m)), m // 2
    # Sorted once, a row a direction: what a half has of each row is sorted too.
    values, order = b.values.T.contiguous(), b.indices.T.contiguous()
    split_distances = []
    for _ in range(HALVES):
        is_first = torch.zeros(m, dtype=torch.bool)
        is_first[torch.randperm(m, generator=generator)[:half]] = True
        in_first = is_first[order]
        halves = (values[mask].view(len(values), -1).T for mask in (in_first, ~in_first))
        split_distances.append(_squared(*halves))
    rows = (1 / n + 1 / m) / (1 / half + 1 / (m - half))
    quadratic = torch.tensor(split_distances).double().var().item() * rows**2
    return math.sqrt((max(linear_variance - 2 * quadratic, 0.0) + quadratic) / (4 * squared))


def _potential(a: Tensor, order: Tensor, b: Tensor) -> Float[Tensor, " N"]:
    """Return the mean over columns of each row's potential; a and b are sorted, order is a's."""
    n, m = len(a), len(b)
    middle = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    gap = a - b[(middle * m).long().clamp_max(m - 1)]
    steps = (gap[1:] + gap[:-1]) * a.diff(dim=0)
    potential = torch.cat([a.new_zeros(1, a.shape[1]), steps.cumsum(0)])
    return torch.empty_like(a).scatter_(0, order, potential).mean(1)


def _compared_rows(it: SampleFeatures) -> tuple[Tensor, Tensor]:
    """Return the rows that are compared, of which there are enough."""
    _ = it.pair
    return it.matched[:CAP], it.reference.test[:CAP]


def _energy_sums(it: SampleFeatures) -> tuple[Sums, Sums, Sums]:
    """Return the sums of `_sums`; those within the test examples are found once."""
    x, y = _compared_rows(it)
    return _within(x), _between(x, y), it.reference.once(_within_tests)


def _within_tests(reference: FeatureReference) -> Sums:
    return _within(reference.test[:CAP])


def _energy(it: SampleFeatures) -> float:
    return discrepancy(*it.once(_energy_sums))


def _sliced(it: SampleFeatures) -> float:
    return sliced_wasserstein(*_compared_rows(it))


def _rows(it: SampleFeatures) -> str:
    x, y = _compared_rows(it)
    return f"{len(x)} samples against {len(y)} test examples"


METRICS = (
    Metric(
        name="energy_distance",
        label="energy distance",
        better="lower",
        unit="standard deviations",
        meaning="How far the samples lie from unseen data in shape, in standardised coordinates: "
        "0 for equal distributions, by chance a little below. The ranking of points and tables by "
        "quality uses it.",
        failure="Columns of no meaning weigh as much as others, and of what is far smaller than "
        "the whole it sees little: modes that collapse within, numbers that are rounded off.",
        kinds=("points",),
        ranks=QUALITY,
        too_wide=EQUAL,
        measure=of_features(
            _energy,
            deviation=lambda it: chance(*it.once(_energy_sums)),
            protocol=lambda it: f"{_rows(it)}, unbiased",
            interval=lambda _: CLOSED,
            n=lambda it: len(_compared_rows(it)[0]),
        ),
    ),
    Metric(
        name="sliced_wasserstein",
        label="sliced Wasserstein",
        better="lower",
        unit="standard deviations",
        meaning="How far samples must be moved to lie like unseen data, in the mean over "
        "directions and in standard deviations.",
        failure="It is above 0 by chance: real data reach the floor, and no model less but by "
        "chance. A single outlier, of samples or of test examples, moves it far.",
        kinds=("points",),
        second_to=("energy_distance",),
        least=0.0,
        too_wide=EQUAL,
        measure=of_features(
            _sliced,
            deviation=lambda it: sliced_spread(*_compared_rows(it), seed=it.reference.seed),
            protocol=lambda it: f"{_rows(it)}, root mean square over directions",
            interval=lambda _: CLOSED,
            n=lambda it: len(_compared_rows(it)[0]),
        ),
    ),
)
