r"""Two distances between clouds of features: Fréchet's, of their Gaussians, and a kernel's.

Fréchet distance of N(m, S) and N(m', S'), which is W_2 squared:

    d² = |m - m'|² + tr S + tr S' - 2 tr (S^½ S' S^½)^½

With any factors S = A Aᵀ and S' = A' A'ᵀ the last trace is the sum of the singular values of
Aᵀ A'. No square root of a product is taken, and singular covariances (a constant image, a feature
that never fires) do no harm: the error is of the order of ε |S|, not √ε |S|.

Kernel distance, the unbiased squared maximum mean discrepancy with k(x, y) = (x·y / F + 1)³:

    d² = Σ_{i≠j} k(x_i, x_j) / n(n-1) + Σ_{i≠j} k(y_i, y_j) / m(m-1) - 2 Σ_{ij} k(x_i, y_j) / nm

It is zero in the mean for equal distributions, hence also negative, at any n.

References:
    | GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium
      (Heusel et al., 2017)
    | Demystifying MMD GANs (Bińkowski et al., 2018)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.model import Reconstructing
from trilemma.metrics.chance import Sums, chance, discrepancy, summed
from trilemma.metrics.context import Context
from trilemma.metrics.features import (
    CLOSED,
    FEATURED,
    FeatureReference,
    SampleFeatures,
    of_features,
)
from trilemma.metrics.metric import EQUAL, QUALITY, Metric
from trilemma.metrics.neighbours import CAP
from trilemma.metrics.reconstruction import reconstruct_test_examples
from trilemma.metrics.score import Chance, Score, linear_chance

__all__ = [
    "METRICS",
    "Moments",
    "enough",
    "frechet",
    "frechet_chance",
    "frechet_distance",
    "kernel_chance",
    "kernel_distance",
    "moments",
]

PAIRED = 256
"""Rows whose pairs give the quadratic part of a chance; half as many beyond 256 features."""
ENTRIES = 2**20
"""Products computed at once."""
NEGLIGIBLE, LEAST = 1e-10, 1e-300
"""An eigenvalue as a share of the greatest, and any, that count as zero."""


@dataclass(frozen=True)
class Moments:
    """Mean [F] and covariance [F, F] of n feature vectors, float64."""

    mean: Tensor
    covariance: Tensor
    n: int


def moments(features: Float[Tensor, "N F"]) -> Moments:
    """Return the mean and the unbiased covariance of the rows."""
    x, n = features.double(), len(features)
    mean = x.mean(0)
    centred = x - mean
    return Moments(mean, centred.T @ centred / (n - 1), n)


def frechet(a: Moments, b: Moments) -> float:
    """Return the squared Fréchet distance of the two Gaussians, never below zero.

    >>> one, two = torch.eye(1).double(), torch.zeros(1).double()
    >>> frechet(Moments(two, one, 9), Moments(two + 3, 4 * one, 9))
    10.0
    """
    cross = torch.linalg.svdvals(factor(a.covariance).T @ factor(b.covariance)).sum()
    shift = (a.mean - b.mean).square().sum()
    distance = shift + a.covariance.trace() + b.covariance.trace() - 2 * cross
    return max(distance.item(), 0.0)


def factor(covariance: Float[Tensor, "F F"]) -> Float[Tensor, "F F"]:
    """Return A with S = A Aᵀ; eigenvalues that rounding made negative count as zero."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp_min(0).sqrt()


def enough(n: int, dimension: int, what: str = "samples") -> None:
    """Refuse a covariance of F features from fewer than 2 F rows.

    Raises:
        BadInput: n is below 2 F; the sentence names the n that would do.
    """
    if n < 2 * dimension:
        raise BadInput(
            f"{n} {what} are too few for a Fréchet distance in {dimension} features; "
            f"take at least {2 * dimension}, or an extractor with at most {n // 2} features."
        )


