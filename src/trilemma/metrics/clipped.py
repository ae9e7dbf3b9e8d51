r"""Quality and coverage apart, each as an equivalent share of good samples.

X = {x_i} are N real examples, Y = {y_j} M samples, r_i the distance of x_i to its k-th nearest
other example, r̃ the median of all r_i, k = 5.

Clipped density counts the balls around a sample, none wider than the median one and no more of
them than k, over the same of the examples themselves, each without its own ball:

    m(Y) = mean over y of min(1, #{i : |y - x_i| ≤ min(r_i, r̃)} / k)
    clipped density = min(1, m(Y) / m(X))

Clipped coverage counts the samples in an example's ball, no more of them than k,

    c = mean over i of min(1, #{j : |y_j - x_i| ≤ r_i} / k)

and says for which share of good samples this is the expectation. If m of M samples are of the
data's distribution and the others lie off it, those in a ball are m trials with the ball's share
of the distribution, which is Beta(k, N - k) whatever that is, as long as no distance stands twice:

    f(m) = 1/k Σ_j min(j, k) C(m, j) B(k + j, N - k + m - j) / B(k, N - k)
    clipped coverage = min(1, g(c) / M),        g the inverse of f, linear between whole m.

So both fall in a straight line with the share of samples that lie off the data, and 1 is reached
by samples of the data's distribution. An example that is repeated k times has a ball of radius
zero; a sample that repeats it lies within, since distances are compared by ≤ in both.

Reference:
    Enhanced Generative Model Evaluation with Clipped Density and Coverage (Salvy et al., 2026)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.metrics.context import Context
from trilemma.metrics.coverage import narrowed, points
from trilemma.metrics.features import (
    FEATURED,
    FEWEST,
    FRESH_ROWS,
    FeatureReference,
    SampleFeatures,
    of_features,
)
from trilemma.metrics.frechet import rows_of
from trilemma.metrics.metric import NEAR_ONE, Metric, hundredths
from trilemma.metrics.neighbours import distances, radii
from trilemma.metrics.score import SUBSETS, Score, Trials, subset_spreads

__all__ = ["METRICS", "clipped_coverage", "clipped_density", "expected", "good", "own_crowd"]

K = 5
"""k, as of density and coverage."""


def clip(counts: Float[Tensor, " N"]) -> float:
    """Return the mean of counts of which none counts for more than k, over k."""
    return (counts.clamp_max(K) / K).mean().item()


def own_crowd(reference: Float[Tensor, "N F"], narrow: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return the balls of these radii around each example that are not its own."""
    counts = torch.zeros(len(reference), dtype=torch.float64, device=reference.device)
    for start, d in distances(reference, reference):
        d.diagonal(start).fill_(torch.inf)
        counts[start : start + len(d)] = (d <= narrow).sum(1).double()
    return counts


def expected(count: int, n: int) -> Float[Tensor, " M+1"]:
    """Return f(m) for m = 0 … count good samples against n examples, float64.

    Of min(j, k) in the mean only what j below k lacks of k is summed up, by ln Γ.
    """
    m = torch.arange(count + 1, dtype=torch.float64)[:, None]
    j = torch.arange(K, dtype=torch.float64)
    remaining = (m - j).clamp_min(0)
    log_beta_ratio = _log_beta(K + j, n - K + remaining) - _log_beta(K, n - K)
    log_binomial = (m + 1).lgamma() - (j + 1).lgamma() - (remaining + 1).lgamma()
    probabilities = torch.where(m >= j, (log_binomial + log_beta_ratio).exp(), 0.0)
    return 1 - (probabilities * (K - j)).sum(1) / K


def _log_beta(a: Tensor | float, b: Tensor | float) -> Tensor:
    alpha, beta = (torch.as_tensor(z, dtype=torch.float64) for z in (a, b))
    return alpha.lgamma() + beta.lgamma() - (alpha + beta).lgamma()


def good(value: float, f: Float[Tensor, " M+1"]) -> float:
    """Return the share of good samples of which a value is the expectation.

    Beyond f(M) it goes on as the last piece does, above 1.

    >>> good(0.25, torch.tensor([0.0, 0.5, 0.75])), good(1.0, torch.tensor([0.0, 0.5, 0.75]))
    (0.25, 1.5)
    """
    m = len(f) - 1
    value_tensor = torch.tensor(value, dtype=f.dtype)
    i = min(max(int(torch.searchsorted(f, value_tensor, right=True)) - 1, 0), m - 1)
    return (i + (value - f[i].item()) / (f[i + 1] - f[i]).item()) / m


