r"""Diffusion: learn to undo a little noise, and so to make data from noise.

    q(x_t | x) = N(alpha_t x, sigma_t^2 I),   t = 1/T, 2/T, …, 1

The network is asked for the clean estimate xhat = E[x | x_t] through a prediction (its noise, x
itself, a velocity) and trained by the mean square error of that prediction; for the noise this is
the lecture's L_simple = E ||eps - eps_theta(x_t, t)||^2. A sampler turns estimates into data.

The same estimates define a chain with a likelihood, whose bound has a term for each step:

    -ln p(x) <= L_T + sum_{t=2..T} L_{t-1} + L_0
    L_T      = KL(q(x_T | x) || N(0, I))
    L_{t-1}  = KL(q(x_{t-1} | x_t, x) || q(x_{t-1} | x_t, xhat))
             = (SNR_{t-1} - SNR_t) / 2  ||x - xhat(x_t, t)||^2
    L_0      = -ln p(x | x_1),   N(xhat(x_1), sigma_1^2 / alpha_1^2), cut into bins for levels

The reverse variance is beta~_t, that of the posterior, which gives L_{t-1} its short form; L_0's
is beta_1 / alpha_1, exact where data are smooth at that scale. Two things keep the bound tight.
Data on levels need no steps finer than their bins, so that the chain begins at a noise of a
quarter of a bin. And its T steps are even in ln(1 + SNR), the information about Gaussian data:
of steps even in time the first few multiply the noise, and cost a constant that no T removes. The
lecture's own chain is `spacing="time"`.

References:
    Denoising Diffusion Probabilistic Models, Ho, Jain & Abbeel, 2020 (arXiv:2006.11239).
    Variational Diffusion Models, Kingma, Salimans, Poole & Ho, 2021 (arXiv:2107.00630).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.model import Loss, Model, Objective
from trilemma.core.noise import Noise
from trilemma.maths.distributions import (
    discretised_normal_log_prob,
    kl_normal,
    log_normal,
    per_example,
)
from trilemma.maths.guidance import guided
from trilemma.maths.predictions import Prediction
from trilemma.maths.samplers import Ddim, Denoise, Sampler
from trilemma.maths.schedules import Schedule, grid, time_of
from trilemma.maths.spaces import Euclidean, Space

__all__ = ["SPACINGS", "WEIGHTINGS", "Diffusion"]

WEIGHTINGS = ("own", "noise", "bound")
"""Units of the loss: of what the network predicts; of the noise (L_simple); nats of the bound."""

SPACINGS = ("information", "time")
"""How the bound's steps are spaced: evenly in ln(1 + SNR), or in t."""


