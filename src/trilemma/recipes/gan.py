"""The generative adversarial network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

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
from trilemma.recipes.recipe import Recipe

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
    lr: float = 2e-3
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
    gamma: float = 0.02
    """Weight of the penalty R1 on the critic's slope, for each coordinate of an example."""
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
            # The distance between examples grows as the root of their number of coordinates,
            # and the slope of a critic that tells them apart falls with it.
            gamma=self.gamma * domain.dimensions,
            critic_steps=self.critic_steps,
        )

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
