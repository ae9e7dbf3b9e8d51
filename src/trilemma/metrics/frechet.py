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
from trilemma.metrics.context import Context
from trilemma.metrics.features import (
    BOOTSTRAP,
    FEATURED,
    FeatureReference,
    Seen,
    of_both,
    of_features,
)
from trilemma.metrics.metric import QUALITY, Metric
from trilemma.metrics.neighbours import CAP
from trilemma.metrics.reconstruction import again
from trilemma.metrics.score import RESAMPLES, Score, resamples

__all__ = [
    "METRICS",
    "Moments",
    "enough",
    "frechet",
    "frechet_distance",
    "frechet_spread",
    "kernel_distance",
    "kernel_spread",
    "moments",
]

WIDE, FEW = 256, 10
"""Features from which a Fréchet distance is resampled few times: a decomposition grows with F³."""
ROWS = 1024
"""Rows of a kernel matrix computed at once."""


@dataclass(frozen=True)
class Moments:
    """Mean [F] and covariance [F, F] of n feature vectors, float64."""

    mean: Tensor
    covariance: Tensor
    n: int


def moments(features: Float[Tensor, "N F"], weights: Tensor | None = None) -> Moments:
    """Return the mean and the unbiased covariance of the rows.

    Arguments:
        features: N rows of F features.
        weights: How often each row counts, [N], adding up to N; None means once.
    """
    x, n = features.double(), len(features)
    w = torch.ones(n, dtype=torch.float64, device=x.device) if weights is None else weights.to(x)
    mean = w @ x / n
    centred = x - mean
    return Moments(mean, (centred * w[:, None]).T @ centred / (n - 1), n)


def frechet(a: Moments, b: Moments) -> float:
    """Return the squared Fréchet distance of the two Gaussians, never below zero.

    >>> one, two = torch.eye(1).double(), torch.zeros(1).double()
    >>> frechet(Moments(two, one, 9), Moments(two + 3, 4 * one, 9))
    10.0
    """
    return _frechet(a, factor(a.covariance), b)


def factor(covariance: Float[Tensor, "F F"]) -> Float[Tensor, "F F"]:
    """Return A with S = A Aᵀ; eigenvalues that rounding made negative count as zero."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp_min(0).sqrt()


def _frechet(a: Moments, factor_a: Tensor, b: Moments) -> float:
    cross = torch.linalg.svdvals(factor_a.T @ factor(b.covariance)).sum()
    shift = (a.mean - b.mean).square().sum()
    distance = shift + a.covariance.trace() + b.covariance.trace() - 2 * cross
    return max(distance.item(), 0.0)


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


def frechet_spread(
    samples: Float[Tensor, "N F"], reference: Float[Tensor, "M F"], *, seed: int
) -> float:
    """Return the bootstrap standard deviation of `frechet_distance` over the samples.

    Fifty resamples up to `WIDE` features, `FEW` beyond.
    """
    fixed = moments(reference)
    root = factor(fixed.covariance)
    count = RESAMPLES if samples.shape[1] <= WIDE else FEW
    drawn = resamples(len(samples), seed=seed, count=count)
    values = [_frechet(fixed, root, moments(samples, w)) for w in drawn]
    return torch.tensor(values, dtype=torch.float64).std().item()


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _within(x: Tensor, weights: Tensor) -> Tensor:
    """Return Σ_{i≠j} w_i w_j k(x_i, x_j) / Σ_{i≠j} w_i w_j for each row of weights, [R]."""
    total = torch.zeros(len(weights), dtype=x.dtype, device=x.device)
    for start in range(0, len(x), ROWS):
        rows = slice(start, start + ROWS)
        block = _kernel(x[rows], x)
        block.diagonal(start).zero_()
        total += (weights[:, rows] @ block * weights).sum(1)
    return total / (weights.sum(1).square() - weights.square().sum(1))


def _between(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Return Σ_{ij} w_i k(x_i, y_j) / (m Σ_i w_i) for each row of weights, [R]."""
    each = torch.cat([_kernel(part, y).mean(1) for part in x.split(ROWS)])
    return weights @ each / weights.sum(1)


def kernel_distance(samples: Float[Tensor, "N F"], reference: Float[Tensor, "M F"]) -> float:
    """Return the unbiased squared maximum mean discrepancy of the cubic kernel."""
    x, y = samples.double(), reference.double()
    once_x, once_y = x.new_ones(1, len(x)), y.new_ones(1, len(y))
    return (_within(x, once_x) + _within(y, once_y) - 2 * _between(x, y, once_x)).item()


def kernel_spread(
    samples: Float[Tensor, "N F"], reference: Float[Tensor, "M F"], *, seed: int
) -> float:
    """Return the bootstrap standard deviation of `kernel_distance` over the samples."""
    x, y = samples.double(), reference.double()
    weights = resamples(len(x), seed=seed).to(x)
    return (_within(x, weights) - 2 * _between(x, y, weights)).std().item()


def _fd(it: Seen) -> float:
    enough(len(it.matched), it.matched.shape[1])
    enough(len(it.against.test), it.against.test.shape[1], "test examples")
    return frechet_distance(it.matched, it.against.test)


def _kd(it: Seen) -> float:
    return kernel_distance(*it.pair)


def _fd_interval(it: Seen) -> str:
    if it.features.shape[1] <= WIDE:
        return BOOTSTRAP
    return f"{FEW} bootstrap resamples of samples, and of test examples"


def rows_of(it: Seen) -> str:
    """Say how many samples stand against as many test examples."""
    m = len(it.pair[0])
    most = " (the most that are taken)" if m == CAP else ""
    return f"{m} samples against {m} test examples{most}"


_of_samples = of_features(
    _fd,
    deviation=lambda it: of_both(frechet_spread, it.matched, it.against.test, it.against.seed),
    protocol=lambda it: (
        f"{len(it.matched)} samples against {len(it.against.test)} test examples, float64"
    ),
    interval=_fd_interval,
)


def _beside_first_stage(context: Context) -> Score:
    """Measure samples, and beside them what the model's first stage makes of test examples."""
    score, against = _of_samples(context), context.reference
    if not isinstance(context.model, Reconstructing):
        return score
    assert isinstance(against, FeatureReference)
    try:
        distance = frechet_distance(against.extractor(context.once(again)), against.test)
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
        "Gaussian of the right moments for the data; and it falls with n by a part that goes as "
        "1 / n, for which score, floor and baselines take the same n.",
        kinds=FEATURED,
        ranks=QUALITY,
        least=0.0,
        measure=_beside_first_stage,
    ),
    Metric(
        name="kd",
        label="kd",
        better="lower",
        unit="squared kernel distance",
        meaning="Kernel distance: the same question as fd, asked without assuming Gaussian "
        "features; its estimate is unbiased, so it may fall a little below 0.",
        failure="A cubic kernel looks at moments up to the third, and no further.",
        kinds=FEATURED,
        second_to="fd",
        measure=of_features(
            _kd,
            deviation=lambda it: of_both(kernel_spread, *it.pair, it.against.seed),
            protocol=lambda it: f"{rows_of(it)}, unbiased, cubic kernel",
            interval=lambda _: BOOTSTRAP,
            n=lambda it: len(it.pair[0]),
        ),
    ),
)