def frechet_distance(samples: Float[Tensor, "N F"], reference: Float[Tensor, "M F"]) -> float:
    """Return the squared Fréchet distance between two sets of features.

    Raises:
        BadInput: A set has fewer rows than twice its features.
    """
    enough(len(samples), samples.shape[1])
    enough(len(reference), reference.shape[1], "reference examples")
    return frechet(moments(samples), moments(reference))


def frechet_chance(samples: Float[Tensor, "N F"], reference: Float[Tensor, "M F"]) -> Chance:
    r"""Return the chance in `frechet_distance` over fresh samples and fresh reference examples.

    The linear part is by the distance's derivative: for a sample x, z = x - m and T the map that
    carries the one Gaussian onto the other, and likewise for the other side,

        f(x) = 2 (m - m')·z + z·(1 - T) z,    T = S^-½ (S^½ S' S^½)^½ S^-½

    The quadratic part is that of equal Gaussians, in the eigenbasis of S̄ = (S + S') / 2 with
    eigenvalues l: there d² is a squared discrepancy with the kernel

        k(z, z') = z·z' + sum_ij z_i z_j z'_i z'_j / 2 (l_i + l_j),

    s² its centred variance: 2 s² (1/n + 1/m)². Of what the linear part finds, twice as much is
    chance where the sets are equal, and is taken off (`metrics.chance`). No resampling: with
    few rows for the features it would count pairs of a row with itself, and be thrice too wide.
    """
    x, y = samples.double(), reference.double()
    a, b = moments(x), moments(y)
    n, m = len(x), len(y)
    (influence_x, distance), (influence_y, _) = _linear(x, a, b), _linear(y, b, a)
    quadratic = 2 * _centred_variance(x, y, a, b) * (1 / n + 1 / m) ** 2
    linear_variance, skew = linear_chance(influence_x, influence_y)
    variance_slope = skew + (linear_variance / distance if distance > 0 else 0.0)
    return Chance(max(linear_variance - 2 * quadratic, 0.0) + quadratic, variance_slope)


def _linear(x: Tensor, a: Moments, b: Moments) -> tuple[Tensor, float]:
    """Return f of the rows of x, whose moments are a, and the distance."""
    values, vectors = torch.linalg.eigh(a.covariance)
    values = values.clamp_min(0)
    root = vectors * values.sqrt()
    inner_values, inner_vectors = torch.linalg.eigh(root.T @ b.covariance @ root)
    middle = (inner_vectors * inner_values.clamp_min(0).sqrt()) @ inner_vectors.T
    z, shift = x - a.mean, a.mean - b.mean
    significant = values > values.max() * NEGLIGIBLE
    whitened = (z @ vectors) * torch.where(significant, values.clamp_min(LEAST).rsqrt(), 0.0)
    f = 2 * z @ shift + z.square().sum(1) - ((whitened @ middle) * whitened).sum(1)
    traces = a.covariance.trace() + b.covariance.trace() - 2 * middle.trace()
    return f, (shift.square().sum() + traces).item()


