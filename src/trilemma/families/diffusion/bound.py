r"""The variational bound of a diffusion, term by term.

A chain of T steps back from noise, each a Gaussian around the posterior's mean with the clean
estimate xhat in the place of x, has a likelihood, and

    -ln p(x) <= L_T + sum_{t=2..T} L_{t-1} + L_0
    L_T      = KL(q(x_T | x) || N(0, I))
    L_{t-1}  = KL(q(x_{t-1} | x_t, x) || N(mu~(x_t, xhat), S))
             = 1/2 sum_i [ln (S / beta~) - 1 + (beta~ + c^2 (x - xhat)^2) / S]
    L_0      = -ln p(x | x_1),   N(xhat(x_1), sigma_1^2 / alpha_1^2), cut into bins for levels

where c is the weight of x in mu~, and the reverse variance S is one of

    posterior   beta~: L_{t-1} = (SNR_{t-1} - SNR_t) / 2  ||x - xhat||^2
    upper       beta, what the chain itself adds
    learned     beta^v beta~^(1-v), v in [0, 1] from the network for each coordinate

L_0's variance is beta_1 / alpha_1, exact where data are smooth at that scale. Of a table's columns
(`core.columns`) real ones have the density in L_0, whole numbers and categories their cells; x is
scaled with the middle of a cell in the number's place. Two things keep the bound tight. Data on
levels need no steps finer than their bins, so that the chain begins at a noise of a quarter of a
bin. And its T steps are even in ln(1 + SNR), the information about Gaussian data: of steps even in
time the first few multiply the noise, and cost a constant that no T removes. The lecture's own
chain is `spacing="time"`.

References:
    Denoising Diffusion Probabilistic Models, Ho, Jain & Abbeel, 2020 (arXiv:2006.11239).
    Improved Denoising Diffusion Probabilistic Models, Nichol & Dhariwal, 2021 (arXiv:2102.09672):
    learned variances.
    Variational Diffusion Models, Kingma, Salimans, Poole & Ho, 2021 (arXiv:2107.00630).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.domain import Columns, Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise
from trilemma.families.likelihood import NORMAL, columns_log_prob
from trilemma.maths.broadcasting import per_row
from trilemma.maths.diffusion.schedules import Schedule, posterior, transition
from trilemma.maths.diffusion.spaces import Space
from trilemma.maths.distributions import (
    discretised_normal_log_prob,
    kl_normal,
    log_normal,
    per_example,
)

__all__ = ["SPACINGS", "VARIANCES", "Estimate", "VariationalBound", "reverse_variance"]

SPACINGS = ("information", "time")
"""How the bound's steps are spaced: evenly in ln(1 + SNR), or in t."""

VARIANCES = ("posterior", "upper", "learned")
"""The variance of a step back: the posterior's, what the chain adds, or between as learned."""

Estimate = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""(x_t, t) -> the clean estimate, and v where variances are learned."""


def reverse_variance(
    schedule: Schedule, s: Tensor, t: Tensor, kind: str, v: Tensor | None, like: Tensor
) -> Tensor:
    """Return S of the step from t back to s < t, as it broadcasts against `like`.

    Where s = 0 the posterior is a point; a learned S lies then between half of beta and beta.
    """
    _, upper = transition(schedule, s.double(), t.double())
    beta, lower = (
        per_row(upper, like),
        per_row(posterior(schedule, s.double(), t.double())[2], like),
    )
    if kind == "posterior":
        return lower
    if kind == "upper" or v is None:
        return beta
    lower = torch.where(lower > 0, lower, beta / 2)
    return (v * beta.log() + (1 - v) * lower.log()).exp()


@dataclass(frozen=True)
class BoundSteps:
    """Times t_1 < … < t_T = 1 of the bound's chain and their SNR, float64."""

    times: Float[Tensor, " T"]
    snr: Float[Tensor, " T"]


