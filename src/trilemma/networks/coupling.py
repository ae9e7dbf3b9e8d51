r"""Layers of flows with affine couplings: Glow's, and those of Real NVP.

    step of Glow    ActNorm -> 1x1 convolution -> affine coupling
    ActNorm         z = (y + b) e^s, a pair for each channel; from data, mean 0 and spread 1
    1x1 convolution z = P L (U + diag s) y at each place: a learned, invertible mixing of channels
    coupling        half a of the numbers stays, and says how half b is stretched and shifted
    levels          squeeze -> steps -> half of the channels leaves as z, told apart from noise by
                    a normal distribution around what the other half expects

Real NVP has no 1x1 convolutions; its halves are the squares of a chessboard before the squeeze
and the channels after it, taken by turns. The last layer of each coupling's network starts at
zero, so that every step starts as ActNorm and a rotation. Matrices and log-determinants stay in
float32 under autocast; triangular factors are multiplied, or solved, once a call.

References:
    Density estimation using Real NVP (Dinh, Sohl-Dickstein & Bengio, 2017), arXiv:1605.08803
    Glow (Kingma & Dhariwal, 2018), https://arxiv.org/abs/1807.03039
"""

from __future__ import annotations

import math
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
    logit,
    logit_inverse,
    lu_factors,
    lu_inverse,
    lu_log_det,
    lu_matrix,
    piecewise,
    piecewise_inverse,
    squeeze,
    unsqueeze,
)

__all__ = [
    "ActNorm",
    "AffineCoupling",
    "Chain",
    "Convolutions",
    "Invertible1x1",
    "Logit",
    "Marginals",
    "MultiScale",
    "Permutation",
    "Squeeze",
    "Unsqueeze",
]


