r"""Quality and coverage apart, by nearest neighbours, and whether a model copies.

X = {x_i} are N real examples, Y = {y_j} M samples, r_k(·) the distance of a point to its k-th
nearest other point of its own set.

    precision  share of samples y with |y - x_i| ≤ r_3(x_i) for some i
    recall     share of examples x with |x - y_j| ≤ r_3(y_j) for some j
    density    Σ_ij 1[|y_j - x_i| ≤ r_5(x_i)] / (5 M)     (may exceed 1)
    coverage   share of examples x_i with |y_j - x_i| ≤ r_5(x_i) for some j

    nearest_train_ratio   median_j d(y_j, train) / median_i d(test_i, train),
                          d the distance to the nearest training example

The interval of the density is too narrow in many features (it holds 85 to 90 % in 64): of examples
whose balls hold many samples there are few, and subsets have fewer.

A ratio well below 1 means that samples lie nearer to training examples than new examples do:
the model copies. 1 is what new examples reach; well above 1, samples lie off the data.

References:
    | Improved Precision and Recall Metric for Assessing Generative Models
      (Kynkäänniemi et al., 2019)
    | Reliable Fidelity and Diversity Metrics for Generative Models (Naeem et al., 2020)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.noise import mix
from trilemma.metrics.score import redrawn

__all__ = [
    "CAP",
    "Manifold",
    "density",
    "manifold",
    "nearest",
    "nearest_ratio",
    "nearest_ratio_spread",
    "radii",
]

CAP = 5000
"""Most points of each set in `manifold`, whose work grows with their product."""

ENTRIES = 2**23
"""Distances computed at once."""


def _chunks(x: Tensor, y: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield (start, distances of some rows of x to all of y), float64."""
    x, y = x.double(), y.double()
    rows = max(1, ENTRIES // len(y))
    for start in range(0, len(x), rows):
        yield start, torch.cdist(x[start : start + rows], y)


def radii(x: Float[Tensor, "N F"], k: int) -> Float[Tensor, " N"]:
    """Return the distance of each point to its k-th nearest other point.

    >>> radii(torch.tensor([[0.0], [1.0], [3.0]]), 1).tolist()
    [1.0, 1.0, 2.0]
    """
    if len(x) <= k:
        raise BadInput(
            f"{len(x)} points have no {k}th nearest neighbour among them; give {k + 1} or more."
        )
    parts = []
    for start, d in _chunks(x, x):
        d.diagonal(start).zero_()
        parts.append(d.topk(k + 1, dim=1, largest=False).values[:, -1])
    return torch.cat(parts)


@dataclass(frozen=True)
class Manifold:
    """What each point contributes; the metrics are the means."""

    precision: Float[Tensor, " M"]
    recall: Float[Tensor, " N"]
    density: Float[Tensor, " M"]
    coverage: Float[Tensor, " N"]


def manifold(samples: Float[Tensor, "M F"], reference: Float[Tensor, "N F"]) -> Manifold:
    """Return each point's part in precision, recall (k = 3), density and coverage (k = 5)."""
    near, wide, own = radii(reference, 3), radii(reference, 5), radii(samples, 3)
    m, n = len(samples), len(reference)
    kept = {"dtype": torch.float64, "device": samples.device}
    precision, density = torch.zeros(m, **kept), torch.zeros(m, **kept)
    recall = torch.zeros(n, **kept)
    closest = torch.full((n,), torch.inf, **kept)
    for start, d in _chunks(samples, reference):
        rows = slice(start, start + len(d))
        precision[rows] = (d <= near).any(1).double()
        density[rows] = (d <= wide).sum(1).double() / 5
        recall = torch.maximum(recall, (d <= own[rows, None]).any(0).double())
        closest = torch.minimum(closest, d.amin(0))
    return Manifold(precision, recall, density, (closest <= wide).double())


def density(samples: Float[Tensor, "M F"], reference: Float[Tensor, "N F"]) -> float:
    """Return the density alone."""
    wide = radii(reference, 5)
    inside = sum((d <= wide).sum().item() for _, d in _chunks(samples, reference))
    return inside / (5 * len(samples))


def nearest(
    x: Float[Tensor, "N F"], y: Float[Tensor, "M F"]
) -> tuple[Float[Tensor, " N"], Int[Tensor, " N"]]:
    """Return each row's distance to the nearest row of y, and which that is.

    The search is in float32, |y|² - 2 x·y about the mean of y; the distance to what it finds is
    exact, so that a copy is at distance zero.

    >>> nearest(torch.tensor([[0.9]]), torch.tensor([[0.0], [1.0]]))[1].tolist()
    [1]
    """
    centre = y.double().mean(0)
    moved, about = (y - centre).float(), (x - centre).float()
    square, rows = moved.square().sum(1), max(1, ENTRIES // len(y))
    found = [
        torch.addmm(square, part, moved.T, alpha=-2).argmin(1) for part in about.split(rows)
    ] or [torch.empty(0, dtype=torch.int64)]
    which = torch.cat(found)
    return (x.double() - y[which].double()).norm(dim=1), which


def nearest_ratio(samples: Float[Tensor, " M"], test: Float[Tensor, " N"]) -> float:
    """Return the ratio of medians of distances to the nearest training example.

    >>> nearest_ratio(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([4.0, 4.0]))
    0.5
    """
    usual = test.double().quantile(0.5)
    return (
        samples.double().quantile(0.5) / usual.clamp_min(torch.finfo(torch.float64).tiny)
    ).item()


def nearest_ratio_spread(
    samples: Float[Tensor, " M"], test: Float[Tensor, " N"], *, seed: int
) -> float:
    """Return the deviation of `nearest_ratio` over fresh samples and fresh test examples.

    Both are redrawn with replacement, of one seed each; the training examples stay.
    """
    above, below = (
        z.double()[redrawn(len(z), seed=mix(seed, side))].quantile(0.5, dim=1)
        for side, z in (("samples", samples), ("test", test))
    )
    return (above / below.clamp_min(torch.finfo(torch.float64).tiny)).std().item()
