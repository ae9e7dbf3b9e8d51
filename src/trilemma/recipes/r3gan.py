"""R3GAN: the relativistic game with both penalties, on residual networks without normalisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.families.gan import Gan
from trilemma.maths.adversarial import LOSSES, PENALTIES, Ramp
from trilemma.networks.augment import DiffAugment
from trilemma.recipes.gan_networks import Game, players

__all__ = ["R3Gan"]

GAMMA = 0.02
"""The usual weight of the penalties, over the root of the number of coordinates."""


@dataclass(frozen=True, kw_only=True)
class R3Gan(Game):
    """Plays the paired game with R1 and R2, both falling with time, and samples in one pass."""

    name: ClassVar[str] = "r3gan"
    reference: ClassVar[str] = (
        "The GAN is dead; long live the GAN! A Modern Baseline GAN, Huang, Gokaslan, Kuleshov & "
        "Tompkin, 2024, arXiv:2501.05441"
    )

    lr: float = 2e-3
    """Peak learning rate of AdamW, for both players."""
    gamma: float = 0.0
    """Weight of R1 and of R2 at the start; 0: 0.02 times the root of the number of coordinates."""
    relax: float = 0.1
    """What is left of that weight in the end."""
    settle: float = 0.5
    """Share of training over which the weight falls and the augmentation comes."""
    every: int = 4
    """Updates of the critic from one penalty to the next, which is so much the heavier."""
    augmented: float = 0.55
    """Share of the rows that are changed in the end."""

    def game(self, domain: Domain, augment: DiffAugment | None) -> Gan:
        """Build the untrained game."""
        generator, critic = players(
            domain, self.latent, width=self.width, conditional=self.conditional
        )
        gamma = self.gamma or GAMMA * math.sqrt(domain.scaled_dimensions)
        return Gan(
            generator,
            critic,
            domain,
            self.latent,
            loss=LOSSES["rsgan"],
            penalty=PENALTIES["r1+r2"],
            gamma=Ramp(gamma, self.relax * gamma, over=self.settle),
            every=self.every,
            augment=augment,
            augment_share=Ramp(0.0, self.augmented, over=self.settle),
            conditional=self.conditional,
        )

    def refuse(self, domain: Domain) -> None:
        """Refuse numbers that make no sense."""
        if not 0 < self.settle <= 1:
            raise BadInput(f"--settle {self.settle:g} is a share of training, above 0, at most 1.")
        if self.augmented > 1:
            raise BadInput(f"--augmented {self.augmented:g} is a share of the rows, at most 1.")
