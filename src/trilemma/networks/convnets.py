r"""Convolutional networks that take an image to a few numbers and back.

    Encoder   x -> stem -> [blocks, halve] … blocks -> linear -> numbers
    Decoder   z -> linear -> [blocks, double] … blocks -> stem transposed -> image

    block     h + W_2 a(W_1 a(h))

Images of 16 pixels and more enter by a convolution of stride 2 and leave by its counterpart, a
rearrangement of four channels into 2 × 2 pixels: the full resolution, where a convolution is
dearest and sees least, carries no blocks. Sizes are halved, rounding up, until a side has four
pixels or fewer, and the decoder goes the same way back; so any size from 8 × 8 on will do, and
nothing is padded. There is no normalisation: each block starts as the identity.
"""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from trilemma.core.errors import BadInput
from trilemma.networks.layers import zero_init

__all__ = ["ConvBlock", "Decoder", "Encoder", "sizes"]


def sizes(height: int, width: int) -> list[tuple[int, int]]:
    """List the sizes at which a network works, from the finest to the coarsest.

    >>> sizes(28, 28), sizes(8, 8)
    ([(14, 14), (7, 7), (4, 4)], [(8, 8), (4, 4)])
    """
    if min(height, width) < 8:
        raise BadInput(
            f"images of {height} x {width} pixels were given, and convolutional networks want "
            "8 x 8 or more; give --network mlp, or larger images."
        )
    resolutions = [(height, width)]
    while min(resolutions[-1]) > 4:
        resolutions.append((-(-resolutions[-1][0] // 2), -(-resolutions[-1][1] // 2)))
    return resolutions[1:] if min(height, width) >= 16 else resolutions


class ConvBlock(nn.Module):
    """A residual block of two convolutions; it starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = zero_init(nn.Conv2d(channels, channels, 3, padding=1))
        self.activation = nn.SiLU()

    def forward(self, h: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return h plus what the convolutions add."""
        return h + self.second(self.activation(self.first(self.activation(h))))


class Encoder(nn.Module):
    """An image to a few numbers.

    Arguments:
        shape: (C, H, W) of the image, sides of 8 or more.
        outputs: How many numbers.
        width: Channels at the finest size; they double at each coarser one, up to four times.
        depth: Residual blocks at each size.
    """

    def __init__(
        self, shape: tuple[int, ...], outputs: int, *, width: int = 32, depth: int = 1
    ) -> None:
        super().__init__()
        channels, height, breadth = shape
        resolutions = sizes(height, breadth)
        widths = _widths(width, len(resolutions))
        stride = 1 if resolutions[0] == (height, breadth) else 2
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, stride, padding=1)]
        for i, out_channels in enumerate(widths):
            if i:
                layers.append(nn.Conv2d(widths[i - 1], out_channels, 3, 2, padding=1))
            layers.extend(ConvBlock(out_channels) for _ in range(depth))
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(widths[-1] * resolutions[-1][0] * resolutions[-1][1], outputs)
        self.activation = nn.SiLU()

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B N"]:
        """Return [B, outputs]."""
        return self.last(self.activation(self.layers(x)).flatten(1))


class Decoder(nn.Module):
    """A few numbers to an image.

    Arguments:
        inputs: How many numbers.
        shape: (C, H, W) of what it gives, sides of 8 or more.
        width: Channels at the finest size; they double at each coarser one, up to four times.
        depth: Residual blocks at each size.
    """

    def __init__(
        self, inputs: int, shape: tuple[int, ...], *, width: int = 32, depth: int = 1
    ) -> None:
        super().__init__()
        channels, self.height, self.breadth = shape
        self.ladder = sizes(self.height, self.breadth)[::-1]
        widths = _widths(width, len(self.ladder))[::-1]
        self.first = nn.Linear(inputs, widths[0] * self.ladder[0][0] * self.ladder[0][1])
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvBlock(block_width) for _ in range(depth)))
            for block_width in widths
        )
        self.joints = nn.ModuleList(
            nn.Conv2d(coarse, fine, 3, padding=1) for coarse, fine in pairwise(widths)
        )
        self.shuffle = 1 if self.ladder[-1] == (self.height, self.breadth) else 2
        self.last = nn.Conv2d(widths[-1], channels * self.shuffle**2, 3, padding=1)
        self.activation = nn.SiLU()

    def forward(self, z: Float[Tensor, "B N"]) -> Float[Tensor, "B C H W"]:
        """Return [B, C, H, W]."""
        h = self.first(z).unflatten(1, (-1, *self.ladder[0]))
        h = self.stages[0](h)
        for size, joint, stage in zip(self.ladder[1:], self.joints, self.stages[1:], strict=True):
            h = stage(functional.interpolate(joint(h), size=size, mode="nearest"))
        h = self.last(self.activation(h))
        if self.shuffle > 1:
            h = functional.pixel_shuffle(h, self.shuffle)[:, :, : self.height, : self.breadth]
        return h


def _widths(width: int, levels: int) -> list[int]:
    """Return the channels of each level, from the finest to the coarsest."""
    return [width * min(2**i, 4) for i in range(levels)]