class Diffusion(Model[Examples, Tensor]):
    """A denoising network, a schedule and a prediction, trained together; sampled in steps.

    Arguments:
        network: (x [B, *shape] scaled, log-SNR [B], condition) to [B, *shape].
        domain: Where the data lie.
        schedule: t to (alpha, sigma).
        prediction: What the network's output means.
        chain: T, steps of the chain on which it is trained and bounded.
        weighting: Unit of the loss: 'own', 'noise' or 'bound'.
        label_dropout: Share of training examples whose condition is hidden.
        sampler: The way from noise to data.
        steps: Steps of that way.
        guidance: Weight of the condition: 1 obeys, more exaggerates, 0 ignores.
        threshold: Whether clean estimates are cut to [-1, 1]; None, for levels.
        space: Where the noise lives.
    """

    def __init__(
        self,
        network: nn.Module,
        domain: Domain,
        schedule: Schedule,
        prediction: Prediction,
        *,
        chain: int = 1000,
        weighting: str = "own",
        label_dropout: float = 0.1,
        sampler: Sampler | None = None,
        steps: int = 50,
        guidance: float = 1.0,
        threshold: bool | None = None,
        space: Space | None = None,
    ) -> None:
        super().__init__()
        if chain < 1 or steps < 1:
            raise BadInput(
                f"a chain of {chain} steps, sampled in {steps}, was given; each must be 1 or more."
            )
        if not 0 <= label_dropout <= 1:
            raise BadInput(f"label dropout {label_dropout:g} was given; it is a share, 0 to 1.")
        if weighting not in WEIGHTINGS:
            raise BadInput(
                f"weighting '{weighting}' was given; give {', '.join(map(repr, WEIGHTINGS))}."
            )
        self.network, self.domain = network, domain
        self.schedule, self.prediction = schedule, prediction
        self.steps, self.weighting, self.label_dropout = chain, weighting, label_dropout
        self.sampler, self.sample_steps = sampler or Ddim(), steps
        self.guidance, self.space = guidance, space or Euclidean()
        levels = isinstance(domain.values, Levels)
        self.threshold = levels if threshold is None else threshold

    # Training

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the one player."""
        return [Objective("denoiser", self.loss, list(self.network.parameters()))]

    def loss(self, batch: Examples) -> Loss:
        """Return the weighted mean square error of the prediction, per coordinate.

        Each example has its own step t, uniform over 1 … T, and its own noise.
        """
        assert batch.noise is not None
        x = self.domain.values.scale(batch.x)
        t = (batch.noise.named("time").integers(self.steps) + 1) / self.steps
        noise = self.space.normal(batch.noise.named("noise"), x.shape[1:])
        condition = batch.condition
        if condition is not None:
            condition = condition.partly_hidden(self.label_dropout, batch.noise)
        alpha, sigma = (_rows(number, x) for number in self.schedule(t))
        target = self.prediction.target(x, noise, alpha, sigma)
        output = self._output(alpha * x + sigma * noise, t, condition)
        error = (target - output).square().flatten(1).mean(1)
        gain = self.prediction.gain(alpha, sigma).flatten()
        return Loss(
            (error * self._weight(t) / gain).mean() if self.weighting != "own" else error.mean(),
            {"clean": (error.detach() / gain).mean()},
        )

    def _weight(self, t: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Return the weight of ||x - xhat||^2 at steps t of the chain."""

        def snr(t: Tensor) -> Tensor:
            alpha, sigma = self.schedule(t)
            return (alpha / sigma) ** 2

        if self.weighting == "noise":
            return snr(t)
        before = t - 1 / self.steps
        first = before < 0.5 / self.steps
        finer = torch.where(first, 2 * snr(t), snr(torch.where(first, t, before)))
        return (finer - snr(t)) * (self.steps / 2)

    # The clean estimate

    def denoised(
        self,
        x: Float[Tensor, "B ..."],
        t: Tensor,
        condition: Condition | None = None,
    ) -> Float[Tensor, "B ..."]:
        """Return xhat(x_t, t), scaled.

        Arguments:
            x: States x_t.
            t: Times in (0, 1], one for all or one for each.
            condition: What x is; None says nothing.
        """
        return self._cut(self._raw(x, t, condition))

    def _cut(self, clean: Tensor) -> Tensor:
        return clean.clamp(-1, 1) if self.threshold else clean

    def _raw(self, x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        alpha, sigma = (_rows(number, x) for number in self.schedule(t))
        return self.prediction.denoised(self._output(x, t, condition), x, alpha, sigma)

    def _output(self, x: Tensor, t: Tensor, condition: Condition | None) -> Tensor:
        alpha, sigma = (_rows(number, x) for number in self.schedule(t))
        log_snr = self.schedule.log_snr(t).clamp(-30, 30).to(x).expand(len(x))
        return self.network(self.prediction.scale(alpha, sigma) * x, log_snr, condition).float()

    # Sampling

    @torch.no_grad()
    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Draw n examples in data units, [n, *shape].

        Arguments:
            n: How many.
            condition: What they are to be; None draws classes by their share of the data.
            noise: n rows.
        """
        last = deque(self._way(n, condition, noise), maxlen=1).pop()
        return self.domain.values.unscale(last)

    @torch.no_grad()
    def path(
        self,
        n: int,
        *,
        frames: int,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Sequence[Tensor]:
        """Return about `frames` states from noise to `sample`'s examples, in data units."""
        count = max(2, min(frames, self.sample_steps + 1))
        kept = {round(i * self.sample_steps / (count - 1)) for i in range(count)}
        states = enumerate(self._way(n, condition, noise))
        return [self.domain.values.unscale(x) for i, x in states if i in kept]

    def _way(self, n: int, condition: Condition | None, noise: Noise | None) -> Iterator[Tensor]:
        """Yield the first state and the one after each step, scaled."""
        device = next(self.network.parameters()).device
        noise = Noise.fresh(n, device) if noise is None else noise
        if condition is None and self.domain.classes:
            condition = Condition.drawn(self.domain.frequencies, noise.named("label"))
        draws, shape = noise.named("state"), self.domain.shape

        x = self.space.normal(draws, shape)
        yield x
        yield from self.sampler(
            self._guided(condition),
            self.schedule,
            x,
            grid(self.sample_steps),
            lambda: self.space.normal(draws, shape),
        )

    def _guided(self, condition: Condition | None) -> Denoise:
        """Return the denoiser of samples: guided first, then cut to the data's range."""

        def alone(x: Tensor, t: Tensor) -> Tensor:
            return self._raw(x, t, None)

        def told(x: Tensor, t: Tensor) -> Tensor:
            return self._raw(x, t, condition)

        way = alone if condition is None else guided(told, alone, self.guidance)
        return lambda x, t: self._cut(way(x, t))

    # The bound

    @torch.no_grad()
    def bound(
        self,
        x: Tensor,
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
        draws: int = 8,
        spacing: str = "information",
    ) -> Float[Tensor, " B"]:
        """Return an unbiased estimate of -(L_T + sum L_{t-1} + L_0) <= ln p(x), in nats.

        L_T and L_0 are computed; of the steps between, `draws` are drawn for each example. Were
        the data standard normal, step t would cost ln((1 + SNR_{t-1}) / (1 + SNR_t)) / 2 in each
        coordinate: steps are drawn in this proportion, one from each of `draws` equal strata.

        Arguments:
            x: Data, in data units.
            condition: What x is, for ln p(x | c); None for ln p(x).
            noise: B rows.
            draws: Terms drawn, each a network evaluation.
            spacing: How the chain's steps are spaced: 'information' or 'time'.
        """
        noise = Noise.fresh(len(x), x.device) if noise is None else noise
        steps = self._steps(spacing, x.device)
        total = self._prior(x) + self._reconstruction(x, steps, condition, noise)
        if len(steps.times) > 1:
            share = torch.log1p(steps.snr[:-1]) - torch.log1p(steps.snr[1:])
            share = share / share.sum()
            edges = share.cumsum(0)[:-1]
            for j in range(draws):
                u = (j + noise.uniform().double()) / draws
                i = torch.bucketize(u, edges, right=True)
                term = self._step(x, steps, i + 1, condition, noise)
                total = total + term / (share[i] * draws).float()
        return -total

    @torch.no_grad()
    def bound_terms(
        self,
        x: Tensor,
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
        spacing: str = "information",
    ) -> Float[Tensor, "B n"]:
        """Return L_0, L_1, …, L_{T-1}, L_T of each example in nats; minus their sum is a bound.

        Costs T network evaluations. Evenly in time, where the first k steps are finer than the
        data's levels, L_0 takes their place and T + 1 - k terms are returned.
        """
        noise = Noise.fresh(len(x), x.device) if noise is None else noise
        steps = self._steps(spacing, x.device)
        between = [
            self._step(x, steps, torch.full((len(x),), i, device=x.device), condition, noise)
            for i in range(1, len(steps.times))
        ]
        return torch.stack(
            [self._reconstruction(x, steps, condition, noise), *between, self._prior(x)], dim=1
        )

    def _steps(self, spacing: str, device: torch.device) -> _Steps:
        """Return the times of the bound's chain, from that of x_1 to 1."""
        if spacing not in SPACINGS:
            raise BadInput(f"spacing '{spacing}' was given; give 'information' or 'time'.")
        even = torch.arange(1, self.steps + 1, dtype=torch.float64) / self.steps
        ends = self.schedule.log_snr(even[[0, -1]])
        if isinstance(self.domain.values, Levels):
            quarter = 0.5 / (self.domain.values.count - 1)
            ends[0] = ends[0].clamp(max=max(-2 * math.log(quarter), float(ends[1])))
        if spacing == "time":
            times = even[self.schedule.log_snr(even) <= ends[0] + 1e-9]
        else:
            first, last = torch.nn.functional.softplus(ends)
            inner = torch.lerp(first, last, torch.linspace(0, 1, self.steps).double())
            times = time_of(self.schedule, inner.expm1().log())
        alpha, sigma = self.schedule(times)
        return _Steps(times.to(device), ((alpha / sigma) ** 2).to(device))

    def _prior(self, x: Tensor) -> Float[Tensor, " B"]:
        """Return L_T = KL(q(x_T | x) || N(0, I))."""
        alpha, sigma = self.schedule(torch.ones((), device=x.device))
        mean = alpha * self.domain.values.scale(x)
        return per_example(kl_normal(mean, (2 * sigma.log()).expand_as(mean)))

    def _step(
        self,
        x: Tensor,
        steps: _Steps,
        place: Tensor,
        condition: Condition | None,
        noise: Noise,
    ) -> Float[Tensor, " B"]:
        """Return L_{t-1} at the given places in the chain, [B], for one x_t of each example."""
        y = self.domain.values.scale(x)
        fall = (steps.snr[place - 1] - steps.snr[place]).float()
        estimate = self._estimate(y, steps.times[place].float(), condition, noise)
        return fall / 2 * per_example((y - estimate) ** 2)

    def _reconstruction(
        self, x: Tensor, steps: _Steps, condition: Condition | None, noise: Noise
    ) -> Float[Tensor, " B"]:
        """Return L_0 = -ln p(x | x_1), about x in data units."""
        y, values = self.domain.values.scale(x), self.domain.values
        estimate = self._estimate(y, steps.times[0].float(), condition, noise)
        log_std = (-steps.snr[0].log() / 2).float().expand_as(y)
        if isinstance(values, Levels):
            return -per_example(discretised_normal_log_prob(x, estimate, log_std, values.count))
        density = per_example(log_normal(y, estimate, 2 * log_std))
        return -(density + values.log_volume * self.domain.dimensions)

    def _estimate(self, y: Tensor, t: Tensor, condition: Condition | None, noise: Noise) -> Tensor:
        alpha, sigma = (_rows(number, y) for number in self.schedule(t))
        x_t = alpha * y + sigma * self.space.normal(noise, y.shape[1:])
        return self.denoised(x_t, t, condition)


def _rows(number: Tensor, x: Tensor) -> Tensor:
    """Give numbers, one for all rows or one for each, the type and the axes of x."""
    number = number.to(x)
    return number.reshape(-1, *([1] * (x.dim() - 1))) if number.dim() else number


@dataclass(frozen=True)
class _Steps:
    """Times t_1 < … < t_T = 1 of the bound's chain and their SNR, float64."""

    times: Float[Tensor, " T"]
    snr: Float[Tensor, " T"]
