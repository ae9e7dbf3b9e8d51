r"""What a diffusion says of examples: its variational bound, and the density of its flow.

Two likelihoods of the same denoiser, each named by how it was come by: the bound of the chain,
`variational`, and that of the probability flow, `probability_flow`.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.batch import Condition
from trilemma.core.noise import Noise
from trilemma.families.diffusion.bound import VariationalBound
from trilemma.families.diffusion.denoiser import Denoiser
from trilemma.families.diffusion.editing import Editable
from trilemma.families.diffusion.probability_flow import ProbabilityFlow
from trilemma.maths.broadcasting import per_row
from trilemma.maths.distributions import log_normal, per_example

__all__ = ["DiffusionLikelihood"]


class DiffusionLikelihood(Editable, ABC):
    """A model that walks from noise to data and knows how probable data are."""

    denoiser: Denoiser
    steps: int
    """T, steps of the bound's chain."""
    chain: int
    """T of the chain that it was trained on; 0 in continuous time."""
    variance: str
    """Of a step back, one of `variational.VARIANCES`."""

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

        Arguments:
            x: Data, in data units.
            condition: What x is, for ln p(x | c); None for ln p(x).
            noise: B rows.
            draws: Terms drawn between L_0 and L_T, each a network evaluation.
            spacing: How the chain's steps are spaced: 'information' or 'time'.
        """
        noise = Noise.fresh(len(x), x.device) if noise is None else noise
        return self.bounded(spacing, condition).estimate_bound(
            x, self._estimator(condition), noise, draws
        )

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
        return self.bounded(spacing, condition).terms(x, self._estimator(condition), noise)

    @torch.no_grad()
    def bound_over_noise(self, x: Tensor, *, draws: int, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return ln SNR of x_1 … x_T, [T], and about `bound_terms`, [B, T + 1], by few calls."""
        return self.bounded("information").over_noise(x, self._estimator(None), noise, draws)

    def bounded(self, spacing: str, condition: Condition | None = None) -> VariationalBound:
        """Return the bound of the model's chain, in the space of examples of a condition."""
        return VariationalBound(
            self.schedule,
            self.domain,
            self.space_of(condition),
            self.steps,
            self.variance,
            spacing,
            is_continuous=not self.chain,
        )

    def _estimator(
        self, condition: Condition | None
    ) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]:
        def estimate(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
            clean, v = self.denoiser.estimate(x, t, condition)
            return self.denoiser.cut(clean), v

        return estimate

    @torch.no_grad()
    def ode_log_prob(
        self, x: Tensor, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Float[Tensor, " B"]:
        """Return an estimate of a bound of ln p(x) in nats, by the density of the flow."""
        noise = Noise.fresh(len(x), x.device) if noise is None else noise
        bound, flow = self.bounded("information"), self.flow(condition)
        t = self.schedule.time_of(torch.tensor(flow.finest, dtype=torch.float64))
        y = self.domain.values.scale(x)
        eps = self.space.normal(noise, y.shape[1:])
        alpha, sigma = (per_row(number, y) for number in self.schedule(t))
        x_1 = alpha * y + sigma * eps
        spread = (2 * sigma.log()).expand_as(y)
        log_q = per_example(log_normal(x_1, alpha * y, spread))
        clean = self._estimator(condition)(x_1, t)[0]
        decoded = bound.decoded(x, clean, torch.tensor(flow.finest, dtype=torch.float64).exp())
        return self.domain.at_most_certain(flow.log_prob(x_1, noise) - log_q - decoded)

    def flow(self, condition: Condition | None = None) -> ProbabilityFlow:
        """Return the probability flow, from the noise at which the bound's chain begins."""
        steps = self.bounded("information").chain(torch.device("cpu"))
        finest = float(steps.snr[0].log())

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            return self.denoiser.cut(self.denoiser.estimate(x, t, condition)[0])

        return ProbabilityFlow(denoise, self.schedule, finest)
