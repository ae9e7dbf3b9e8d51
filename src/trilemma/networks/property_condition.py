"""A property as a condition: the numbers that condition a network on a wanted value.

    ((c - mean) / deviation, 1)    where a property c is wanted
    (0, 0)                         where nothing is said

with mean and deviation of the training data. They are the same for every point of a cloud and for
every pose of it, so that an equivariant network that is shown them stays equivariant.

References:
    Classifier-Free Diffusion Guidance (Ho & Salimans, 2022), arXiv:2207.12598.
    Equivariant Diffusion for Molecule Generation in 3D (Hoogeboom, Garcia Satorras, Vignac &
    Welling, 2022), arXiv:2203.17003, section 5.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.batch import Condition

__all__ = ["PropertyCondition"]


class PropertyCondition(nn.Module):
    """Wanted properties to numbers of about 1, and zeros where nothing is said.

    Arguments:
        mean: Of each of P properties over the training data, in its unit.
        deviation: Standard deviation of each, above 0.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))

    @property
    def width(self) -> int:
        """Return how many numbers there are of each row, P + 1."""
        return len(self.mean) + 1

    def forward(self, condition: Condition | None, x: Tensor) -> Float[Tensor, "B Q"]:
        """Return the numbers of each row.

        Arguments:
            condition: With properties in their units, [B, P], or without.
            x: States whose rows, type and device are meant, [B, ...].
        """
        if condition is None or condition.properties is None:
            return x.new_zeros(len(x), self.width)
        standardised = (condition.properties.to(self.mean) - self.mean) / self.deviation
        present = standardised.new_ones(len(x), 1)
        if condition.present is not None:
            present = condition.present[:, None].to(standardised)
        return torch.cat([standardised * present, present], dim=1).to(x)
