r"""Quality and coverage apart, by nearest neighbours.

X = {x_i} are N real examples, Y = {y_j} M samples, r_k(·) the distance of a point to its k-th
nearest other point of its own set.

    precision  share of samples y with |y - x_i| ≤ r_3(x_i) for some i
    recall     share of examples x with |x - y_j| ≤ r_3(y_j) for some j
    density    Σ_ij 1[|y_j - x_i| ≤ r_5(x_i)] / (5 M)     (may exceed 1)
    coverage   share of examples x_i with |y_j - x_i| ≤ r_5(x_i) for some j

References:
    | Improved Precision and Recall Metric for Assessing Generative Models
      (Kynkäänniemi et al., 2019)
    | Reliable Fidelity and Diversity Metrics for Generative Models (Naeem et al., 2020)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.metrics.context import Context
from trilemma.metrics.features import FEATURED, FEWEST, FRESH_ROWS, SampleFeatures, of_features
from trilemma.metrics.frechet import rows_of
from trilemma.metrics.metric import COVERAGE, NEAR_ONE, Metric, hundredths
from trilemma.metrics.neighbours import distances, radii
from trilemma.metrics.score import SUBSETS, Score, Trials, subset_spreads

__all__ = ["METRICS", "Manifold", "density", "manifold", "narrowed", "points"]

SHARES = ("precision", "recall", "coverage")
"""Those that vary as a share of trials does."""
BY_SUBSETS = f"{FRESH_ROWS}, by {SUBSETS} subsets of both"
BY_TRIALS = f"Wilson's over fresh samples and test examples, trials by {SUBSETS} subsets of both"


@dataclass(frozen=True)
class Manifold:
    """What each point contributes; the metrics are the means."""

    precision: Float[Tensor, " M"]
    recall: Float[Tensor, " N"]
    density: Float[Tensor, " M"]
    coverage: Float[Tensor, " N"]
    crowd: Float[Tensor, " M"]
    """Balls of examples around each sample, no ball wider than the median one (k = 5)."""
    ball_counts: Float[Tensor, " N"]
    """Samples in each example's ball (k = 5)."""


def manifold(samples: Float[Tensor, "M F"], reference: Float[Tensor, "N F"]) -> Manifold:
    """Return each point's part in precision, recall (k = 3), density and coverage (k = 5)."""
    radii_k3, radii_k5, sample_radii = radii(reference, 3), radii(reference, 5), radii(samples, 3)
    clipped_radii = narrowed(radii_k5)
    m, n = len(samples), len(reference)
    tensor_kwargs = {"dtype": torch.float64, "device": samples.device}
    precision, density, crowd = (torch.zeros(m, **tensor_kwargs) for _ in range(3))
    recall, ball_counts = torch.zeros(n, **tensor_kwargs), torch.zeros(n, **tensor_kwargs)
    closest = torch.full((n,), torch.inf, **tensor_kwargs)
    for start, d in distances(samples, reference):
        rows = slice(start, start + len(d))
        precision[rows] = (d <= radii_k3).any(1).double()
        in_ball = d <= radii_k5
        density[rows] = in_ball.sum(1).double() / 5
        crowd[rows] = (d <= clipped_radii).sum(1).double()
        ball_counts += in_ball.sum(0)
        recall = torch.maximum(recall, (d <= sample_radii[rows, None]).any(0).double())
        closest = torch.minimum(closest, d.amin(0))
    return Manifold(precision, recall, density, (closest <= radii_k5).double(), crowd, ball_counts)


