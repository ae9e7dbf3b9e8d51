"""The gated PixelCNN over cells of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Model
from trilemma.families.autoregressive import Autoregressive, head
from trilemma.networks.pixelcnn import CellPerceptron, ConvolutionalTrunk
from trilemma.recipes.recipe import Recipe, conditional_classes

__all__ = ["PixelCnn"]


@dataclass(frozen=True, kw_only=True)
class PixelCnn(Recipe):
    """Trains causal convolutions by the exact likelihood, and samples with a cache."""

    name: ClassVar[str] = "pixelcnn"
    family: ClassVar[str] = "autoregressive"
    reference: ClassVar[str] = (
        "Conditional Image Generation with PixelCNN Decoders, van den Oord et al., 2016, "
        "arXiv:1606.05328; PixelCNN++, Salimans et al., 2017, arXiv:1701.05517"
    )
    kinds: ClassVar[tuple[str, ...]] = ("image",)

    batch: int = 0
    """Examples an update, over all devices and accumulated parts together; 0: 32 for images of at
    most 16 pixels a side, else 128."""

    betas: ClassVar[tuple[float, float]] = (0.9, 0.99)

    lr: float = 2e-3
    """Peak learning rate of AdamW."""
    head: Literal["auto", "bernoulli", "categorical", "mixture"] = "auto"
    """Of one number; auto: bernoulli on 2 levels, categorical up to 32, mixture above."""
    components: int = 5
    """Logistics in the mixture."""
    patch: int = 0
    """Side of a cell in pixels; 0: 2 where the sides are even and 24 or more, else 1."""
    width: int = 64
    """Channels of each of the two streams."""
    blocks: int = 3
    """Residual blocks; each sees a row of cells further up."""
    cell_width: int = 32
    """Hidden units for each number of a cell."""
    conditional: bool = False
    """Whether it is conditioned on the class, hidden from a tenth of the training examples."""

    def model(self, domain: Domain) -> Model:
        """Build the untrained model."""
        self.check(domain)
        if min(self.width, self.blocks, self.cell_width) < 1 or self.patch < 0:
            raise BadInput(
                f"width {self.width}, blocks {self.blocks}, cell width {self.cell_width} and "
                f"patch {self.patch} were given; give 1 or more of the first three, and 0 or "
                "more for the patch."
            )
        classes = conditional_classes(domain, self.conditional)
        distribution = head(self.head, domain, components=self.components)
        channels, height, width = domain.shape
        even = min(height, width) >= 24 and height % 2 == width % 2 == 0
        patch = self.patch or (2 if even else 1)
        numbers = channels * patch**2
        trunk = ConvolutionalTrunk(
            numbers,
            (height // patch, width // patch),
            width=self.width,
            blocks=self.blocks,
            classes=classes,
        )
        cell = CellPerceptron(self.width, numbers, distribution.parameters, units=self.cell_width)
        return Autoregressive(trunk, cell, distribution, domain, patch)
