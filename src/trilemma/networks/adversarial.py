r"""The two players' networks: a generator of images or points, and their critic.

Images. Both are chains of residual blocks without normalisation,

    y = x + W_2 a(W_1 a(x)),   a the leaky rectifier,

at resolutions that halve from the image's to one between 4 and 7 (28 → 14 → 7, 64 → … → 4, odd
sizes rounded up), with more channels where there are fewer pixels. No layer looks across the
batch: an example's score is its own, as the penalty on its gradient supposes, and a sample does
not depend on its neighbours. Full resolution is dear and knows little, so that images of 16 pixels
and more leave it at once: the critic's first layer has stride 2, the generator's last one writes
2 x 2 pixels for each position.

Without normalisation the start must be right by itself. Weights follow He et al. for the leaky
rectifier; each of L branches ends with the gain 1 / sqrt(L), so that all of them together at most
double the variance, whatever the depth (Zhang et al.).

The generator ends in tanh(y) + y / 20. A tanh alone has no gradient at its ends: on stacked
digits, most of whose pixels lie at one, the first swing of the game drove every pixel there, and
the generator was lost. Without any tanh, pixels at an end are hard to hit.

Points. Both are perceptrons that see numbers with their cosines and sines, the critic those of the
point, the generator the first of its noise: narrow clusters want a critic that tells them from
gaps, and a generator that jumps from one to the next.

Classes. A conditional generator gets a learned vector e_c beside its noise, G([z, e_c]).
A conditional critic adds a projection of the example on the vector of its class,

    D(x, c) = psi(x) + <v_c, phi(x)>,    (psi, phi)(x) the outputs of the last layer,

with v_c zero at the start: the form of ln p(x)/q(x) + ln p(c|x)/q(c|x) where p of the data and q
of the generator both tell classes by a linear layer. The vectors of all classes, and one for "no
class", are rows of one table, so that each update reaches them all.

References:
    Delving Deep into Rectifiers (He, Zhang, Ren & Sun, 2015), arXiv:1502.01852.
    Fixup Initialization: Residual Learning Without Normalization (Zhang, Dauphin & Ma, 2019),
    arXiv:1901.09321.
    Checkerboard artifact free sub-pixel convolution (Aitken, Ledig, Theis, Caballero, Wang & Shi,
    2017), arXiv:1707.02937.
    The GAN is dead; long live the GAN! A Modern Baseline GAN (Huang, Gokaslan, Kuleshov &
    Tompkin, 2024), arXiv:2501.05441: residual blocks without normalisation suffice.
    cGANs with Projection Discriminator (Miyato & Koyama, 2018), arXiv:1802.05637.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from trilemma.core.batch import Condition
from trilemma.core.errors import BadInput
from trilemma.networks.layers import MLP, ConditionEmbedding, Waves

__all__ = [
    "ConditionedNoise",
    "ImageCritic",
    "ImageGenerator",
    "PointCritic",
    "PointGenerator",
    "Projection",
    "refuse_small",
]

NEGATIVE_SLOPE = 0.2
"""Of the leaky rectifier, for negative numbers."""
SMALLEST = 8
"""Fewest pixels of an image's side."""
LEAK = 0.05
"""Of the generator's last tanh."""
COND_WIDTH = 32
"""Width of a class's vector, the generator's e_c."""
WAVES = 5
"""Frequencies of the Fourier features of a point, or of its noise."""
FOURIER_INPUTS = 4
"""Numbers of the noise that get Fourier features; with those of many, generators of points
collapsed."""
PROJECTION_WIDTH = 64
"""Features on which the critic's v_c is projected."""


class ConditionedNoise(nn.Module):
    """Noise concatenated with the vector of its class, [z, e_c]; without classes, noise as it is.

    Arguments:
        latent: Width Z of the noise.
        classes: How many classes there are; with 0 there are no parameters.

    >>> noise = ConditionedNoise(4, classes=3)
    >>> noise(torch.zeros(2, 4), Condition(label=torch.tensor([0, 2]))).shape, noise.outputs
    (torch.Size([2, 36]), 36)
    """

    def __init__(self, latent: int, classes: int) -> None:
        super().__init__()
        self.outputs = latent + (COND_WIDTH if classes else 0)
        self.embed = ConditionEmbedding(classes, COND_WIDTH) if classes else None

    def forward(
        self, z: Float[Tensor, "B Z"], condition: Condition | None = None
    ) -> Float[Tensor, "B N"]:
        """Return [B, outputs]; rows without a class get the learned vector for none."""
        if self.embed is None:
            return z
        return torch.cat([z, self.embed(condition, len(z)).to(z.dtype)], dim=1)