def narrowed(wide: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return radii of which none is above their median.

    >>> narrowed(torch.tensor([1.0, 2.0, 9.0])).tolist()
    [1.0, 2.0, 2.0]
    """
    return wide.minimum(wide.quantile(0.5))


def points(it: SampleFeatures) -> Manifold:
    """Return each point's part, of as many samples as test examples."""
    return manifold(*it.pair)


def density(samples: Float[Tensor, "M F"], reference: Float[Tensor, "N F"]) -> float:
    """Return the density alone."""
    radii_k5 = radii(reference, 5)
    pair_count = sum((d <= radii_k5).sum().item() for _, d in distances(samples, reference))
    return pair_count / (5 * len(samples))


def _means(samples: Tensor, test: Tensor) -> dict[str, float]:
    per_point = manifold(samples, test)
    return {name: getattr(per_point, name).mean().item() for name in SHARES}


def _density_alone(samples: Tensor, test: Tensor) -> dict[str, float]:
    return {"density": density(samples, test)}


def _spreads(it: SampleFeatures) -> dict[str, float | Trials]:
    return subset_spreads(*it.pair, _means, seed=it.reference.seed, shares=SHARES, least=FEWEST)


def _density_spread(it: SampleFeatures) -> dict[str, float | Trials]:
    return subset_spreads(*it.pair, _density_alone, seed=it.reference.seed, least=FEWEST, part=0.5)


def _precision(it: SampleFeatures) -> float:
    return it.once(points).precision.mean().item()


def _recall(it: SampleFeatures) -> float:
    return it.once(points).recall.mean().item()


def _density(it: SampleFeatures) -> float:
    return it.once(points).density.mean().item()


def _coverage(it: SampleFeatures) -> float:
    return it.once(points).coverage.mean().item()


def _part(
    value: Callable[[SampleFeatures], float], name: str, k: int
) -> Callable[[Context], Score]:
    return of_features(
        value,
        deviation=lambda it: it.once(_spreads if name in SHARES else _density_spread)[name],
        protocol=lambda it: f"{rows_of(it)}, {k} neighbours",
        interval=lambda _: BY_TRIALS if name in SHARES else BY_SUBSETS,
        n=lambda it: len(it.pair[0]),
    )


METRICS = (
    Metric(
        name="coverage",
        label="coverage",
        better="higher",
        unit="share of test examples",
        meaning="Share of the data that have a sample among their nearest neighbours: recall that "
        "one outlier cannot inflate. The ranking by coverage uses it.",
        failure="Samples all on the data's middle cover much where the data are dense, and in "
        "many dimensions few neighbours are near: it hardly sees that samples lie on a smaller "
        "sphere, or off the data in one column of many. Samples that are too wide lower it, "
        "though nothing is left out.",
        kinds=FEATURED,
        ranks=COVERAGE,
        least=0.0,
        most=1.0,
        write=hundredths,
        too_wide=NEAR_ONE,
        measure=_part(_coverage, "coverage", 5),
    ),
    Metric(
        name="recall",
        label="recall",
        better="higher",
        unit="share of test examples",
        meaning="Share of the data that lie where samples lie: is anything left out?",
        failure="One sample far off has a wide ball and holds many examples in it. In many "
        "dimensions samples of the data's own distribution stay far below 1, and some that lie "
        "on a wider sphere, or off the data in one column of many, reach much.",
        kinds=FEATURED,
        ranks=COVERAGE,
        least=0.0,
        most=1.0,
        write=hundredths,
        too_wide=NEAR_ONE,
        measure=_part(_recall, "recall", 3),
    ),
    Metric(
        name="precision",
        label="precision",
        better="higher",
        unit="share of samples",
        meaning="Share of the samples that lie where data lie: are they good?",
        failure="One example far off has a wide ball, in which anything passes for good. In many "
        "dimensions samples of the data's own distribution stay far below 1, and some that lie "
        "on a smaller sphere, or off the data in one column of many, pass.",
        kinds=FEATURED,
        least=0.0,
        most=1.0,
        write=hundredths,
        too_wide=NEAR_ONE,
        measure=_part(_precision, "precision", 3),
    ),
    Metric(
        name="density",
        label="density",
        better="higher",
        unit="ratio",
        meaning="Precision that one outlier cannot inflate: how crowded with data the samples' "
        "places are, 1 for real data; it may exceed 1.",
        failure="Samples in the densest places alone exceed what real data reach, and so do all "
        "where values are repeated, as whole numbers are. An example far off still counts samples "
        "in its wide ball, and samples on a smaller sphere pass.",
        kinds=FEATURED,
        leaves_out="in many features the few examples whose balls hold many samples",
        least=0.0,
        write=hundredths,
        measure=_part(_density, "density", 5),
    ),
)