@dataclass(frozen=True)
class VariationalBound:
    """The terms of one chain.

    Arguments:
        schedule: t to (alpha, sigma).
        domain: Where the data lie.
        space: Where the noise lives.
        steps: T.
        variance: One of `VARIANCES`.
        spacing: One of `SPACINGS`.
        is_continuous: Whether the denoiser knows times before 1 / T, so that the chain of data on
            levels may begin at a noise of a quarter of a bin, however many steps it has.
    """

    schedule: Schedule
    domain: Domain
    space: Space
    steps: int
    variance: str = "posterior"
    spacing: str = "information"
    is_continuous: bool = False

    def chain(self, device: torch.device) -> BoundSteps:
        """Return the times of the chain, from that of x_1 to 1."""
        if self.spacing not in SPACINGS:
            raise BadInput(f"spacing '{self.spacing}' was given; give 'information' or 'time'.")
        even = torch.arange(1, self.steps + 1, dtype=torch.float64) / self.steps
        ends = self.schedule.log_snr(even[[0, -1]])
        width = _narrowest(self.domain)
        if width is not None:
            least = max(-2 * math.log(width / 4), float(ends[1]))
            if not self.domain.values.discrete:  # real columns gain by a finer beginning
                least = max(least, float(ends[0]))
            ends[0] = least if self.is_continuous else ends[0].clamp(max=least)
        if self.spacing == "time":
            times = even[self.schedule.log_snr(even) <= ends[0] + 1e-9]
        else:
            first, last = torch.nn.functional.softplus(ends)
            inner = torch.lerp(first, last, torch.linspace(0, 1, self.steps).double())
            times = self.schedule.time_of(inner.expm1().log())
        alpha, sigma = self.schedule(times)
        return BoundSteps(times.to(device), ((alpha / sigma) ** 2).to(device))

    def estimate_bound(
        self, x: Tensor, estimate: Estimate, noise: Noise, draws: int
    ) -> Float[Tensor, " B"]:
        """Return an unbiased estimate of minus the sum of all terms.

        L_T and L_0 are computed; of the steps between, `draws` are drawn for each example. Were
        the data standard normal, step t would cost ln((1 + SNR_{t-1}) / (1 + SNR_t)) / 2 in each
        coordinate: steps are drawn in this proportion, one from each of `draws` equal strata.
        """
        steps = self.chain(x.device)
        total = self.prior(x) + self.reconstruction(x, steps, estimate, noise)
        if len(steps.times) > 1:
            share = torch.log1p(steps.snr[:-1]) - torch.log1p(steps.snr[1:])
            share = share / share.sum()
            edges = share.cumsum(0)[:-1]
            for j in range(draws):
                u = (j + noise.uniform().double()) / draws
                i = torch.bucketize(u, edges, right=True)
                term = self.step(x, steps, i + 1, estimate, noise)
                total = total + term / (share[i] * draws).float()
        return -total

    def terms(self, x: Tensor, estimate: Estimate, noise: Noise) -> Float[Tensor, "B n"]:
        """Return L_0, L_1, …, L_{T-1}, L_T of each example, by T network evaluations."""
        steps = self.chain(x.device)
        between = [
            self.step(x, steps, torch.full((len(x),), i, device=x.device), estimate, noise)
            for i in range(1, len(steps.times))
        ]
        first = self.reconstruction(x, steps, estimate, noise)
        return torch.stack([first, *between, self.prior(x)], dim=1)

    def over_noise(
        self, x: Tensor, estimate: Estimate, noise: Noise, draws: int
    ) -> tuple[Float[Tensor, " T"], Float[Tensor, "B n"]]:
        """Return ln SNR of x_1 … x_T, and about `terms`: each of `draws` stands for its run."""
        steps = self.chain(x.device)
        count = len(steps.times) - 1
        edges = torch.linspace(0, count, min(draws, count) + 1).round().long().tolist()
        between = []
        for low, high in pairwise(edges):
            index = torch.full((len(x),), (low + high) // 2 + 1, device=x.device)
            term = self.step(x, steps, index, estimate, noise)
            between.append(term[:, None].expand(-1, high - low))
        first = self.reconstruction(x, steps, estimate, noise)[:, None]
        return steps.snr.log(), torch.cat([first, *between, self.prior(x)[:, None]], dim=1)

    def prior(self, x: Tensor) -> Float[Tensor, " B"]:
        """Return L_T = KL(q(x_T | x) || N(0, I))."""
        alpha, sigma = self.schedule(torch.ones((), device=x.device))
        mean = alpha * self.domain.values.scale(x)
        log_var = (2 * sigma.log()).expand_as(mean)
        zeros = torch.zeros_like(mean)
        return self.space.total(kl_normal(mean, log_var), lambda: kl_normal(zeros, log_var))

    def step(
        self, x: Tensor, steps: BoundSteps, index: Tensor, estimate: Estimate, noise: Noise
    ) -> Float[Tensor, " B"]:
        """Return L_{t-1} at these indices of the chain, [B], for one x_t of each example."""
        y = self.domain.values.scale(x)
        s, t = steps.times[index - 1], steps.times[index]
        clean, v = estimate(self.noised(y, t.float(), noise), t.float())
        if self.variance == "posterior":
            fall = (steps.snr[index - 1] - steps.snr[index]).float()
            return fall / 2 * per_example((y - clean) ** 2)
        divergence = self.divergence(y, clean, s, t, v)
        return self.space.total(divergence, lambda: self.divergence(clean, clean, s, t, v))

    def divergence(
        self, y: Tensor, clean: Tensor, s: Tensor, t: Tensor, v: Tensor | None
    ) -> Float[Tensor, "B ..."]:
        """Return the KL of a step from t to s > 0 in each coordinate, by S of any kind."""
        _, of_clean, tilde = (
            per_row(n, y) for n in posterior(self.schedule, s.double(), t.double())
        )
        variance = reverse_variance(self.schedule, s, t, self.variance, v, y)
        ratio = tilde / variance
        return (ratio - 1 - ratio.log() + (of_clean * (y - clean)) ** 2 / variance) / 2

    def reconstruction(
        self, x: Tensor, steps: BoundSteps, estimate: Estimate, noise: Noise
    ) -> Float[Tensor, " B"]:
        """Return L_0 = -ln p(x | x_1), about x in data units."""
        y, t = self.domain.values.scale(x), steps.times[0].float()
        return self.decoded(x, estimate(self.noised(y, t, noise), t)[0], steps.snr[0])

    def decoded(self, x: Tensor, clean: Tensor, snr: Tensor) -> Float[Tensor, " B"]:
        """Return -ln p(x | x_1), given the clean estimate and the SNR of x_1."""
        values = self.domain.values
        log_std = (-snr.log() / 2).float().expand_as(clean)
        if isinstance(values, Levels):
            return -per_example(discretised_normal_log_prob(x, clean, log_std, values.count))
        if isinstance(values, Columns):
            return -columns_log_prob(values, x, clean, log_std, NORMAL)
        log_density = log_normal(values.scale(x), clean, 2 * log_std) + values.log_volume
        return -self.space.total(
            log_density, lambda: log_normal(clean, clean, 2 * log_std) + values.log_volume
        )

    def noised(self, y: Tensor, t: Tensor, noise: Noise) -> Tensor:
        """Draw x_t of scaled examples."""
        alpha, sigma = (per_row(number, y) for number in self.schedule(t))
        return alpha * y + sigma * self.space.normal(noise, y.shape[1:])


def _narrowest(domain: Domain) -> float | None:
    """Return the width of the narrowest bin of scaled data; None where no values lie in bins."""
    values = domain.values
    if isinstance(values, Levels):
        return 2 / (values.count - 1)
    if not isinstance(values, Columns):
        return None
    return values.narrowest if math.isfinite(values.narrowest) else None