@dataclass(frozen=True)
class Scale:
    """What counts are held against: it depends on the examples alone."""

    crowd: float
    """m(X)."""
    f: Float[Tensor, " M+1"]

    def read(
        self, crowd: Float[Tensor, " M"], ball_counts: Float[Tensor, " N"]
    ) -> dict[str, float]:
        """Return both measures, which exceed 1 by chance.

        Arguments:
            crowd: Balls around each sample, none above the median.
            ball_counts: Samples in each example's ball.
        """
        return {
            "clipped_density": clip(crowd) / self.crowd,
            "clipped_coverage": good(clip(ball_counts), self.f),
        }


def _ratios(samples: Float[Tensor, "M F"], reference: Float[Tensor, "N F"]) -> dict[str, float]:
    example_radii = radii(reference, K)
    clipped_radii = narrowed(example_radii)
    tensor_kwargs = {"dtype": torch.float64, "device": samples.device}
    crowd, ball_counts = (
        torch.zeros(len(samples), **tensor_kwargs),
        torch.zeros(len(reference), **tensor_kwargs),
    )
    for start, d in distances(samples, reference):
        crowd[start : start + len(d)] = (d <= clipped_radii).sum(1).double()
        ball_counts += (d <= example_radii).sum(0)
    scale = Scale(
        clip(own_crowd(reference, clipped_radii)), expected(len(samples), len(reference))
    )
    return scale.read(crowd, ball_counts)


def clipped_density(samples: Float[Tensor, "M F"], reference: Float[Tensor, "N F"]) -> float:
    """Return the clipped density."""
    return min(1.0, _ratios(samples, reference)["clipped_density"])


def clipped_coverage(samples: Float[Tensor, "M F"], reference: Float[Tensor, "N F"]) -> float:
    """Return the clipped coverage."""
    return min(1.0, _ratios(samples, reference)["clipped_coverage"])


@dataclass(frozen=True)
class _Scaled:
    """Makes the scale of so many test examples, once for all models."""

    rows: int

    def __call__(self, reference: FeatureReference) -> Scale:
        test = reference.test[: self.rows]
        crowd = own_crowd(test, narrowed(radii(test, K)))
        return Scale(clip(crowd), expected(self.rows, self.rows))


def _read(it: SampleFeatures) -> dict[str, float]:
    scale, manifold = it.reference.once(_Scaled(len(it.pair[1]))), it.once(points)
    return scale.read(manifold.crowd, manifold.ball_counts)


def _spreads(it: SampleFeatures) -> dict[str, float | Trials]:
    return subset_spreads(*it.pair, _ratios, seed=it.reference.seed, least=FEWEST, part=0.5)


def _part(name: str) -> Callable[[Context], Score]:
    return of_features(
        lambda it: min(1.0, it.once(_read)[name]),
        deviation=lambda it: it.once(_spreads)[name],
        protocol=lambda it: f"{rows_of(it)}, {K} neighbours",
        interval=lambda _: f"{FRESH_ROWS}, by {SUBSETS} subsets of both",
        n=lambda it: len(it.pair[0]),
    )


METRICS = (
    Metric(
        name="clipped_density",
        label="clipped density",
        better="higher",
        unit="equivalent share of good samples",
        meaning="Density in which no example's ball and no sample counts for more than usual: "
        "falls in a straight line with the share of samples that lie off the data, 1 for real "
        "data.",
        failure="Samples in the densest places alone pass for perfect, and in many dimensions so "
        "do samples on a smaller sphere; a few that lie off the data in one column of many count.",
        kinds=FEATURED,
        least=0.0,
        most=1.0,
        write=hundredths,
        too_wide=NEAR_ONE,
        measure=_part("clipped_density"),
    ),
    Metric(
        name="clipped_coverage",
        label="clipped coverage",
        better="higher",
        unit="equivalent share of good samples",
        meaning="How evenly the data have samples among their nearest neighbours, as the share of "
        "good samples that would do as well were the others off the data: 1 for real data.",
        failure="Samples off the data lower it, too wide or of modes that are invented, though "
        "nothing is left out. In many dimensions it takes samples on a smaller sphere for "
        "perfect, and counts a few that lie off the data in one column of many.",
        kinds=FEATURED,
        least=0.0,
        most=1.0,
        write=hundredths,
        too_wide=NEAR_ONE,
        measure=_part("clipped_coverage"),
    ),
)