def _centred_variance(x: Tensor, y: Tensor, a: Moments, b: Moments) -> float:
    """Return s², from pairs of some rows of both sets."""
    values, vectors = torch.linalg.eigh((a.covariance + b.covariance) / 2)
    sums = values[:, None].clamp_min(0) + values.clamp_min(0)
    weights = 0.5 / sums.clamp_min(max(values.max().item() * NEGLIGIBLE, LEAST))
    max_rows = PAIRED if x.shape[1] <= 256 else PAIRED // 2
    k = min(len(x), len(y), max_rows // 2)
    z = torch.cat([(x - a.mean)[:k], (y - b.mean)[:k]]) @ vectors

    def block(rows: slice) -> Tensor:
        products = (chunk[:, None] * z for chunk in z[rows].split(max(ENTRIES // z.numel(), 1)))
        return torch.cat([u.sum(2) + ((u @ weights) * u).sum(2) for u in products])

    return summed(block, len(z), same_set=True).variance


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _sums(x: Tensor, y: Tensor) -> tuple[Sums, Sums, Sums]:
    """Sum up the kernel within x, from x to y, and within y."""
    return (
        summed(lambda rows: _kernel(x[rows], x), len(x), same_set=True),
        summed(lambda rows: _kernel(x[rows], y), len(x)),
        summed(lambda rows: _kernel(y[rows], y), len(y), same_set=True),
    )


def kernel_distance(samples: Float[Tensor, "N F"], reference: Float[Tensor, "M F"]) -> float:
    """Return the unbiased squared maximum mean discrepancy of the cubic kernel."""
    return discrepancy(*_sums(samples.double(), reference.double()))


def kernel_chance(samples: Float[Tensor, "N F"], reference: Float[Tensor, "M F"]) -> Chance:
    """Return the chance in `kernel_distance` over fresh samples and fresh reference examples."""
    return chance(*_sums(samples.double(), reference.double()))


def _fd(it: SampleFeatures) -> float:
    enough(len(it.matched), it.matched.shape[1])
    enough(len(it.reference.test), it.reference.test.shape[1], "test examples")
    return frechet_distance(it.matched, it.reference.test)


def _kernel_sums(it: SampleFeatures) -> tuple[Sums, Sums, Sums]:
    x, y = it.pair
    return _sums(x.double(), y.double())


def _kd(it: SampleFeatures) -> float:
    return discrepancy(*it.once(_kernel_sums))


def rows_of(it: SampleFeatures) -> str:
    """Say how many samples stand against as many test examples."""
    m = len(it.pair[0])
    cap_note = " (the most that are taken)" if m == CAP else ""
    return f"{m} samples against {m} test examples{cap_note}"


_of_samples = of_features(
    _fd,
    deviation=lambda it: frechet_chance(it.matched, it.reference.test),
    protocol=lambda it: (
        f"{len(it.matched)} samples against {len(it.reference.test)} test examples, float64"
    ),
    interval=lambda _: CLOSED,
)


def _beside_first_stage(context: Context) -> Score:
    """Measure samples, and beside them what the model's first stage makes of test examples."""
    score, reference = _of_samples(context), context.reference
    if not isinstance(context.model, Reconstructing):
        return score
    assert isinstance(reference, FeatureReference)
    try:
        distance = frechet_distance(
            reference.extractor(context.once(reconstruct_test_examples)), reference.test
        )
    except BadInput:
        return score
    return replace(score, baselines={**score.baselines, "reconstruction": distance})


METRICS = (
    Metric(
        name="fd",
        label="fd",
        better="lower",
        unit="squared feature distance",
        meaning="Fréchet distance: how far the samples as a whole lie from unseen data, in the "
        "features of the extractor. Quality and coverage in one number; the ranking of images by "
        "quality uses it.",
        failure="It compares means and covariances alone, so that of coordinates it takes a "
        "Gaussian of the right moments for the data, and hardly sees modes that collapse within, "
        "or numbers that are rounded off. A single outlier moves it far. It falls with n by a "
        "part that goes as 1 / n, for which score, floor and baselines take the same n.",
        kinds=FEATURED,
        ranks=QUALITY,
        least=0.0,
        too_wide=EQUAL,
        measure=_beside_first_stage,
    ),
    Metric(
        name="kd",
        label="kd",
        better="lower",
        unit="squared kernel distance",
        meaning="Kernel distance: the same question as fd, asked without assuming Gaussian "
        "features; its estimate is unbiased, so it may fall a little below 0.",
        failure="A cubic kernel looks at moments up to the third, and no further: it hardly sees "
        "modes that collapse within, or numbers that are rounded off. A single outlier moves it "
        "far, and among few examples it is scattered by half of itself.",
        kinds=FEATURED,
        second_to=("fd",),
        too_wide=EQUAL,
        measure=of_features(
            _kd,
            deviation=lambda it: chance(*it.once(_kernel_sums)),
            protocol=lambda it: f"{rows_of(it)}, unbiased, cubic kernel",
            interval=lambda _: CLOSED,
            n=lambda it: len(it.pair[0]),
        ),
    ),
)
