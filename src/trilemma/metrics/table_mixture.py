r"""A shallow model of a table: a mixture of products, fitted by expectation and maximisation.

    p(x) = sum_k w_k  prod_{d number} N(x_d; m_kd, s_kd²)  prod_{d category} p_kd(x_d)

with K = `COMPONENTS`, within each of which columns are independent. A number in cells, of which
the nearest is drawn, has the probability of its cell, the ends holding what lies beyond; a real
one has a density. So `log_prob` is about the very rows that `sample` draws.

The fit begins at rows far from each other (k-means++), each row its nearest, and repeats

    r_nk = w_k p_k(x_n) / sum_j w_j p_j(x_n)
    w_k  = (R_k + 1) / (N + K)                                     R_k = sum_n r_nk
    p_kd = (R_kd + q_d) / (R_k + 1)              q_d the shares in all rows, each counted once more
    m_kd = (sum_n r_nk x_nd + a m_d) / (R_k + a)                   m_d, v_d: moments of all rows
    s²   = (sum_n r_nk (x_nd - m_kd)² + a (m_kd - m_d)² + b v_d) / (R_k + 1)

which is the maximum of the likelihood times a prior of about one row, so that no variance and no
probability is 0. The sum of both logarithms (`history`) never falls (Dempster, Laird & Rubin,
1977).

References:
    | Maximum Likelihood from Incomplete Data via the EM Algorithm (Dempster, Laird & Rubin, 1977)
    | k-means++: The Advantages of Careful Seeding (Arthur & Vassilvitskii, 2007)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from trilemma.core.domain import Columns, Domain
from trilemma.core.noise import mix

__all__ = ["COMPONENTS", "TableMixture", "fit_mixture"]

COMPONENTS = 10
MOST_ROWS = 10_000
"""Training rows of which it is fitted."""
ROUNDS, ENOUGH = 60, 1e-4
"""Rounds at most; nats a row below which a gain is none."""
ANCHOR, LEAST_VARIANCE = 0.01, 0.01
"""a and b."""
FOR_EACH = 20
"""Rows for each component at least."""


@dataclass(frozen=True)
class _Encoding:
    """Numbers standardised, and categories as zeros and ones."""

    is_category: Bool[Tensor, " D"]
    mean: Float[Tensor, " C"]
    deviation: Float[Tensor, " C"]
    counts: tuple[int, ...]
    """Codes of each column of categories."""

    def numbers(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N C"]:
        return (x[:, ~self.is_category].double() - self.mean) / self.deviation

    def indicators(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N B"]:
        codes = x[:, self.is_category].long().T
        parts = [
            one_hot(column, count).double()
            for column, count in zip(codes, self.counts, strict=True)
        ]
        return torch.cat([torch.zeros(len(x), 0, dtype=torch.float64), *parts], 1)


@dataclass(frozen=True)
class TableMixture:
    """A fitted mixture; numbers are standardised by all rows."""

    domain: Domain
    encoding: _Encoding
    weight: Float[Tensor, " K"]
    mean: Float[Tensor, "K C"]
    variance: Float[Tensor, "K C"]
    log_share: Float[Tensor, "K B"]
    """ln p_kd, the columns of categories side by side."""
    history: tuple[float, ...] = ()
    """Logarithm of likelihood and prior after each round, nats."""

    def sample(self, n: int, seed: int) -> Float[Tensor, "n D"]:
        """Draw rows, data units; numbers in cells are the nearest cell's."""
        generator = torch.Generator().manual_seed(mix(seed, "mixture"))
        component = torch.multinomial(self.weight, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.mean.shape[1], generator=generator, dtype=torch.float64)
        numbers = self.mean[component] + self.variance.sqrt()[component] * noise
        x = torch.zeros(n, len(self.encoding.is_category), dtype=torch.float64)
        is_category = self.encoding.is_category
        x[:, ~is_category] = self.encoding.mean + self.encoding.deviation * numbers
        shares = self.log_share.exp().split(self.encoding.counts, dim=1)
        columns = is_category.nonzero()[:, 0].tolist()
        for column, share in zip(columns, shares, strict=True):
            x[:, column] = torch.multinomial(share[component], 1, generator=generator)[
                :, 0
            ].double()
        values = self.domain.values
        rows = x.float()
        return values.unscale(values.scale(rows)) if isinstance(values, Columns) else rows

    def log_prob(self, x: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """Return ln p of rows, nats: of cells their probability, of real numbers a density."""
        parts = self.encoding.indicators(x) @ self.log_share.T + self.weight.log()
        numbers = (~self.encoding.is_category).nonzero()[:, 0].tolist()
        scale = self.encoding.deviation
        for i, column in enumerate(numbers):
            mean = self.encoding.mean[i] + scale[i] * self.mean[:, i]
            deviation = scale[i] * self.variance[:, i].sqrt()
            parts = parts + self._column_log_prob(column, x[:, column].double(), mean, deviation)
        return parts.logsumexp(1)

    def _column_log_prob(
        self, column: int, x: Float[Tensor, " N"], mean: Tensor, deviation: Tensor
    ) -> Float[Tensor, "N K"]:
        values = self.domain.values
        z = (x[:, None] - mean) / deviation
        if not isinstance(values, Columns) or not values.columns[column].in_cells:
            return -0.5 * z.square() - deviation.log() - 0.5 * math.log(2 * math.pi)
        about = values.columns[column]
        infinity = torch.full_like(z, torch.inf)
        is_first, is_last = x <= about.low, x >= about.low + about.count - 1
        low = torch.where(is_first[:, None], -infinity, z - 0.5 / deviation)
        high = torch.where(is_last[:, None], infinity, z + 0.5 / deviation)
        # The same cell on the other side of 0, where the logarithm of Φ is exact.
        is_above = low + high > 0
        low, high = torch.where(is_above, -high, low), torch.where(is_above, -low, high)
        log_low, log_high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
        return log_high + torch.log1p(-(log_low - log_high).exp().clamp_max(1 - 1e-16))


def fit_mixture(
    domain: Domain, train: Float[Tensor, "N D"], *, components: int = COMPONENTS, seed: int = 0
) -> TableMixture:
    """Fit a mixture to the rows of a table.

    Arguments:
        domain: What the columns are.
        train: Training rows, data units.
        components: K at most; fewer where there are fewer than `FOR_EACH` rows for each.
        seed: Seed of which rows are taken, and of where the fit begins.
    """
    generator = torch.Generator().manual_seed(mix(seed, "mixture of products", len(train)))
    rows = train[torch.randperm(len(train), generator=generator)[:MOST_ROWS]]
    is_category = torch.tensor([kind == "category" for kind in domain.kinds])
    numbers = train[:, ~is_category].double()
    deviation = numbers.std(0, correction=0)
    counts = (
        tuple(c.count for c in domain.values.columns if c.kind == "category")
        if isinstance(domain.values, Columns)
        else ()
    )
    encoding = _Encoding(
        is_category,
        numbers.mean(0),
        torch.where(deviation > 0, deviation, torch.ones_like(deviation)),
        counts,
    )
    x, z = encoding.numbers(rows), encoding.indicators(rows)
    k = max(1, min(components, len(rows) // FOR_EACH))
    nearest = _nearest_seed(torch.cat([x, z * 0.5**0.5], 1), k, generator)
    column_count = torch.tensor([count for count in counts for _ in range(count)])
    prior_share = (z.sum(0) + 1) / (len(z) + column_count)
    responsibility = one_hot(nearest, k).double()
    history: list[float] = []
    while True:
        weight, mean, variance, log_share = _maximised(responsibility, x, z, prior_share)
        log_joint = _log_joint(x, z, weight, mean, variance, log_share)
        history.append(
            float(log_joint.logsumexp(1).sum())
            + _log_prior(weight, mean, variance, log_share, prior_share)
        )
        gain = history[-1] - history[-2] if len(history) > 1 else math.inf
        if len(history) == ROUNDS or gain < ENOUGH * len(rows):
            break
        responsibility = log_joint.softmax(1)
    return TableMixture(domain, encoding, weight, mean, variance, log_share, tuple(history))


def _nearest_seed(
    points: Float[Tensor, "N F"], count: int, generator: torch.Generator
) -> Int[Tensor, " N"]:
    """Draw rows far from each other, and return which of them is nearest to each row."""
    centre = int(torch.randint(len(points), (1,), generator=generator))
    distances = [(points - points[centre]).square().sum(1)]
    for _ in range(count - 1):
        least = torch.stack(distances).amin(0) + 1e-12
        centre = int(torch.multinomial(least, 1, generator=generator))
        distances.append((points - points[centre]).square().sum(1))
    return torch.stack(distances).argmin(0)


def _maximised(
    responsibility: Float[Tensor, "N K"], x: Tensor, z: Tensor, prior_share: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return weights, means, variances and ln shares at the maximum.

    Numbers have mean 0 and variance 1 in all training rows.
    """
    total = responsibility.sum(0)
    weight = (total + 1) / (len(x) + len(total))
    mean = (responsibility.T @ x) / (total + ANCHOR)[:, None]
    # Σ r (x - m)² = Σ r x² - 2 m Σ r x + R m², and Σ r x = (R + a) m.
    squares = responsibility.T @ x.square() - (total + ANCHOR)[:, None] * mean.square()
    variance = (squares.clamp_min(0) + LEAST_VARIANCE) / (total + 1)[:, None]
    log_share = ((responsibility.T @ z + prior_share) / (total + 1)[:, None]).log()
    return weight, mean, variance, log_share


def _log_joint(
    x: Tensor, z: Tensor, weight: Tensor, mean: Tensor, variance: Tensor, log_share: Tensor
) -> Float[Tensor, "N K"]:
    """Return ln w_k p_k(x_n), numbers by their densities."""
    precision = 1 / variance
    squared = x.square() @ precision.T - 2 * x @ (mean * precision).T
    constant = (mean.square() * precision + variance.log() + math.log(2 * math.pi)).sum(1)
    return weight.log() - 0.5 * (squared + constant) + z @ log_share.T


def _log_prior(
    weight: Tensor, mean: Tensor, variance: Tensor, log_share: Tensor, prior_share: Tensor
) -> float:
    """Return the logarithm of the prior, up to a constant."""
    spread = variance.log() + (LEAST_VARIANCE + ANCHOR * mean.square()) / variance
    return float(weight.log().sum() - 0.5 * spread.sum() + (prior_share * log_share).sum())
