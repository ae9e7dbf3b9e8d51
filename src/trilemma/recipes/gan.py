"""The generative adversarial network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from trilemma.core.domain import Domain
from trilemma.core.model import Model
from trilemma.families.gan import Gan
from trilemma.maths.adversarial import LOSSES
from trilemma.networks.adversarial import (
    ImageCritic,
    ImageGenerator,
    PointCritic,
    PointGenerator,
)
from trilemma.recipes.recipe import Plot, Recipe

__all__ = ["AdversarialNet"]


@dataclass(frozen=True, kw_only=True)
class AdversarialNet(Recipe):
    """Trains a generator against a critic whose slope is kept small, and samples in one pass."""

    name: ClassVar[str] = "gan"
    family: ClassVar[str] = "gan"
    reference: ClassVar[str] = (
        "Generative Adversarial Networks, Goodfellow et al., 2014, arXiv:1406.2661"
    )
    betas: ClassVar[tuple[float, float]] = (0.0, 0.99)

    batch: int = 64
    """Examples an update, over all devices and accumulated parts together."""
    lr: float = 1e-3
    """Peak learning rate of AdamW, for both players."""
    ema: float = 0.998
    """Decay of the averaged weights; it warms up as (1 + k) / (10 + k)."""

    latent: int = 64
    """Width of the generator's noise."""
    width: int = 0
    """Channels at the finest inner size, or units of a layer for points; 0: 16, 32 or 128."""
    depth: int = 0
    """Residual blocks at each size, or hidden layers for points; 0: 1 or 3."""
    loss: Literal["ns", "saturating"] = "ns"
    """What the players make small."""
    gamma: float = 0.08
    """Weight of R1 on the critic's slope, times the root of the number of coordinates."""
    critic_steps: int = 1
    """Updates of the critic for each of the generator."""

    def model(self, domain: Domain) -> Model:
        """Build the untrained model."""
        generator, critic = self.players(domain)
        return Gan(
            generator,
            critic,
            domain,
            self.latent,
            loss=LOSSES[self.loss],
            # Weights that served 2, 64 and 784 coordinates well were 0.1, 0.6 and 2.4.
            gamma=self.gamma * math.sqrt(domain.dimensions),
            critic_steps=self.critic_steps,
        )

    @classmethod
    def plots(cls) -> Mapping[str, Plot]:
        """Return the lecture's two plots: each player's loss against the critic's score."""
        score = torch.linspace(-5, 5, 201)
        nought = torch.zeros_like(score)
        critic, generator = {}, {}
        for name, loss in LOSSES.items():
            if name != "saturating":  # its critic's loss is that of ns
                critic[f"{name}, real"] = (loss.critic(score, nought - 1e4)).tolist()
                critic[f"{name}, fake"] = (loss.critic(nought + 1e4, score)).tolist()
            generator[name] = loss.generator(score, nought).tolist()
        x, across = score.tolist(), "score of the critic, D"
        return {
            "critic": Plot(x, critic, across, "loss of the critic"),
            "generator": Plot(x, generator, across, "loss of the generator"),
        }

    def players(self, domain: Domain) -> tuple[nn.Module, nn.Module]:
        """Return a generator and a critic for the domain."""
        if domain.kind == "points":
            size = {"width": self.width or 128, "depth": self.depth or 3}
            generator = PointGenerator(self.latent, domain.shape, **size)
            return generator, PointCritic(domain.shape, **size)
        channels, height, across = domain.shape
        shape = (channels, height, across)
        size = {"width": self.width or (32 if min(shape[1:]) >= 16 else 16)}
        size["depth"] = self.depth or 1
        return ImageGenerator(self.latent, shape, **size), ImageCritic(shape, **size)
