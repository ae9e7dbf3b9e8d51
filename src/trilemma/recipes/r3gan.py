"""R3GAN: the relativistic game with both penalties, on residual networks without normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Model, Stage
from trilemma.data.dataset import DataSet
from trilemma.families.gan import Gan
from trilemma.maths.adversarial import LOSSES, PENALTIES, Ramp
from trilemma.recipes.players import augmentation, players, started
from trilemma.recipes.recipe import Recipe, classes_told

__all__ = ["R3Gan"]

GAMMA = 0.02
"""The usual weight of the penalties, over the root of the number of coordinates."""


@dataclass(frozen=True, kw_only=True)
class R3Gan(Recipe):
    """Plays the paired game with R1 and R2, both falling with time, and samples in one pass."""

    name: ClassVar[str] = "r3gan"
    family: ClassVar[str] = "gan"
    reference: ClassVar[str] = (
        "The GAN is dead; long live the GAN! A Modern Baseline GAN, Huang, Gokaslan, Kuleshov & "
        "Tompkin, 2024, arXiv:2501.05441"
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
    """Channels at the finest inner size, or units for points; 0: 32, 16 below 16 pixels, 128."""
    gamma: float = 0.0
    """Weight of R1 and of R2 at the start; 0: 0.02 times the root of the number of coordinates."""
    relax: float = 0.1
    """What is left of that weight in the end."""
    settle: float = 0.5
    """Share of training over which the weight falls and the augmentation comes."""
    every: int = 4
    """Updates of the critic from one penalty to the next, which is so much the heavier."""
    augment: str = "none"
    """Changes made to real and fake alike: colour, translation, cutout, joined by +."""
    augmented: float = 0.55
    """Share of the rows that are changed in the end."""
    conditional: bool = False
    """Whether the players are told the class."""

    def model(self, domain: Domain) -> Model:
        """Build the untrained model."""
        self.refuse(domain)
        generator, critic = players(
            domain, self.latent, width=self.width, conditional=self.conditional
        )
        gamma = self.gamma or GAMMA * math.sqrt(domain.dimensions)
        return Gan(
            generator,
            critic,
            domain,
            self.latent,
            loss=LOSSES["rsgan"],
            penalty=PENALTIES["r1+r2"],
            gamma=Ramp(gamma, self.relax * gamma, over=self.settle),
            every=self.every,
            augment=augmentation(self.augment, domain),
            augment_share=Ramp(0.0, self.augmented, over=self.settle),
            conditional=self.conditional,
        )

    def stages(self, model: Model, data: DataSet, seed: int) -> Sequence[Stage]:
        """Return the one stage, which begins by looking at the data's background."""
        return started(model, data, self.batch, seed)

    def check(self, domain: Domain) -> None:
        """Refuse data that do not fit, and numbers that make no sense."""
        super().check(domain)
        self.refuse(domain)

    def refuse(self, domain: Domain) -> None:
        """Refuse numbers that make no sense."""
        if not 0 < self.settle <= 1:
            raise BadInput(f"--settle {self.settle:g} is a share of training, above 0, at most 1.")
        if self.augmented > 1:
            raise BadInput(f"--augmented {self.augmented:g} is a share of the rows, at most 1.")
        classes_told(domain, self.conditional)
        augmentation(self.augment, domain)
