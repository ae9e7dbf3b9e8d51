r"""Energy-based models: p(y) = exp(-E(y)) / Z, whatever E.

    E(y) = ||u||^2 / 2 + f(y),      u = (y - m) / s

about data scaled to [-1, 1] and dequantised, or standardised reals. m and s are set from the
data, so that exp(-E) can be normalised and f = 0 is a Gaussian; f is a network. All chains walk
in u, where the data have mean 0 and a
spread of about 1 in each coordinate.

Contrastive divergence. The gradient of -ln p is that of f at the data less that of f at the
model, which chains stand for:

    loss = mean f(u+) - mean f(u-) + a (mean f(u+)^2 + mean f(u-)^2) / D.

u+ are data with a little noise, of deviation sigma; u- are chains, kept in a buffer from update to
update, a few Langevin steps further each time; a small share is begun anew at the Gaussian. Where
the energies of u+ and u- part by more than `gap` the chains have lost the model; the loss is then
no number, so that training leaves the update out.

Denoising score matching. No chains: for u~ = u + sigma eps at many sigma,

    loss = mean || sigma grad E(u~, sigma) - eps ||^2 / D,

whose minimiser is the energy of the data smoothed by sigma. Samples come by Langevin steps while
sigma falls.

Either way the model is one of data smoothed by the (smallest) sigma, and the last step of a
sample takes the noise off, E[u | u~] = u~ - sigma^2 grad E(u~) (Miyasawa 1961, Robbins 1956).
Z is estimated from both sides by annealed importance sampling.

References:
    Training Products of Experts by Minimizing Contrastive Divergence (Hinton, 2002)
    Training Restricted Boltzmann Machines using Approximations to the Likelihood Gradient
        (Tieleman, 2008): chains that persist
    Implicit Generation and Modeling with Energy-Based Models (Du & Mordatch, 2019),
        https://arxiv.org/abs/1903.08689
    A Connection Between Score Matching and Denoising Autoencoders (Vincent, 2011)
    Generative Modeling by Estimating Gradients of the Data Distribution (Song & Ermon, 2019),
        https://arxiv.org/abs/1907.05600
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from trilemma.core.adjusting import replaced_options, with_sampling
from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Loss, Model, Objective
from trilemma.core.noise import Noise, mix
from trilemma.core.partition import LogPartition
from trilemma.families.dequantised_density import sound
from trilemma.maths.ais import (
    Gaussian,
    effective_size,
    forward,
    log_mean_error,
    log_mean_exp,
    pilot,
    resampled,
    reverse,
)
from trilemma.maths.broadcasting import per_row
from trilemma.maths.langevin import Draw, evaluate, mala, proposal, ula

__all__ = ["Contrastive", "Energy", "EnergySampling", "Matched"]

LEAST = 0.4
"""What of the spread of all coordinates each one has at least."""
LEVELS = 20
"""Noise levels through which an annealed chain falls."""
LARGEST = 10.0
"""The largest noise of score matching: nothing is left of data of spread 1."""


@dataclass(frozen=True)
class EnergySampling:
    """How long chains are: options at the call.

    Arguments:
        steps: Langevin steps of a sample.
        ais_steps: Temperatures of annealed importance sampling, by which Z is estimated.

    Raises:
        BadInput: One of them is less than 1.
    """

    steps: int = 100
    ais_steps: int = 1000

    def __post_init__(self) -> None:
        """Refuse numbers that make no chain."""
        for name, count in (("--sample-steps", self.steps), ("--ais-steps", self.ais_steps)):
            if count < 1:
                raise BadInput(f"{name} {count} was given; give 1 or more.")


class Energy(Model[Examples, Tensor]):
    """An energy over a domain: what both ways of training share.

    Arguments:
        network: f, [B, *shape] near [-1, 1] to [B]; with a log-SNR [B] for score matching.
        domain: Where the data lie.
        sigma: Deviation of the noise on u that the model is one of.
        step_size: eta of Langevin, in units of u^2.
        sampling: How long chains are; `EnergySampling()` if none is given.
    """

    likelihood_by: str = "AIS"
    mean: Tensor
    spread: Tensor

    def __init__(
        self,
        network: nn.Module,
        domain: Domain,
        *,
        sigma: float = 0.1,
        step_size: float = 0.005,
        sampling: EnergySampling | None = None,
    ) -> None:
        super().__init__()
        self.network, self.domain, self.sigma = network, domain, sigma
        self.step_size, self.sampling = step_size, sampling or EnergySampling()
        self.register_buffer("mean", torch.zeros(domain.scaled_shape))
        self.register_buffer("spread", torch.ones(domain.scaled_shape))

    def adjusted(self, **options: Any) -> Self:  # noqa: ANN401
        """Return a view of the same weights that is drawn from with other options.

        Arguments:
            options: Fields of `EnergySampling`.

        Raises:
            BadInput: There is no such option, or its value makes no sense.
        """
        return with_sampling(self, replaced_options(self.sampling, options))

    @abstractmethod
    def standard_energy(self, u: Float[Tensor, "N ..."]) -> Float[Tensor, " N"]:
        """Return E of standardised values, in nats."""

    @abstractmethod
    def base(self) -> Gaussian:
        """Return the Gaussian of u that E is where f is zero."""

    @abstractmethod
    def langevin_chain(self, noise: Noise) -> Iterator[Float[Tensor, "N ..."]]:
        """Yield the states of a sample's chain, u, without its last step."""

    def fit_base(self, x: Tensor) -> None:
        """Set m and s from data in data units.

        s is each coordinate's deviation, the root mean square of all of them mixed in: where a
        coordinate hardly ever moves, the Gaussian must not forbid that it does.
        """
        x = x.to(self.mean.device)
        y = self.domain.values.dequantise(x, Noise.of(0, len(x), x.device))
        variance = y.var(0, correction=0)
        self.mean.copy_(y.mean(0))
        self.spread.copy_((variance + LEAST**2 * variance.mean()).sqrt().clamp(min=1e-6))

    def standardise(self, x: Tensor, noise: Noise) -> Float[Tensor, "B ..."]:
        """Return u of data in data units; levels are spread over their bins."""
        return (self.domain.values.dequantise(x, noise) - self.mean) / self.spread

    def energy(
        self, x: Tensor, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Float[Tensor, " B"]:
        """Return E about the data as they lie in the file, for one u of each.

        Raises:
            BadInput: A condition is given.
        """
        _refuse(condition)
        noise = noise or Noise.fresh(len(x), x.device)
        volume = self.domain.dimensions * self.domain.values.log_volume
        y, log_q = self.domain.values.dequantised(x, noise)
        return self.standard_energy((y - self.mean) / self.spread) + log_q - volume

    def log_partition(self, *, noise: Noise) -> LogPartition:
        """Return estimates of ln Z from below and from above, by len(noise) chains each way.

        The reverse chains begin where the forward ones ended, drawn by their weights, if these
        are alike enough; else at samples, walked on by MALA. As far as those are not yet the
        model's own, the upper one is an estimate and no bound. Where few of its weights count it
        is -mean ln w', which is larger, in place of -ln mean w'. Its error is that of the steps
        from the starts it had: that these were drawn from a few forward chains is not in it.
        """
        plan = pilot(
            self.standard_energy,
            self.base(),
            self.sampling.ais_steps,
            *self._draws(noise.named("pilot")),
            pilot_steps=max(self.sampling.ais_steps // 4, 20),
        )
        forward_run = forward(
            self.standard_energy, self.base(), plan, *self._draws(noise.named("forward"))
        )
        draws = self._draws(noise.named("reverse"))
        enough = len(noise) / 4
        if effective_size(forward_run.log_weights) >= enough:
            start = forward_run.y[
                resampled(forward_run.log_weights, noise.named("again").uniform())
            ]
        else:
            start = self._settled(noise.named("start"), plan.etas[-1], draws)
        reverse_run = reverse(self.standard_energy, self.base(), plan, start, *draws)
        lower, upper = (
            log_mean_exp(forward_run.log_weights),
            -log_mean_exp(reverse_run.log_weights),
        )
        upper_error = log_mean_error(reverse_run.log_weights)
        # Below this one chain, perhaps astray, has it all.
        if effective_size(reverse_run.log_weights) < enough:
            upper = -float(reverse_run.log_weights.mean())
            upper_error = float(reverse_run.log_weights.std()) / math.sqrt(len(noise))
        scale = float(self.spread.log().sum())  # from u to y
        return LogPartition(
            lower + scale, upper + scale, log_mean_error(forward_run.log_weights), upper_error
        )

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Draw n examples in data units.

        Raises:
            BadInput: A condition is given.
            RanAway: Chains left the data's surroundings.
        """
        return self.path(n, frames=1, condition=condition, noise=noise)[-1]

    def path(
        self,
        n: int,
        *,
        frames: int,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Sequence[Tensor]:
        """Return about `frames` states of the chains, the last without its noise, data units."""
        _refuse(condition)
        noise = noise or Noise.fresh(n, self.mean.device)
        frame_steps = (
            torch.linspace(0, self.sampling.steps, max(frames, 2)).round().int().tolist()[:-1]
        )
        states, u = [], torch.empty(0)
        for step, u in enumerate(self.langevin_chain(noise)):
            if frames > 1 and step in frame_steps:
                states.append(self._in_data_units(u))
        return [*states, self._in_data_units(self.denoised(u))]

    def denoised(self, u: Float[Tensor, "N ..."]) -> Float[Tensor, "N ..."]:
        """Return E[u | u~] = u~ - sigma^2 grad E(u~)."""
        return u - self.sigma**2 * evaluate(self.standard_energy, u).gradient

    def _settled(self, noise: Noise, eta: float, draws: tuple[Draw, Draw]) -> Tensor:
        """Return samples walked on by MALA; small steps free chains that stand on steep slopes."""
        u = torch.empty(0)
        for u in self.langevin_chain(noise):  # noqa: B007
            pass
        for share in (0.01, 0.1, 1.0) * 2:
            u, _ = mala(
                self.standard_energy,
                u,
                share * eta,
                *draws,
                steps=max(self.sampling.ais_steps // 24, 20),
            )
        return u

    def _in_data_units(self, u: Tensor) -> Tensor:
        return self.domain.values.quantise(self.mean + self.spread * sound(u))

    def _draws(self, noise: Noise) -> tuple[Draw, Draw]:
        return lambda: noise.normal(*self.domain.scaled_shape), noise.uniform


class Contrastive(Energy):
    """An energy trained against chains that persist.

    Arguments:
        network: f.
        domain: Where the data lie.
        chains: Rows of the buffer, no fewer than a batch.
        chain_steps: Langevin steps an update.
        temperature: Share of Langevin's own noise that training's chains get; 1 is p itself.
        restart: Share of chains begun anew at the Gaussian, an update.
        regulariser: a, weight of the squared energies.
        gap: Nats by which the mean energies of data and chains may part.
        kwargs: As for `Energy`.
    """

    chains: Tensor

    def __init__(
        self,
        network: nn.Module,
        domain: Domain,
        *,
        chains: int = 2048,
        chain_steps: int = 20,
        temperature: float = 1.0,
        restart: float = 0.05,
        regulariser: float = 0.01,
        gap: float = 100.0,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(network, domain, **kwargs)
        self.chain_steps, self.temperature, self.restart = chain_steps, temperature, restart
        self.regulariser, self.gap = regulariser, gap
        self.register_buffer("chains", torch.randn(chains, *domain.scaled_shape))
        self._fresh: list[tuple[Tensor, Tensor]] = []
        self._key: tuple[int, ...] = ()

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the one player, who moves the chains after each update."""
        return [Objective("energy", self.loss, list(self.parameters()), after=self.keep)]

    def loss(self, batch: Examples) -> Loss:
        """Return f(u+) - f(u-) + a (f(u+)^2 + f(u-)^2) / D, in mean; no number beyond `gap`."""
        assert batch.noise is not None
        noise, shape = batch.noise[:], self.domain.scaled_shape
        data = self.standardise(batch.x, noise)
        data = data + self.sigma * noise.normal(*shape)
        slots = distinct_indices(noise, len(self.chains))
        chains = self.advanced(self.initial_chains(slots, noise), noise)
        self._remember(noise, slots, chains)

        f_data, f_chains = self.learned(torch.cat([data, chains])).chunk(2)
        squares = (f_data.square() + f_chains.square()).mean() / self.domain.scaled_dimensions
        value = f_data.mean() - f_chains.mean() + self.regulariser * squares
        energies = [
            (f.detach() + _half_square(u)).mean() for f, u in ((f_data, data), (f_chains, chains))
        ]
        gap = energies[0] - energies[1]
        has_diverged = ~(gap.abs() <= self.gap)
        value = torch.where(has_diverged, math.nan, value)
        return Loss(value, {"data": energies[0], "chains": energies[1], "gap": gap})

    def initial_chains(self, slots: Int[Tensor, " B"], noise: Noise) -> Float[Tensor, "B ..."]:
        """Return the buffer's rows, or for a share of them the Gaussian's draws."""
        is_restarted = noise.uniform() < self.restart
        start = noise.normal(*self.domain.scaled_shape)
        return torch.where(per_row(is_restarted, start), start, self.chains[slots])

    def advanced(self, u: Float[Tensor, "B ..."], noise: Noise) -> Float[Tensor, "B ..."]:
        """Return the chains after an update's Langevin steps."""

        def normal() -> Tensor:
            return self.temperature * noise.normal(*self.domain.scaled_shape)

        return ula(self.standard_energy, u, self.step_size, normal, steps=self.chain_steps)

    def keep(self) -> None:
        """Put the last loss's chains into the buffer."""
        for slots, chains in self._fresh:
            self.chains[slots] = chains
        self._fresh.clear()

    def learned(self, u: Float[Tensor, "N ..."]) -> Float[Tensor, " N"]:
        """Return f."""
        return self.network(self.mean + self.spread * u)

    def standard_energy(self, u: Float[Tensor, "N ..."]) -> Float[Tensor, " N"]:
        """Return ||u||^2 / 2 + f."""
        return _half_square(u) + self.learned(u)

    def base(self) -> Gaussian:
        """Return N(0, I)."""
        return Gaussian(torch.zeros_like(self.mean), torch.ones_like(self.spread))

    def langevin_chain(self, noise: Noise) -> Iterator[Float[Tensor, "N ..."]]:
        """Walk on from rows of the buffer."""
        u = self.chains[noise.integers(len(self.chains))]
        yield u
        for _ in range(self.sampling.steps):
            evaluation = evaluate(self.standard_energy, u)
            u = proposal(evaluation, self.step_size, noise.normal(*self.domain.scaled_shape))
            yield u

    def _remember(self, noise: Noise, slots: Tensor, chains: Tensor) -> None:
        """Keep new states until `keep`; parts of one batch together, no update left out before."""
        key = tuple(block.seed for block in noise.blocks)
        if key != self._key:
            self._fresh.clear()
        self._key = key
        self._fresh.append((slots, chains))


class Matched(Energy):
    """An energy for many noise levels, trained by denoising score matching.

    E(u, sigma) = ||u||^2 / (2 (1 + sigma^2)) + f(u, sigma) / sigma, of which that of the
    smallest sigma is the model.
    """

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the one player."""
        return [Objective("energy", self.loss, list(self.parameters()))]

    def loss(self, batch: Examples) -> Loss:
        """Return || sigma grad E(u + sigma eps, sigma) - eps ||^2 / D, in mean."""
        assert batch.noise is not None
        noise = batch.noise[:]
        data = self.standardise(batch.x, noise)
        sigma = self.sigma * (LARGEST / self.sigma) ** noise.uniform()
        eps = noise.normal(*self.domain.scaled_shape)
        errors = self.mismatch(data, sigma, eps)
        low = sigma < (self.sigma * LARGEST) ** 0.5
        value = errors.mean()
        return Loss(value, {"low": (errors * low).detach().mean() * 2})

    def mismatch(
        self, u: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"], eps: Float[Tensor, "B ..."]
    ) -> Float[Tensor, " B"]:
        """Return || sigma grad E(u + sigma eps, sigma) - eps ||^2 / D, differentiable."""
        sigmas = per_row(sigma, u)
        with torch.enable_grad():
            noisy = (u + sigmas * eps).requires_grad_()
            energies = self.levelled_energy(noisy, sigma)
            (gradient,) = torch.autograd.grad(energies.sum(), noisy, create_graph=True)
        return (sigmas * gradient - eps).flatten(1).square().mean(1)

    def levelled_energy(
        self, u: Float[Tensor, "N ..."], sigma: Float[Tensor, " N"]
    ) -> Float[Tensor, " N"]:
        """Return E(u, sigma)."""
        total_variance = 1 + sigma.square()
        f = self.network(u / per_row(total_variance.sqrt(), u), -2 * sigma.log())
        return _half_square(u) / total_variance + f / sigma

    def standard_energy(self, u: Float[Tensor, "N ..."]) -> Float[Tensor, " N"]:
        """Return E at the smallest sigma."""
        return self.levelled_energy(u, self._level(self.sigma, u))

    def base(self) -> Gaussian:
        """Return N(0, (1 + sigma^2) I)."""
        std = torch.full_like(self.spread, 1 + self.sigma**2).sqrt()
        return Gaussian(torch.zeros_like(self.mean), std)

    def langevin_chain(self, noise: Noise) -> Iterator[Float[Tensor, "N ..."]]:
        """Fall from the largest noise to the smallest, some Langevin steps at each level."""
        shape = self.domain.scaled_shape
        u = math.sqrt(1 + LARGEST**2) * noise.normal(*shape)
        yield u
        for step in range(self.sampling.steps):
            level = step * LEVELS // self.sampling.steps
            sigma = LARGEST * (self.sigma / LARGEST) ** (level / (LEVELS - 1))
            at = self._level(sigma, u)
            evaluation = evaluate(lambda v, at=at: self.levelled_energy(v, at), u)
            eta = self.step_size * (sigma / self.sigma) ** 2
            u = proposal(evaluation, eta, noise.normal(*shape))
            yield u

    def _level(self, sigma: float, u: Tensor) -> Tensor:
        return torch.full((len(u),), sigma, dtype=u.dtype, device=u.device)


def distinct_indices(noise: Noise, high: int) -> Int[Tensor, " B"]:
    """Draw for each row of a batch a number in [0, high), no two of a batch the same.

    So no two processes write the same row of a buffer, and none its own twice.

    Raises:
        BadInput: There are more rows than numbers.
    """
    parts = []
    for block in noise.blocks:
        if block.total > high:
            raise BadInput(
                f"a batch of {block.total} moves as many chains, and there are {high}; "
                f"give --chains {block.total} or more, or a smaller --batch."
            )
        generator = torch.Generator().manual_seed(mix(block.seed, "places"))
        parts.append(torch.randperm(high, generator=generator)[block.start : block.stop])
    return torch.cat(parts).to(noise.device)


def _half_square(u: Float[Tensor, "N ..."]) -> Float[Tensor, " N"]:
    return u.flatten(1).square().sum(1) / 2


def _refuse(condition: Condition | None) -> None:
    if condition is not None:
        raise BadInput(
            "this energy was trained without classes and cannot draw a given one; "
            "use it without a condition."
        )
