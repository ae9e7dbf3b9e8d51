r"""Layers of flows that have no network inside: what stands before, between and after couplings.

    ActNorm         z = (y + b) e^s, a pair for each channel; from data, mean 0 and spread 1
    1x1 convolution z = P L (U + diag s) y at each place: a learned, invertible mixing of channels
    permutation     a fixed shuffle of channels
    squeeze         2 x 2 places become four channels
    logit           z = ln (v / (1 - v)), v the number brought into (0, 1)
    marginals       z = Phi^-1(F(y)), F a learned distribution function of one number

Matrices and log-determinants stay in float32 under autocast; triangular factors are multiplied,
or solved, once a call.

References:
    Density estimation using Real NVP (Dinh, Sohl-Dickstein & Bengio, 2017), arXiv:1605.08803
    Glow (Kingma & Dhariwal, 2018), https://arxiv.org/abs/1807.03039
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from trilemma.maths.transforms import (
    Bijection,
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
    "Invertible1x1",
    "Logit",
    "Marginals",
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
        self, y: Tensor, cond: Tensor | None = None
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, " B"]]:
        """Return (y + b) e^s."""
        b, s = _by_channel(self.bias, y), _by_channel(self.log_scale, y)
        return (y + b) * s.exp(), (_position_count(y) * self.log_scale.sum()).expand(len(y))

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Float[Tensor, "B ..."]:
        """Undo it."""
        return z * _by_channel(-self.log_scale, z).exp() - _by_channel(self.bias, z)

    def start(self, y: Tensor, cond: Tensor | None = None) -> Tensor:
        """Let each channel of z have mean 0 and spread 1; one without spread is not scaled."""
        flat = y.transpose(0, 1).flatten(1)
        spread = flat.std(1)
        self.bias.copy_(-flat.mean(1))
        self.log_scale.copy_(-torch.where(spread > 1e-4, spread, 1.0).log())
        return self(y)[0]


class Invertible1x1(Bijection):
    """A matrix W = P L (U + diag s) over the channels; it starts as a random rotation.

    The signs of s stay what they were at the start, and P too: |det| cannot come to zero.
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
        self, y: Tensor, cond: Tensor | None = None
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, " B"]]:
        """Return W y at each place."""
        with torch.autocast(y.device.type, enabled=False):
            w = lu_matrix(self.p, self.lower, self.upper, self.sign * self.log_s.exp())
            return _mixed(y, w), lu_log_det(self.log_s, _position_count(y)).expand(len(y))

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Float[Tensor, "B ..."]:
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
        self, y: Tensor, cond: Tensor | None = None
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, " B"]]:
        """Return the channels in another order."""
        return y[:, self.order], y.new_zeros(len(y))

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Float[Tensor, "B ..."]:
        """Put them back."""
        return z[:, self.back]


class Squeeze(Bijection):
    """Each 2 x 2 pixels become four channels."""

    def forward(
        self, y: Tensor, cond: Tensor | None = None
    ) -> tuple[Float[Tensor, "B D h w"], Float[Tensor, " B"]]:
        """Return [B, 4 C, H/2, W/2]."""
        return squeeze(y), y.new_zeros(len(y))

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Float[Tensor, "B C H W"]:
        """Return [B, C, H, W]."""
        return unsqueeze(z)


class Unsqueeze(Bijection):
    """Four channels become 2 x 2 pixels."""

    def forward(
        self, y: Tensor, cond: Tensor | None = None
    ) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, " B"]]:
        """Return [B, C / 4, 2 H, 2 W]."""
        return unsqueeze(y), y.new_zeros(len(y))

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Float[Tensor, "B D h w"]:
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
        self, y: Tensor, cond: Tensor | None = None
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, " B"]]:
        """Return the logit."""
        return logit(exact(y), self.alpha)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Float[Tensor, "B ..."]:
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
        self, y: Tensor, cond: Tensor | None = None
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, " B"]]:
        """Return normal numbers."""
        p, log_derivative = piecewise(exact(y), self.logits.softmax(1))
        z = torch.special.ndtri(self.edge + (1 - 2 * self.edge) * p)
        log_derivative = log_derivative + z.square() / 2
        constant = math.log((1 - 2 * self.edge) * math.sqrt(2 * math.pi))
        return z, log_derivative.flatten(1).sum(1) + constant * y[0].numel()

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Float[Tensor, "B ..."]:
        """Return values of [-1, 1]."""
        p = (torch.special.ndtr(exact(z)) - self.edge) / (1 - 2 * self.edge)
        return piecewise_inverse(p.clamp(0, 1), self.logits.softmax(1))

    def start(self, y: Tensor, cond: Tensor | None = None) -> Tensor:
        """Take the data's histogram, each bin counted once more than it was seen."""
        channels, bins = self.logits.shape
        k = ((y.clamp(-1, 1) + 1) * (bins / 2)).long().clamp_(max=bins - 1)
        for channel in range(channels):
            counts = torch.bincount(k[:, channel].flatten(), minlength=bins)
            self.logits[channel] = (counts + 1.0).log()
        return self(y)[0]


def _by_channel(v: Float[Tensor, " C"], y: Tensor) -> Tensor:
    """Shape numbers of channels so that they act on y, [B, C, ...]."""
    return v.view(-1, *[1] * (y.dim() - 2))


def _position_count(y: Tensor) -> int:
    """Return the number of positions of one example, 1 for a vector."""
    return y[0, 0].numel()


def _mixed(y: Tensor, w: Float[Tensor, "C C"]) -> Tensor:
    """Return w times the channels of y."""
    y = exact(y)
    if y.dim() == 2:
        return functional.linear(y, w)
    return functional.conv2d(y, w[:, :, None, None])