class Projection(nn.Module):
    """A critic's score from the outputs y of its last layer: y_0 + <v_c, (y_1, y_2, …)>.

    Arguments:
        classes: How many classes there are; with 0 the score is y_0 and there are no parameters.

    >>> score = Projection(classes=3)
    >>> score(torch.ones(2, score.inputs), Condition(label=torch.tensor([0, 2]))).tolist()
    [1.0, 1.0]
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.inputs = 1 + (PROJECTION_WIDTH if classes else 0)
        self.embed = ConditionEmbedding(classes, PROJECTION_WIDTH) if classes else None
        if self.embed is not None:
            nn.init.zeros_(self.embed.table.weight)

    def forward(
        self, y: Float[Tensor, "B N"], condition: Condition | None = None
    ) -> Float[Tensor, " B"]:
        """Return scores [B]; rows without a class are projected on the learned vector for none."""
        if self.embed is None:
            return y[:, 0]
        return y[:, 0] + (y[:, 1:] * self.embed(condition, len(y))).sum(1)


class GanBlock(nn.Module):
    """A residual block, y = x + W_2 a(W_1 a(x)), with 3 x 3 kernels.

    Arguments:
        channels: Of x and of y.
        gain: Of the branch at the start, relative to x.
    """

    def __init__(self, channels: int, gain: float) -> None:
        super().__init__()
        self.first = _scaled(nn.Conv2d(channels, channels, 3, padding=1))
        self.second = _scaled(nn.Conv2d(channels, channels, 3, padding=1), gain)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return [B, C, H, W]."""
        return x + self.second(_bend(self.first(_bend(x))))


class ImageGenerator(nn.Module):
    """Makes images near [-1, 1] from noise, coarse to fine.

    Arguments:
        latent: Width Z of the noise.
        shape: (C, H, W) of an image.
        width: Channels at the finest inner resolution; twice as many below it, and 4 times as
            many at most.
        depth: Residual blocks at each resolution.
        classes: How many classes it is conditioned on; with 0 a condition is ignored.

    Raises:
        BadInput: A side has fewer than 8 pixels.

    >>> ImageGenerator(16, (1, 28, 28), width=8)(torch.zeros(3, 16)).shape
    torch.Size([3, 1, 28, 28])
    """

    def __init__(
        self,
        latent: int,
        shape: tuple[int, int, int],
        *,
        width: int = 32,
        depth: int = 1,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.fold = _fold(shape)
        self.sizes = _sizes(shape, self.fold)[::-1]
        channels = _channels(width, len(self.sizes))[::-1]
        gain = (depth * len(self.sizes)) ** -0.5
        self.base = (channels[0], *self.sizes[0])
        self.conditioned_noise = ConditionedNoise(latent, classes)
        self.first = _scaled(
            nn.Linear(self.conditioned_noise.outputs, math.prod(self.base)), 2**-0.5
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*(GanBlock(c, gain) for _ in range(depth))) for c in channels
        )
        self.turns = nn.ModuleList(
            _turn(in_channels, out_channels) for in_channels, out_channels in pairwise(channels)
        )
        self.last = _scaled(nn.Conv2d(channels[-1], shape[0] * self.fold**2, 3, padding=1), 0.5)
        # The pixels of one position start alike, as an enlargement: no checkerboard.
        repeated = self.last.weight.data[:: self.fold**2].repeat_interleave(self.fold**2, dim=0)
        self.last.weight.data.copy_(repeated)

    def forward(
        self, z: Float[Tensor, "B Z"], condition: Condition | None = None
    ) -> Float[Tensor, "B C H W"]:
        """Return images [B, C, H, W] for standard normal noise and the classes that are wanted."""
        h = self.blocks[0](
            self.first(self.conditioned_noise(z, condition)).unflatten(1, self.base)
        )
        for transition, blocks, size in zip(
            self.turns, self.blocks[1:], self.sizes[1:], strict=True
        ):
            h = blocks(F.interpolate(transition(h), size=size, mode="nearest"))
        y = F.pixel_shuffle(self.last(_bend(h)), self.fold)
        y = y[..., : self.shape[1], : self.shape[2]]
        return y.tanh() + LEAK * y


