r"""Affine couplings, and flows made of them: Glow's, and those of Real NVP.

    step of Glow    ActNorm -> 1x1 convolution -> affine coupling
    coupling        half a of the numbers stays, and says how half b is stretched and shifted
    levels          squeeze -> steps -> half of the channels leaves as z, told apart from noise by
                    a normal distribution around what the other half expects

Real NVP has no 1x1 convolutions; its halves are the squares of a chessboard before the squeeze
and the channels after it, taken by turns. The last layer of each coupling's network starts at
zero, so that every step starts as ActNorm and a rotation.

References:
    Density estimation using Real NVP (Dinh, Sohl-Dickstein & Bengio, 2017), arXiv:1605.08803
    Glow (Kingma & Dhariwal, 2018), https://arxiv.org/abs/1807.03039
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from trilemma.maths.transforms import (
    Bijection,
    affine,
    affine_inverse,
    bounded,
    exact,
)
from trilemma.networks.layers import zero_init

__all__ = [
    "AffineCoupling",
    "BijectionChain",
    "Convolutions",
    "MultiScale",
]


class Convolutions(nn.Module):
    """The small network of an image's coupling: 3x3, 1x1, 3x3; it starts by giving zeros.

    Arguments:
        inputs: Channels that it sees.
        outputs: Numbers that it gives for each place.
        width: Channels inside.
        condition: Width of the condition; 0 for none.
        per_position: Whether the condition is a map, [B, E, H, W], and not a vector, [B, E].
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int,
        condition: int = 0,
        per_position: bool = False,
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.middle = nn.Conv2d(width, width, 1)
        self.last = zero_init(nn.Conv2d(width, outputs, 3, padding=1))
        self.cond_layer: nn.Module | None = None
        if condition:
            self.cond_layer = (
                nn.Conv2d(condition, width, 1) if per_position else nn.Linear(condition, width)
            )

    def forward(
        self, h: Float[Tensor, "B C H W"], cond: Tensor | None = None
    ) -> Float[Tensor, "B D H W"]:
        """Return [B, outputs, H, W]."""
        h = self.first(h)
        if self.cond_layer is not None:
            extra = self.cond_layer(cond)
            h = h + (extra if extra.dim() == 4 else extra[:, :, None, None])
        h = functional.silu(h)
        h = h + self.middle(h)
        return self.last(functional.silu(h))


