r"""Networks that give each example one number, its energy's learned part f.

    ImageEnergy   x -> a(stem) -> [halve, blocks] … -> linear -> f
    PointEnergy   (y, cos W y, sin W y) -> a perceptron -> f,   W random and fixed

A chain evaluates the gradient of f some twenty times an update, and score matching differentiates
that gradient once more. So all activations are smooth, a(x) = x s(x) (SiLU), nothing is normalised
(an example's energy is its own), and images of 16 pixels and more are halved by the first layer,
before anything dear. f starts at zero: an untrained model is its Gaussian. The last layer and
its sum are computed in float32, whatever the rest: energies of hundreds of nats differ by tenths.

A network for several noise levels is given theirs as the log-SNR, -2 ln sigma: it shifts the
features after each halving.

References:
    Implicit Generation and Modeling with Energy-Based Models (Du & Mordatch, 2019),
        https://arxiv.org/abs/1903.08689
    On the Anatomy of MCMC-Based Maximum Likelihood Learning of Energy-Based Models (Nijkamp,
        Hill, Han, Zhu & Wu, 2020), https://arxiv.org/abs/1903.12370
    Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains
        (Tancik et al., 2020), https://arxiv.org/abs/2006.10739
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.errors import BadInput
from trilemma.networks.layers import MLP, LogSnrEmbedding, zero_init

__all__ = ["ImageEnergy", "PointEnergy"]

SMALLEST = 8
"""Fewest pixels of an image's side."""
WAVES, FINENESS = 32, 2.0
"""How many random projections a point is seen by, and their angular frequency in the plane."""


class Bend(nn.Module):
    """h + W a(h), the branch starting at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.branch.weight)

    def forward(self, h: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the same shape."""
        return h + self.branch(F.silu(h))


class ImageEnergy(nn.Module):
    """Gives each image one number.

    Arguments:
        shape: (C, H, W) of an image.
        width: Channels after the first layer; they double at each halving, four times at most.
        depth: Residual convolutions after each halving.
        noise_conditional: Whether it is conditioned on a noise level.

    Raises:
        BadInput: A side has fewer than 8 pixels.

    >>> ImageEnergy((1, 28, 28), width=8)(torch.zeros(3, 1, 28, 28)).shape
    torch.Size([3])
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        width: int = 32,
        depth: int = 0,
        noise_conditional: bool = False,
    ) -> None:
        super().__init__()
        channels, *sides = shape
        if min(sides) < SMALLEST:
            raise BadInput(
                f"images of shape {tuple(shape)} were given, and the energy's convolutions want "
                f"sides of {SMALLEST} pixels or more; load them with --size {SMALLEST} or larger."
            )
        small = min(sides) < 2 * SMALLEST
        kernel, stride = (3, 1) if small else (4, 2)
        self.stem = _fair(nn.Conv2d(channels, width, kernel, stride, 1))
        sides = [s // stride for s in sides]
        widths = [width]
        while min(sides) >= 4:
            widths.append(width * min(2 ** len(widths), 4))
            sides = [s // 2 for s in sides]
        self.halve = nn.ModuleList(_fair(nn.Conv2d(a, b, 4, 2, 1)) for a, b in pairwise(widths))
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Bend(w) for _ in range(depth))) for w in widths[1:]
        )
        self.level = LogSnrEmbedding(width) if noise_conditional else None
        self.shifts = nn.ModuleList(nn.Linear(width, w) for w in widths[1:] if noise_conditional)
        self.last = zero_init(
            nn.Linear(widths[-1] * math.prod(sides), 1, bias=not noise_conditional)
        )

    def forward(
        self, y: Float[Tensor, "B C H W"], log_snr: Float[Tensor, " B"] | None = None
    ) -> Float[Tensor, " B"]:
        """Return f, float32 at least.

        Arguments:
            y: Images near [-1, 1].
            log_snr: -2 ln sigma of each, for a network conditioned on noise levels.
        """
        level_embedding = None if self.level is None else F.silu(self.level(log_snr))
        h = self.stem(y)
        for i, (halve, blocks) in enumerate(zip(self.halve, self.blocks, strict=True)):
            h = halve(F.silu(h))
            if level_embedding is not None:
                h = h + self.shifts[i](level_embedding)[:, :, None, None]
            h = blocks(h)
        return _readout(self.last, F.silu(h).flatten(1))


class PointEnergy(nn.Module):
    """Gives each point one number, in float32 throughout: so small, it is no slower.

    Beside its coordinates it sees cosines and sines of random projections, without which a
    perceptron learns narrow valleys only after thousands of updates.

    Arguments:
        dimensions: D of the points.
        width: Units of a layer.
        depth: Layers.
        noise_conditional: Whether it is conditioned on a noise level.

    >>> PointEnergy(2, width=16)(torch.zeros(3, 2)).shape
    torch.Size([3])
    """

    frequencies: Tensor

    def __init__(
        self, dimensions: int, *, width: int = 128, depth: int = 3, noise_conditional: bool = False
    ) -> None:
        super().__init__()
        self.level = LogSnrEmbedding(width) if noise_conditional else None
        frequencies = torch.randn(dimensions, WAVES) * FINENESS * (2 / dimensions) ** 0.5
        self.register_buffer("frequencies", frequencies)
        self.layers = MLP(
            dimensions + 2 * WAVES,
            width,
            width=width,
            depth=depth,
            condition=width if noise_conditional else 0,
        )
        self.last = zero_init(nn.Linear(width, 1, bias=not noise_conditional))

    def forward(
        self, y: Float[Tensor, "B D"], log_snr: Float[Tensor, " B"] | None = None
    ) -> Float[Tensor, " B"]:
        """Return f, float32 at least.

        Arguments:
            y: Points near the origin, of spread about 1.
            log_snr: -2 ln sigma of each, for a network conditioned on noise levels.
        """
        with torch.autocast(y.device.type, enabled=False):
            level_embedding = None if self.level is None else F.silu(self.level(log_snr))
            angles = y @ self.frequencies
            features = torch.cat([y, angles.cos(), angles.sin()], dim=1)
            return self.last(F.silu(self.layers(features, level_embedding))).squeeze(1)


def _readout(layer: nn.Linear, h: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
    """Apply the last layer in float32, or in the weights' own precision where that is finer."""
    with torch.autocast(h.device.type, enabled=False):
        return layer(h.to(layer.weight.dtype)).squeeze(1)


def _fair(layer: nn.Conv2d) -> nn.Conv2d:
    """Start weights so that SiLU keeps the variance, about; biases 0."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