class ImageCritic(nn.Module):
    """Gives each image one number.

    Arguments:
        shape: (C, H, W) of an image.
        width: Channels at the finest inner resolution, as the generator's.
        depth: Residual blocks at each resolution.
        classes: How many classes it is conditioned on; with 0 a condition is ignored.

    Raises:
        BadInput: A side has fewer than 8 pixels.

    >>> ImageCritic((1, 28, 28), width=8)(torch.zeros(3, 1, 28, 28)).shape
    torch.Size([3])
    """

    score: ClassVar[str] = "number"
    """What the scores are: numbers of either sign, high on data."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        width: int = 32,
        depth: int = 1,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.fold = _fold(shape)
        sizes = _sizes(shape, self.fold)
        channels = _channels(width, len(sizes))
        gain = (depth * len(sizes)) ** -0.5
        # A stride of 2 with a kernel of 4 sees each pixel as often as its neighbours.
        kernel, padding = (4, 1) if self.fold == 2 else (3, 1)
        self.first = _scaled(nn.Conv2d(shape[0], channels[0], kernel, self.fold, padding), 2**-0.5)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(GanBlock(c, gain) for _ in range(depth))) for c in channels
        )
        self.turns = nn.ModuleList(
            _turn(in_channels, out_channels) for in_channels, out_channels in pairwise(channels)
        )
        self.projection = Projection(classes)
        flat_size = channels[-1] * math.prod(sizes[-1])
        self.last = _scaled(nn.Linear(flat_size, self.projection.inputs), 0.5)

    def forward(
        self, x: Float[Tensor, "B C H W"], condition: Condition | None = None
    ) -> Float[Tensor, " B"]:
        """Return scores [B] for images near [-1, 1], as images of their classes."""
        padding = (0, -x.shape[3] % self.fold, 0, -x.shape[2] % self.fold)
        h = self.blocks[0](self.first(F.pad(x, padding) if any(padding) else x))
        for transition, blocks in zip(self.turns, self.blocks[1:], strict=True):
            h = blocks(transition(F.avg_pool2d(h, 2, ceil_mode=True)))
        return self.projection(self.last(_bend(h).flatten(1)), condition)


class PointGenerator(nn.Module):
    """Makes points from noise.

    Arguments:
        latent: Width Z of the noise.
        shape: (D,), of a point.
        width: Units of a hidden layer.
        depth: Hidden layers.
        classes: How many classes it is conditioned on; with 0 a condition is ignored.

    >>> PointGenerator(4, (2,), width=8)(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        latent: int,
        shape: tuple[int, ...],
        *,
        width: int = 128,
        depth: int = 3,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.conditioned_noise = ConditionedNoise(latent, classes)
        self.fourier_inputs = min(latent, FOURIER_INPUTS)
        self.waves = Waves(self.fourier_inputs, WAVES, low=1.0, high=8.0)
        inputs = self.waves.outputs + self.conditioned_noise.outputs - self.fourier_inputs
        self.layers = MLP(inputs, shape, width=width, depth=depth)

    def forward(
        self, z: Float[Tensor, "B Z"], condition: Condition | None = None
    ) -> Float[Tensor, "B D"]:
        """Return points [B, D] for standard normal noise and the classes that are wanted."""
        h = self.conditioned_noise(z, condition)
        return self.layers(
            torch.cat(
                [self.waves(h[:, : self.fourier_inputs]), h[:, self.fourier_inputs :]], dim=1
            )
        )


class PointCritic(nn.Module):
    """Gives each point one number.

    Arguments:
        shape: (D,), of a point.
        width: Units of a hidden layer.
        depth: Hidden layers.
        classes: How many classes it is conditioned on; with 0 a condition is ignored.

    >>> PointCritic((2,), width=8)(torch.zeros(3, 2)).shape
    torch.Size([3])
    """

    score: ClassVar[str] = "number"
    """What the scores are: numbers of either sign, high on data."""

    def __init__(
        self, shape: tuple[int, ...], *, width: int = 128, depth: int = 3, classes: int = 0
    ) -> None:
        super().__init__()
        self.projection = Projection(classes)
        self.waves = Waves(math.prod(shape), WAVES, low=1.0, high=16.0)
        self.layers = MLP(self.waves.outputs, self.projection.inputs, width=width, depth=depth)

    def forward(
        self, x: Float[Tensor, "B D"], condition: Condition | None = None
    ) -> Float[Tensor, " B"]:
        """Return scores [B], as points of their classes."""
        return self.projection(self.layers(self.waves(x)), condition)


def refuse_small(shape: Sequence[int]) -> None:
    """Refuse images with a side of fewer than 8 pixels.

    Raises:
        BadInput: It is one.
    """
    if min(shape[1:]) < SMALLEST:
        raise BadInput(
            f"a GAN was given images of shape {tuple(shape)} and wants sides of {SMALLEST} "
            f"pixels or more; load them with --size {SMALLEST} or larger."
        )


def _bend(x: Tensor) -> Tensor:
    return F.leaky_relu(x, NEGATIVE_SLOPE)


def _turn(now: int, later: int) -> nn.Module:
    """Change the number of channels, as a change of basis that keeps the variance."""
    if now == later:
        return nn.Identity()
    return _scaled(nn.Conv2d(now, later, 1, bias=False), ((1 + NEGATIVE_SLOPE**2) / 2) ** 0.5)


def _scaled(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Conv2d | nn.Linear:
    """Start weights so that variance is kept through a leaky rectifier, times gain²; biases 0."""
    nn.init.kaiming_normal_(layer.weight, a=NEGATIVE_SLOPE, nonlinearity="leaky_relu")
    layer.weight.data.mul_(gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _fold(shape: tuple[int, int, int]) -> int:
    """Return by how much the first and last layer change the resolution."""
    refuse_small(shape)
    return 2 if min(shape[1:]) >= 2 * SMALLEST else 1


def _sizes(shape: tuple[int, int, int], fold: int) -> list[tuple[int, int]]:
    """Return the inner resolutions, finest first: halves, rounded up, until a side is below 8."""
    sizes = [(-(-shape[1] // fold), -(-shape[2] // fold))]
    while min(sizes[-1]) >= SMALLEST:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


def _channels(width: int, levels: int) -> list[int]:
    """Return the channels at each resolution, finest first."""
    return [width * min(2**level, 4) for level in range(levels)]