class ActNorm(Bijection):
    """A shift and a scale for each channel; the identity until it is started or trained."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))

    def forward(
        self, y: Tensor, told: Tensor | None = None
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, " B"]]:
        """Return (y + b) e^s."""
        b, s = _by_channel(self.bias, y), _by_channel(self.log_scale, y)
        return (y + b) * s.exp(), (_places(y) * self.log_scale.sum()).expand(len(y))

    def inverse(self, z: Tensor, told: Tensor | None = None) -> Float[Tensor, "B ..."]:
        """Undo it."""
        return z * _by_channel(-self.log_scale, z).exp() - _by_channel(self.bias, z)

    def start(self, y: Tensor, told: Tensor | None = None) -> Tensor:
        """Let each channel of z have mean 0 and spread 1; one without spread is not scaled."""
        flat = y.transpose(0, 1).flatten(1)
        spread = flat.std(1)
        self.bias.copy_(-flat.mean(1))
        self.log_scale.copy_(-torch.where(spread > 1e-4, spread, 1.0).log())
        return self(y)[0]


class Invertible1x1(Bijection):
    """A matrix W = P L (U + diag s) over the channels; it starts as a random rotation.

    The signs of s stay what they were at the start, and P too: |det| cannot come to nought.
    """

    p: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        p, lower, upper, s = lu_factors(torch.linalg.qr(torch.randn(channels, channels))[0])
        self.register_buffer("p", p)
        self.register_buffer("sign", s.sign())
        self.lower, self.upper = nn.Parameter(lower), nn.Parameter(upper)
        self.log_s = nn.Parameter(s.abs().log())

    def forward(
        self, y: Tensor, told: Tensor | None = None
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, " B"]]:
        """Return W y at each place."""
        with torch.autocast(y.device.type, enabled=False):
            w = lu_matrix(self.p, self.lower, self.upper, self.sign * self.log_s.exp())
            return _mixed(y, w), lu_log_det(self.log_s, _places(y)).expand(len(y))

    def inverse(self, z: Tensor, told: Tensor | None = None) -> Float[Tensor, "B ..."]:
        """Return W^-1 z at each place."""
        with torch.autocast(z.device.type, enabled=False):
            s = self.sign * self.log_s.exp()
            return _mixed(z, lu_inverse(self.p, self.lower, self.upper, s))


class Permutation(Bijection):
    """A fixed shuffle of the channels, all in one cycle, so that none stays where it is."""

    order: Tensor
    back: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        cycle = torch.randperm(channels)
        order = torch.empty_like(cycle).scatter_(0, cycle, cycle.roll(1))
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())

    def forward(
        self, y: Tensor, told: Tensor | None = None
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, " B"]]:
        """Return the channels in another order."""
        return y[:, self.order], y.new_zeros(len(y))

    def inverse(self, z: Tensor, told: Tensor | None = None) -> Float[Tensor, "B ..."]:
        """Put them back."""
        return z[:, self.back]


class Squeeze(Bijection):
    """Each 2 x 2 pixels become four channels."""

    def forward(
        self, y: Tensor, told: Tensor | None = None
    ) -> tuple[Float[Tensor, "B D h w"], Float[Tensor, " B"]]:
        """Return [B, 4 C, H/2, W/2]."""
        return squeeze(y), y.new_zeros(len(y))

    def inverse(self, z: Tensor, told: Tensor | None = None) -> Float[Tensor, "B C H W"]:
        """Return [B, C, H, W]."""
        return unsqueeze(z)


class Unsqueeze(Bijection):
    """Four channels become 2 x 2 pixels."""

    def forward(
        self, y: Tensor, told: Tensor | None = None
    ) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, " B"]]:
        """Return [B, C / 4, 2 H, 2 W]."""
        return unsqueeze(y), y.new_zeros(len(y))

    def inverse(self, z: Tensor, told: Tensor | None = None) -> Float[Tensor, "B D h w"]:
        """Return [B, C, H, W]."""
        return squeeze(z)


class Logit(Bijection):
    """Takes values of [-1, 1] to the real line.

    Arguments:
        alpha: How far the ends are drawn in, so that their logits are finite.
    """

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(
        self, y: Tensor, told: Tensor | None = None
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, " B"]]:
        """Return the logit."""
        return logit(exact(y), self.alpha)

    def inverse(self, z: Tensor, told: Tensor | None = None) -> Float[Tensor, "B ..."]:
        """Return values of [-1, 1], or beyond by the little that `alpha` lets through."""
        return logit_inverse(z, self.alpha)


class Marginals(Bijection):
    """Takes each channel's values, of [-1, 1], to the standard normal: z = Phi^-1(F(y)).

    F is a distribution function with linear pieces, which are learned; it starts from the
    histogram of the data, and without it from even pieces. Then the spike that an image's
    background is, one bin wide, has been stretched before the first coupling sees it.

    Arguments:
        channels: C; each has its own F.
        bins: Pieces; for data on levels, one for each.
    """

    edge = 1e-5
    """Share drawn in at both ends: |z| never exceeds 4.27, and larger z are that end's."""

    def __init__(self, channels: int, bins: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(channels, bins))

    def forward(
        self, y: Tensor, told: Tensor | None = None
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, " B"]]:
        """Return normal numbers."""
        p, log_slope = piecewise(exact(y), self.logits.softmax(1))
        z = torch.special.ndtri(self.edge + (1 - 2 * self.edge) * p)
        log_slope = log_slope + z.square() / 2
        constant = math.log((1 - 2 * self.edge) * math.sqrt(2 * math.pi))
        return z, log_slope.flatten(1).sum(1) + constant * y[0].numel()

    def inverse(self, z: Tensor, told: Tensor | None = None) -> Float[Tensor, "B ..."]:
        """Return values of [-1, 1]."""
        p = (torch.special.ndtr(exact(z)) - self.edge) / (1 - 2 * self.edge)
        return piecewise_inverse(p.clamp(0, 1), self.logits.softmax(1))

    def start(self, y: Tensor, told: Tensor | None = None) -> Tensor:
        """Take the data's histogram, each bin counted once more than it was seen."""
        channels, bins = self.logits.shape
        k = ((y.clamp(-1, 1) + 1) * (bins / 2)).long().clamp_(max=bins - 1)
        for channel in range(channels):
            counts = torch.bincount(k[:, channel].flatten(), minlength=bins)
            self.logits[channel] = (counts + 1.0).log()
        return self(y)[0]


