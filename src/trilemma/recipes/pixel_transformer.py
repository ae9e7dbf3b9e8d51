"""The causal transformer over cells of pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Model
from trilemma.families.autoregressive import Autoregressive, head
from trilemma.networks.pixelcnn import CellPerceptron
from trilemma.networks.transformer import CausalTransformer
from trilemma.recipes.recipe import Recipe, conditional_classes

__all__ = ["PixelTransformer"]

CELLS = 100
"""About as many cells as a processor can attend to; more only where patches of 4 leave more."""


@dataclass(frozen=True, kw_only=True)
class PixelTransformer(Recipe):
    """Trains a causal transformer by the exact likelihood, and samples with a cache."""

    name: ClassVar[str] = "pixel-transformer"
    family: ClassVar[str] = "autoregressive"
    reference: ClassVar[str] = (
        "Generative Pretraining from Pixels, Chen et al., 2020, ICML; "
        "Image Transformer, Parmar et al., 2018, arXiv:1802.05751"
    )
    kinds: ClassVar[tuple[str, ...]] = ("image",)

    batch: int = 0
    """Examples an update, over all devices and accumulated parts together; 0: 32 for images of at
    most 16 pixels a side, else 128."""

    lr: float = 3e-3
    """Peak learning rate of AdamW."""
    patch: int = 0
    """Side of a cell in pixels; 0: the smallest that leaves 100 cells, and at most 4."""
    width: int = 0
    """Numbers of a token; 0: 64 below 24 pixels, 128 from there."""
    depth: int = 4
    """Blocks of attention and perceptron."""
    heads: int = 4
    """Heads of the attention; width / heads is a multiple of 4."""
    head: Literal["auto", "bernoulli", "categorical", "mixture"] = "auto"
    """Of one number; auto: bernoulli on 2 levels, categorical up to 32, mixture above."""
    components: int = 5
    """Logistics in the mixture."""
    cell_width: int = 0
    """Hidden units for each number of a cell; 0: 384 for all of them together, but 8 to 48."""
    conditional: bool = False
    """Whether it is conditioned on the class, hidden from a tenth of the training examples."""

    def model(self, domain: Domain) -> Model:
        """Build the untrained model."""
        self.check(domain)
        if min(self.depth, self.heads) < 1 or min(self.patch, self.width, self.cell_width) < 0:
            raise BadInput(
                f"depth {self.depth}, heads {self.heads}, patch {self.patch}, width {self.width} "
                f"and cell width {self.cell_width} were given; give 1 or more of the first two, "
                "and 0 or more of the others."
            )
        classes = conditional_classes(domain, self.conditional)
        distribution = head(self.head, domain, components=self.components)
        channels, height, width = domain.shape
        patch = self.patch or _patch(height, width)
        trunk = CausalTransformer(
            channels * patch**2,
            (height // patch, width // patch),
            width=self.width or (64 if min(height, width) < 24 else 128),
            depth=self.depth,
            heads=self.heads,
            classes=classes,
        )
        units = self.cell_width or min(48, max(8, 384 // trunk.numbers))
        cell = CellPerceptron(trunk.width, trunk.numbers, distribution.parameters, units=units)
        return Autoregressive(trunk, cell, distribution, domain, patch)


def _patch(height: int, width: int) -> int:
    """Return the smallest side of a cell that leaves `CELLS` or fewer, or the largest up to 4."""
    sides = [p for p in (1, 2, 3, 4) if math.gcd(height, width) % p == 0]
    allowed_sides = [p for p in sides if height * width <= CELLS * p * p]
    return min(allowed_sides, default=max(sides))
