r"""Spaces: where a diffusion lives, and so what its standard normal noise is.

A space draws the noise and brings states back into itself; samplers, schedules and predictions
are linear in x and noise and so stay within any linear space by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

__all__ = ["Draws", "Euclidean", "Space"]


class Draws(Protocol):
    """Whatever draws standard normal rows: `normal(*shape)` -> [rows, *shape]."""

    def normal(self, *shape: int) -> Tensor:
        """Draw."""
        ...


class Space(Protocol):
    """A linear space of states."""

    def normal(self, noise: Draws, shape: tuple[int, ...]) -> Float[Tensor, "B ..."]:
        """Draw from the space's standard normal distribution."""
        ...


@dataclass(frozen=True)
class Euclidean:
    """All of R^d."""

    def normal(self, noise: Draws, shape: tuple[int, ...]) -> Float[Tensor, "B ..."]:
        """Draw independent coordinates."""
        return noise.normal(*shape)