class Convolutions(nn.Module):
    """The small network of an image's coupling: 3x3, 1x1, 3x3; it starts by giving zeros.

    Arguments:
        inputs: Channels that it sees.
        outputs: Numbers that it gives for each place.
        width: Channels inside.
        condition: Width of what it is told; 0 for nothing.
        places: Whether it is told something of each place, [B, E, H, W], and not a vector, [B, E].
    """

    def __init__(
        self, inputs: int, outputs: int, *, width: int, condition: int = 0, places: bool = False
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.middle = nn.Conv2d(width, width, 1)
        self.last = nn.Conv2d(width, outputs, 3, padding=1)
        self.told: nn.Module | None = None
        if condition:
            self.told = nn.Conv2d(condition, width, 1) if places else nn.Linear(condition, width)
        _silence(self.last)

    def forward(
        self, h: Float[Tensor, "B C H W"], told: Tensor | None = None
    ) -> Float[Tensor, "B D H W"]:
        """Return [B, outputs, H, W]."""
        h = self.first(h)
        if self.told is not None:
            extra = self.told(told)
            h = h + (extra if extra.dim() == 4 else extra[:, :, None, None])
        h = functional.silu(h)
        h = h + self.middle(h)
        return self.last(functional.silu(h))


class AffineCoupling(Bijection):
    """One half stays and tells a network how the other is stretched and shifted.

    Arguments:
        network: What stays, and what is told, to shift and raw log-scale, twice the channels of
            the other half; its last layer, named `last`, is set to zero.
        kept: Channels that stay.
        flip: Whether the last channels, or the other squares, stay in place of the first.
        chessboard: Whether the halves are squares of a chessboard in place of channels; the
            network then sees all channels, with nought where it may not look.
        bound: c, beyond which no log-scale goes.
    """

    def __init__(
        self,
        network: nn.Module,
        kept: int,
        *,
        flip: bool = False,
        chessboard: bool = False,
        bound: float = 2.0,
    ) -> None:
        super().__init__()
        self.network, self.kept, self.flip = network, kept, flip
        self.chessboard, self.bound = chessboard, bound
        _silence(network.get_submodule("last"))

    def forward(
        self, y: Tensor, told: Tensor | None = None
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, " B"]]:
        """Return a half that stays and one that was stretched and shifted."""
        y = exact(y)
        if self.chessboard:
            return affine(y, *self._on_squares(y, told))
        a, b = self._halves(y)
        b, log_det = affine(b, *self._terms(a, told))
        return self._whole(a, b), log_det

    def inverse(self, z: Tensor, told: Tensor | None = None) -> Float[Tensor, "B ..."]:
        """Undo it: the half that stayed says how."""
        z = exact(z)
        if self.chessboard:
            return affine_inverse(z, *self._on_squares(z, told))
        a, b = self._halves(z)
        return self._whole(a, affine_inverse(b, *self._terms(a, told)))

    def _terms(self, a: Tensor, told: Tensor | None) -> tuple[Tensor, Tensor]:
        shift, raw = exact(self.network(a, told)).to(a.dtype).chunk(2, 1)
        return shift, bounded(raw, self.bound)

    def _on_squares(self, y: Tensor, told: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return shift and log-scale, nought on the squares that stay."""
        rows, columns = (torch.arange(n, device=y.device) for n in y.shape[-2:])
        stays = (rows[:, None] + columns + self.flip) % 2 == 0
        shift, log_scale = self._terms(torch.where(stays, y, 0.0), told)
        return torch.where(stays, 0.0, shift), torch.where(stays, 0.0, log_scale)

    def _halves(self, y: Tensor) -> tuple[Tensor, Tensor]:
        if self.flip:
            other = y.shape[1] - self.kept
            return y[:, other:], y[:, :other]
        return y[:, : self.kept], y[:, self.kept :]

    def _whole(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([b, a] if self.flip else [a, b], 1)


class Chain(Bijection):
    """Bijections one after another."""

    def __init__(self, layers: Iterable[Bijection]) -> None:
        super().__init__()
        self.layers: Sequence[Bijection] = nn.ModuleList(layers)  # type: ignore[assignment]

    def forward(
        self, y: Tensor, told: Tensor | None = None
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, " B"]]:
        """Return what the last gives, and the sum of the log-determinants."""
        total = exact(y).new_zeros(len(y))
        for layer in self.layers:
            y, log_det = layer(y, told)
            total = total + log_det
        return y, total

    def inverse(self, z: Tensor, told: Tensor | None = None) -> Float[Tensor, "B ..."]:
        """Undo them from the last to the first."""
        for layer in reversed(self.layers):
            z = layer.inverse(z, told)
        return z

    @property
    def depth(self) -> int:
        """Return the number of layers, those inside of layers counted."""
        return sum(layer.depth for layer in self.layers)

    def round_trip(self, y: Tensor, depth: int, told: Tensor | None = None) -> Tensor:
        """Return y after the first `depth` layers and back."""
        done: list[Bijection] = []
        for layer in self.layers:
            if depth < layer.depth:
                y = layer.round_trip(y, depth, told)
                break
            y, depth = layer(y, told)[0], depth - layer.depth
            done.append(layer)
        for layer in reversed(done):
            y = layer.inverse(y, told)
        return y

    def start(self, y: Tensor, told: Tensor | None = None) -> Tensor:
        """Start each layer from what the one before gives."""
        for layer in self.layers:
            y = layer.start(y, told)
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
        self, y: Tensor, told: Tensor | None = None
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, " B"]]:
        """Return z, flat, what left first in front."""
        total, left = exact(y).new_zeros(len(y)), []
        for level in self.levels:
            y, log_det = level(y, told)
            total = total + log_det
            if level is not self.levels[-1]:
                y, leaving = y.chunk(2, 1)
                left.append(leaving.flatten(1))
        return torch.cat([*left, y.flatten(1)], 1), total

    def inverse(self, z: Tensor, told: Tensor | None = None) -> Float[Tensor, "B C H W"]:
        """Return images."""
        sizes = [c * h * w for c, h, w in self.shapes]
        parts = [p.unflatten(1, s) for p, s in zip(z.split(sizes, 1), self.shapes, strict=True)]
        y = self.levels[-1].inverse(parts[-1], told)
        for level, part in zip(self.levels[-2::-1], parts[-2::-1], strict=True):
            y = level.inverse(torch.cat([y, part], 1), told)
        return y

    @property
    def depth(self) -> int:
        """Return the number of layers."""
        return sum(level.depth for level in self.levels)

    def round_trip(self, y: Tensor, depth: int, told: Tensor | None = None) -> Tensor:
        """Return y after the first `depth` layers and back."""
        done: list[tuple[Bijection, Tensor]] = []
        for level in self.levels:
            if depth <= level.depth:
                y = level.round_trip(y, depth, told)
                break
            (y, leaving), depth = level(y, told)[0].chunk(2, 1), depth - level.depth
            done.append((level, leaving))
        for level, leaving in reversed(done):
            y = level.inverse(torch.cat([y, leaving], 1), told)
        return y

    def start(self, y: Tensor, told: Tensor | None = None) -> Tensor:
        """Start each level from what stays of the one before."""
        left = []
        for level in self.levels:
            y = level.start(y, told)
            if level is not self.levels[-1]:
                y, leaving = y.chunk(2, 1)
                left.append(leaving.flatten(1))
        return torch.cat([*left, y.flatten(1)], 1)


def _silence(layer: nn.Module) -> None:
    """Set a layer's weights to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def _by_channel(v: Float[Tensor, " C"], y: Tensor) -> Tensor:
    """Shape numbers of channels so that they act on y, [B, C, ...]."""
    return v.view(-1, *[1] * (y.dim() - 2))


def _places(y: Tensor) -> int:
    """Return the number of places of one example, 1 for a vector."""
    return y[0, 0].numel()


def _mixed(y: Tensor, w: Float[Tensor, "C C"]) -> Tensor:
    """Return w times the channels of y."""
    y = exact(y)
    if y.dim() == 2:
        return functional.linear(y, w)
    return functional.conv2d(y, w[:, :, None, None])
