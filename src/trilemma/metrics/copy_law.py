r"""The law of small ratios in continuous data: known from the lowest quarter, not from the few.

Where points lie evenly in D dimensions, a share F_D(t) = 1 - (1 - t^D)⁷ of the ratios of unseen
data is below t (`copy_search`). Of other densities D is a mean of local dimensions at the distance
of neighbours. With u the ratio below which a quarter of A examples lie that are no copies, k of
weights w_i,

    R(t) = R(u) F_D(t) / F_D(u),                    t <= u,

    R(u) ~ Beta(k + 1, A - k),                      the share between order statistics,
    p(D) ∝ 1/D Π_i (F_D'(t_i) / F_D(u))^w_i         over the ratios below u, by a grid; for small
                                                    u Hill's estimator, Gamma(k, Σ w_i ln u / t_i).

A threshold below which 4 of 3,000 examples lie is known to half by counting them, and to a fifth
by a D that is known from 750. The law is taken to hold where the examples themselves do not
contradict it: Kolmogorov's distance sup |F_k - F| of those below u, times the root of
(Σ w)² / Σ w², is at most `FAR`; and the test of `copy_evidence` of the examples in the place of
samples has p >= `DEEP`, lest data that repeat themselves a little have more of the smallest
ratios. Else, and where ratios are 0 or tied, as those of whole numbers are, examples are counted.

References:
    | A Simple General Approach to Inference About the Tail of a Distribution (Hill, 1975)
    | Maximum Likelihood Estimation of Intrinsic Dimension (Levina & Bickel, 2004)
    | On the Kolmogorov–Smirnov Test for the Exponential Distribution with Mean Unknown
      (Lilliefors, 1969): the distance where a parameter is estimated
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["CopyLaw", "fitted"]

SHARE = 1 / 4
"""Share of the examples on whose ratios the law is fitted."""
LEAST = 100
"""Weight of these at least."""
FAR = 1.2
"""Distance between examples and law, in roots of their number, at most."""
DEEP = 0.1
"""Least p of the examples' own small ratios, by the law."""
WIDTH, GRID = 0.6, 301
"""Extent of the grid of ln D to either side of Hill's estimate, and its points."""

Array = NDArray[np.float64]


def below(t: Array | float, dimension: Array | float) -> Array:
    """Return F_D(t).

    >>> below(0.5, 1.0).round(4).item(), below(0.5, 2.0).round(4).item()
    (0.9922, 0.8665)
    """
    return -np.expm1(7 * np.log1p(-(np.asarray(t, dtype=np.float64) ** dimension)))


@dataclass(frozen=True)
class CopyLaw:
    """The law of ratios below `upto`.

    Arguments:
        upto: u.
        weight: k.
        count: A.
        grid: Values of D.
        mass: Their probabilities.
        distance: Kolmogorov's, times the root of how many ratios it is of.
    """

    upto: float
    weight: float
    count: float
    grid: Array
    mass: Array
    distance: float

    @property
    def dimension(self) -> float:
        """Return the mean of D."""
        return float(self.grid @ self.mass)

    def at(self, share: float) -> float:
        """Return the ratio t <= u below which this share of all lies."""
        d = self.dimension
        conditional_share = share / (self.weight / self.count) * below(self.upto, d).item()
        return float((-math.expm1(math.log1p(-conditional_share) / 7)) ** (1 / d))

    def share(self, t: float) -> float:
        """Return R(t) at the means of D and R(u), t <= u."""
        d = self.dimension
        return self.weight / self.count * (below(t, d) / below(self.upto, d)).item()

    def shares(self, t: list[float], draw: np.random.Generator, draws: int) -> Array:
        """Draw R at thresholds t_1 < … < t_B <= u: [draws, B]."""
        d = draw.choice(self.grid, (draws, 1), p=self.mass)
        at_u = draw.beta(self.weight + 1, self.count - self.weight, (draws, 1))
        return at_u * below(np.array(t), d) / below(self.upto, d)


def fitted(ratio: Float[Tensor, " M"], upto: Float[Tensor, " M"], count: float) -> CopyLaw | None:
    """Fit the law; none where ratios are too few, or tied as those of whole numbers are.

    Arguments:
        ratio: Of examples that are no copies, in ascending order.
        upto: How many of A have at most this ratio.
        count: A.
    """
    weights = upto.diff(prepend=upto.new_zeros(1))
    last = int(torch.searchsorted(upto, SHARE * count))
    if last >= len(ratio):
        return None
    u, mask = ratio[last].item(), weights[:last] > 0
    t, w = ratio[:last][mask].numpy(), weights[:last][mask].numpy()
    k = float(w.sum())
    if k < LEAST or t[0] <= 0 or not t[-1] < u < 1 or (np.diff(t) <= 0).any():
        return None
    hill = k / float(w @ np.log(u / t))
    grid = hill * np.exp(np.linspace(-WIDTH, WIDTH, GRID))
    # ln F_D'(t) = ln 7 D + (D - 1) ln t + 6 ln (1 - t^D); what knows no D is left out.
    log_density_sum = k * np.log(grid) + grid * float(w @ np.log(t))
    log_density_sum += 6 * np.log1p(-(t ** grid[:, None])) @ w
    log_likelihood = log_density_sum - k * np.log(below(u, grid))
    mass = np.exp(log_likelihood - log_likelihood.max())
    mass /= mass.sum()
    d = float(grid @ mass)
    cdf_difference = np.cumsum(w) / k - below(t, d) / below(u, d)
    distance = max(cdf_difference.max(), (w / k - cdf_difference).max())
    effective_size = k**2 / float(w @ w)
    return CopyLaw(u, k, count, grid, mass, float(distance) * math.sqrt(effective_size))
