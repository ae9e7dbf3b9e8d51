r"""Editing with a trained diffusion: codes, and samples that keep something of an example.

    code            the end of the probability flow from x; the way back gives x again
    between         a great circle between two codes, decoded: spheres are where noise lies
    completion      on the way from noise, each clean estimate takes x's place where x is known
    edit            noise up to a time in the middle of the way, and back from there: the later
                    the time, the less is kept

References:
    Denoising Diffusion Implicit Models, Song, Meng & Ermon, 2020 (arXiv:2010.02502): codes.
    Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, Wang, Yu & Zhang, 2022
    (arXiv:2212.00490): completion.
    SDEdit, Meng, He, Song, Song, Wu, Zhu & Ermon, 2021 (arXiv:2108.01073).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Model
from trilemma.core.noise import Noise
from trilemma.families.diffusion.probability_flow import ProbabilityFlow
from trilemma.maths.broadcasting import per_row
from trilemma.maths.diffusion.schedules import Schedule
from trilemma.maths.diffusion.spaces import Space

__all__ = ["Agreement", "Editable", "Step"]

Agreement = Callable[[Tensor, Condition | None], Tensor]
"""(clean estimate, scaled; condition) -> the estimate, agreeing with what is known."""


@dataclass(frozen=True)
class Step:
    """A place on the way from noise to data."""

    t: float
    state: Tensor
    """x_t, scaled."""
    clean: Tensor
    """E[x | x_t] by which this state was left, scaled; of the last state, the state itself."""


class Editable(Model[Examples, Tensor], ABC):
    """A model that walks from noise to data, by chance or by its flow."""

    domain: Domain
    schedule: Schedule
    space: Space

    @abstractmethod
    def trajectory(
        self,
        x: Tensor,
        times: Float[Tensor, " n"],
        condition: Condition | None,
        draws: Noise,
        agree: Agreement | None = None,
    ) -> Iterator[Step]:
        """Yield the state at each time, with the clean estimate by which it was left.

        Arguments:
            x: State at times[0], scaled; of any height and width that the network takes.
            times: Falling times.
            condition: What is sampled.
            draws: Source of what noise a sampler adds.
            agree: Brings clean estimates into agreement with what is known; None, the model's.
        """

    @abstractmethod
    def flow(self, condition: Condition | None = None) -> ProbabilityFlow:
        """Return the probability flow, from the noise at which the bound's chain begins."""

    @abstractmethod
    def times(self) -> Float[Tensor, " n"]:
        """Return the times of a sample's way."""

    @abstractmethod
    def space_of(self, condition: Condition | None) -> Space:
        """Return the space of examples of a condition."""

    @abstractmethod
    def resolve_condition(self, condition: Condition | None, noise: Noise) -> Condition | None:
        """Return the condition, or for None one drawn as the data have it."""

    @torch.no_grad()
    def encode(self, x: Tensor, *, noise: Noise | None = None) -> Float[Tensor, "B Z"]:
        """Return the codes of examples by the probability flow, which has no chance in it."""
        return self.flow().noise_of(self.domain.values.scale(x)).flatten(1)

    @torch.no_grad()
    def decode(self, z: Float[Tensor, "B Z"]) -> Tensor:
        """Return the examples of codes, in data units."""
        y = self.flow().data_of(z.unflatten(1, self.domain.scaled_shape))
        return self.domain.values.unscale(y)

    @torch.no_grad()
    def between(
        self, a: Tensor, b: Tensor, count: int, *, condition: Condition | None = None
    ) -> Tensor:
        """Return [count, B, *shape] from a to b, along great circles of their codes."""
        flow, scale = self.flow(condition), self.domain.values.scale
        codes = [flow.noise_of(scale(x)).flatten(1) for x in (a, b)]
        u, v = (z / z.norm(dim=1, keepdim=True) for z in codes)
        angle = (u * v).sum(1, keepdim=True).clamp(-1, 1).acos().clamp(min=1e-4)
        latents = []
        for fraction in torch.linspace(0, 1, count).tolist():
            parts = ((1 - fraction) * angle).sin(), (fraction * angle).sin()
            latents.append((parts[0] * codes[0] + parts[1] * codes[1]) / angle.sin())
        y = flow.data_of(torch.cat(latents).unflatten(1, self.domain.scaled_shape))
        return self.domain.values.unscale(y).unflatten(0, (count, len(a)))

    @torch.no_grad()
    def complete(
        self,
        x: Tensor,
        mask: Tensor,
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Tensor:
        """Return examples that equal x, [B, *shape] in data units, where `mask` is true.

        On the way each clean estimate takes x's place where x is given, so that the rest is
        drawn to fit.
        """
        noise = Noise.fresh(len(x), x.device) if noise is None else noise
        scaled_x = self.domain.values.scale(x)

        def agree(clean: Tensor, _: Condition | None) -> Tensor:
            return torch.where(mask, scaled_x, clean)

        samples = self.inpaint(agree, condition=condition, noise=noise)
        return torch.where(mask, x, samples)

    @torch.no_grad()
    def inpaint(
        self, agree: Agreement, *, condition: Condition | None = None, noise: Noise
    ) -> Tensor:
        """Return samples in data units on whose way clean estimates agree with what is known.

        Arguments:
            agree: Brings each clean estimate into agreement.
            condition: What is sampled; None draws it as the data have it.
            noise: A row a sample.
        """
        draws, times = noise.named("state"), self.times()
        condition = self.resolve_condition(condition, noise)
        state = self.space_of(condition).normal(draws, self.domain.scaled_shape)
        state = state * float(self.schedule(times[0])[1])
        steps = self.trajectory(state, times, condition, draws, agree)
        return self.domain.values.unscale(deque(steps, maxlen=1).pop().state)

    @torch.no_grad()
    def edit(
        self,
        x: Tensor,
        strength: float,
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Tensor:
        """Return x after noise up to time `strength`, in (0, 1], and the way back."""
        if not 0 < strength <= 1:
            raise BadInput(f"strength {strength:g} was given; it is a time above 0 and up to 1.")
        noise = Noise.fresh(len(x), x.device) if noise is None else noise
        draws, y = noise.named("state"), self.domain.values.scale(x)
        eps = self.space.normal(draws, self.domain.scaled_shape)
        times = self.times()
        start = torch.tensor([strength], dtype=torch.float64)
        alpha, sigma = (per_row(number, y) for number in self.schedule(start[0]))
        times = torch.cat([start, times[times < strength - 1e-9]])
        steps = self.trajectory(
            alpha * y + sigma * eps, times, self.resolve_condition(condition, noise), draws
        )
        return self.domain.values.unscale(deque(steps, maxlen=1).pop().state)