class AffineCoupling(Bijection):
    """One half stays and tells a network how the other is stretched and shifted.

    Arguments:
        network: What stays, and the condition, to shift and raw log-scale, twice the channels of
            the other half; its last layer, named `last`, is set to zero.
        identity_channels: Channels that stay as they are.
        flip: Whether the last channels, or the other squares, stay in place of the first.
        chessboard: Whether the halves are squares of a chessboard in place of channels; the
            network then sees all channels, with zeros where it may not look.
        bound: c, beyond which no log-scale goes.
    """

    def __init__(
        self,
        network: nn.Module,
        identity_channels: int,
        *,
        flip: bool = False,
        chessboard: bool = False,
        bound: float = 2.0,
    ) -> None:
        super().__init__()
        self.network, self.identity_channels, self.flip = network, identity_channels, flip
        self.chessboard, self.bound = chessboard, bound
        zero_init(network.get_submodule("last"))

    def forward(
        self, y: Tensor, cond: Tensor | None = None
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, " B"]]:
        """Return a half that stays and one that was stretched and shifted."""
        y = exact(y)
        if self.chessboard:
            return affine(y, *self._on_squares(y, cond))
        a, b = self._halves(y)
        b, log_det = affine(b, *self._terms(a, cond))
        return self._join(a, b), log_det

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Float[Tensor, "B ..."]:
        """Undo it: the half that stayed says how."""
        z = exact(z)
        if self.chessboard:
            return affine_inverse(z, *self._on_squares(z, cond))
        a, b = self._halves(z)
        return self._join(a, affine_inverse(b, *self._terms(a, cond)))

    def _terms(self, a: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        shift, raw = exact(self.network(a, cond)).to(a.dtype).chunk(2, 1)
        return shift, bounded(raw, self.bound)

    def _on_squares(self, y: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return shift and log-scale, zero on the squares that stay."""
        rows, columns = (torch.arange(n, device=y.device) for n in y.shape[-2:])
        stays = (rows[:, None] + columns + self.flip) % 2 == 0
        shift, log_scale = self._terms(torch.where(stays, y, 0.0), cond)
        return torch.where(stays, 0.0, shift), torch.where(stays, 0.0, log_scale)

    def _halves(self, y: Tensor) -> tuple[Tensor, Tensor]:
        if self.flip:
            split_index = y.shape[1] - self.identity_channels
            return y[:, split_index:], y[:, :split_index]
        return y[:, : self.identity_channels], y[:, self.identity_channels :]

    def _join(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([b, a] if self.flip else [a, b], 1)


class BijectionChain(Bijection):
    """Bijections one after another."""

    def __init__(self, layers: Iterable[Bijection]) -> None:
        super().__init__()
        self.layers: Sequence[Bijection] = nn.ModuleList(layers)  # type: ignore[assignment]

    def forward(
        self, y: Tensor, cond: Tensor | None = None
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, " B"]]:
        """Return what the last gives, and the sum of the log-determinants."""
        total = exact(y).new_zeros(len(y))
        for layer in self.layers:
            y, log_det = layer(y, cond)
            total = total + log_det
        return y, total

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Float[Tensor, "B ..."]:
        """Undo them from the last to the first."""
        for layer in reversed(self.layers):
            z = layer.inverse(z, cond)
        return z

    @property
    def depth(self) -> int:
        """Return the number of layers, those inside of layers counted."""
        return sum(layer.depth for layer in self.layers)

    def round_trip(self, y: Tensor, depth: int, cond: Tensor | None = None) -> Tensor:
        """Return y after the first `depth` layers and back."""
        applied_layers: list[Bijection] = []
        for layer in self.layers:
            if depth < layer.depth:
                y = layer.round_trip(y, depth, cond)
                break
            y, depth = layer(y, cond)[0], depth - layer.depth
            applied_layers.append(layer)
        for layer in reversed(applied_layers):
            y = layer.inverse(y, cond)
        return y

    def start(self, y: Tensor, cond: Tensor | None = None) -> Tensor:
        """Start each layer from what the one before gives."""
        for layer in self.layers:
            y = layer.start(y, cond)
        return y


class MultiScale(Bijection):
    """Levels, after each of which but the last half of the channels leaves; z is flat.

    What leaves should be normal by then: let a level end with a coupling that keeps the first
    half, and the second leaves as what is left of it beside N(mu(first), sigma(first)^2).

    Arguments:
        levels: Each gives an even number of channels.
        shapes: What each gives, (C, H, W).
    """

    def __init__(
        self, levels: Iterable[Bijection], shapes: Sequence[tuple[int, int, int]]
    ) -> None:
        super().__init__()
        self.levels: Sequence[Bijection] = nn.ModuleList(levels)  # type: ignore[assignment]
        self.shapes = [(c // 2, h, w) for c, h, w in shapes[:-1]] + [shapes[-1]]

    def forward(
        self, y: Tensor, cond: Tensor | None = None
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, " B"]]:
        """Return z, flat, what left first in front."""
        total, latents = exact(y).new_zeros(len(y)), []
        for level in self.levels:
            y, log_det = level(y, cond)
            total = total + log_det
            if level is not self.levels[-1]:
                y, factored_out = y.chunk(2, 1)
                latents.append(factored_out.flatten(1))
        return torch.cat([*latents, y.flatten(1)], 1), total

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Float[Tensor, "B C H W"]:
        """Return images."""
        sizes = [c * h * w for c, h, w in self.shapes]
        parts = [p.unflatten(1, s) for p, s in zip(z.split(sizes, 1), self.shapes, strict=True)]
        y = self.levels[-1].inverse(parts[-1], cond)
        for level, part in zip(self.levels[-2::-1], parts[-2::-1], strict=True):
            y = level.inverse(torch.cat([y, part], 1), cond)
        return y

    @property
    def depth(self) -> int:
        """Return the number of layers."""
        return sum(level.depth for level in self.levels)

    def round_trip(self, y: Tensor, depth: int, cond: Tensor | None = None) -> Tensor:
        """Return y after the first `depth` layers and back."""
        applied_levels: list[tuple[Bijection, Tensor]] = []
        for level in self.levels:
            if depth <= level.depth:
                y = level.round_trip(y, depth, cond)
                break
            (y, factored_out), depth = level(y, cond)[0].chunk(2, 1), depth - level.depth
            applied_levels.append((level, factored_out))
        for level, factored_out in reversed(applied_levels):
            y = level.inverse(torch.cat([y, factored_out], 1), cond)
        return y

    def start(self, y: Tensor, cond: Tensor | None = None) -> Tensor:
        """Start each level from what stays of the one before."""
        latents = []
        for level in self.levels:
            y = level.start(y, cond)
            if level is not self.levels[-1]:
                y, factored_out = y.chunk(2, 1)
                latents.append(factored_out.flatten(1))
        return torch.cat([*latents, y.flatten(1)], 1)
