r"""Spaces: where a diffusion lives, and so what its standard normal noise is.

A space draws the noise and sums over its coordinates; samplers, schedules and predictions are
linear in x and noise and so stay within any linear space by themselves.

    Euclidean    R^d
    Centred      clouds of n points in R^3 with features: sum_i x_i = 0, and zeros in the place of
                 points that are not there. Its standard normal distribution is that of eps minus
                 its mean, which has 3 (n - 1) degrees of freedom and the density

        ln N(x; 0, s^2 I) = - |x|^2 / (2 s^2) - 3 (n - 1) / 2 ln(2 pi s^2)

                 with respect to the volume of the subspace. It is invariant under rotations and
                 reflections, and no distribution of clouds in all of R^3 is under translations.

References:
    Equivariant Flows: exact likelihood generative learning for symmetric densities (Köhler, Klein
    & Noé, 2020), arXiv:2006.02425: densities on the centred subspace.
    Equivariant Diffusion for Molecule Generation in 3D (Hoogeboom, Garcia Satorras, Vignac &
    Welling, 2022), arXiv:2203.17003.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Bool, Float
from torch import Tensor, cat

__all__ = ["Centred", "Draws", "Euclidean", "Space"]


class Draws(Protocol):
    """Whatever draws standard normal rows: `normal(*shape)` -> [rows, *shape]."""

    def normal(self, *shape: int) -> Tensor:
        """Draw."""
        ...


class Space(Protocol):
    """A linear space of states."""

    def masked(self, mask: Bool[Tensor, "B N"] | None) -> Space:
        """Return the space of states in which the points of this mask are there."""
        ...

    def normal(self, noise: Draws, shape: tuple[int, ...]) -> Float[Tensor, "B ..."]:
        """Draw from the space's standard normal distribution."""
        ...

    def total(
        self, each: Float[Tensor, "B ..."], at_zero: Callable[[], Float[Tensor, "B ..."]]
    ) -> Float[Tensor, " B"]:
        """Sum a term over the coordinates of the space.

        Arguments:
            each: The term in each coordinate of a state of the space, which has the form
                a + b u^2 in a coordinate u, with the same a and b in coordinates that the space
                ties together.
            at_zero: Gives the same where u = 0: a; asked where coordinates are tied alone.
        """
        ...


@dataclass(frozen=True)
class Euclidean:
    """All of R^d."""

    def masked(self, mask: Tensor | None) -> Euclidean:
        """Return the same space: all coordinates are there."""
        return self

    def normal(self, noise: Draws, shape: tuple[int, ...]) -> Float[Tensor, "B ..."]:
        """Draw independent coordinates."""
        return noise.normal(*shape)

    def total(
        self, each: Float[Tensor, "B ..."], at_zero: Callable[[], Float[Tensor, "B ..."]]
    ) -> Float[Tensor, " B"]:
        """Sum over all coordinates."""
        return each.flatten(1).sum(1)


@dataclass(frozen=True, eq=False)
class Centred:
    """Clouds of points without their translations: states [B, N, 3 + F], features after positions.

    Arguments:
        mask: Which points are there, [B, N]; None: all.
    """

    mask: Tensor | None = None

    def masked(self, mask: Bool[Tensor, "B N"] | None) -> Centred:
        """Return the space of clouds with these points."""
        return self if mask is None else Centred(mask)

    def normal(self, noise: Draws, shape: tuple[int, ...]) -> Float[Tensor, "B N D"]:
        """Draw positions whose mean is 0, and independent features."""
        return self.projected(noise.normal(*shape))

    def projected(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Return the nearest state of the space: the mean taken off, zeros where no point is."""
        mask = self._point_mask(x)
        positions = x[..., :3]
        mean = (positions * mask).sum(-2, keepdim=True) / mask.sum(-2, keepdim=True).clamp_min(1)
        return cat([positions - mean, x[..., 3:]], dim=-1) * mask

    def total(
        self, each: Float[Tensor, "B N D"], at_zero: Callable[[], Float[Tensor, "B N D"]]
    ) -> Float[Tensor, " B"]:
        """Sum over the points that are there, and take the three coordinates of the mean off."""
        mask = self._point_mask(each)
        tied = (at_zero()[..., :3] * mask).sum(-2) / mask.sum(-2).clamp_min(1)
        return (each * mask).flatten(1).sum(1) - tied.sum(1)

    def degrees(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, " B"]:
        """Return 3 (n - 1) + n F, the degrees of freedom of each state."""
        one = x.new_ones(()).expand_as(x)
        return self.total(one, lambda: one)

    def _point_mask(self, x: Tensor) -> Tensor:
        if self.mask is None:
            return x.new_ones(*x.shape[:-1], 1)
        return self.mask[..., None].to(x)
