r"""Networks of a first stage: an image to a small image of codes, back, and two judges of the way.

    CodeEncoder   x [C, H, W] -> z [K, H / f, W / f]
    CodeDecoder   z [c, H / f, W / f] -> x [C, H, W]
    PatchCritic   x -> a score for each patch, [h, w]
    Perception    (x, y) -> how differently a trained network sees the two

f is a power of two. The first halving is a rearrangement of 2 × 2 pixels into channels, and the
last enlargement its inverse, so that no convolution runs at the images' own resolution, where it
is dearest and sees least; the finest size that has blocks is half of it and has few channels. The
codes keep their places: z at (i, j) says most about the square of f × f pixels there.

The distance of Perception is that of LPIPS with unit weights: with F_l(x) the maps of layer l of
a frozen network, each place's vector brought to length one,

    d(x, y) = mean over l of mean over places of ‖F_l(x) - F_l(y)‖²,   d(x, x) = 0.

References:
    High-Resolution Image Synthesis with Latent Diffusion Models (Rombach et al., 2022),
    arXiv:2112.10752.
    The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (Zhang et al., 2018),
    arXiv:1801.03924.
    Image-to-Image Translation with Conditional Adversarial Networks (Isola et al., 2017),
    arXiv:1611.07004: the patch critic.
    Real-Time Single Image and Video Super-Resolution (Shi et al., 2016), arXiv:1609.05158: the
    rearrangement of channels into pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.errors import BadInput
from trilemma.networks.attention import group_norm
from trilemma.networks.layers import zero_init
from trilemma.networks.spectral import constrain, renew

__all__ = ["CodeDecoder", "CodeEncoder", "FirstStageBlock", "PatchCritic", "Perception", "factors"]

FACTORS = (2, 4, 8, 16)


def factors(height: int, width: int) -> tuple[int, ...]:
    """List the factors by which a size can be divided, two places a side being left.

    >>> factors(28, 28), factors(64, 48), factors(27, 27)
    ((2, 4), (2, 4, 8, 16), ())
    """
    return tuple(
        f for f in FACTORS if height % f == 0 and width % f == 0 and min(height, width) >= 2 * f
    )


def _halvings(factor: int, height: int, width: int) -> int:
    """Return log2 of the factor, and refuse one that does not fit."""
    can = factors(height, width)
    if factor not in can:
        names = ", ".join(map(str, can))
        hint = f"give {names}" if can else "give images whose sides are even, 4 pixels or more"
        raise BadInput(
            f"images of {height} x {width} pixels cannot be made {factor} times smaller; {hint}."
        )
    return factor.bit_length() - 1


class FirstStageBlock(nn.Module):
    """x + convolution, convolution, each after a group normalisation and SiLU; starts as x.

    Without the normalisation the first hundreds of updates, many of a short run, get less far.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = group_norm(channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.between = group_norm(channels)
        self.second = zero_init(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the same shape."""
        h = self.first(F.silu(self.before(x)))
        return x + self.second(F.silu(self.between(h)))


def _widths(width: int, halvings: int) -> list[int]:
    """Return the channels from half the resolution to the codes'; they grow to four times."""
    return [width * min(2**i, 4) for i in range(halvings)]


class CodeEncoder(nn.Module):
    """An image to an image of codes.

    Arguments:
        shape: (C, H, W) of the images.
        outputs: K, channels given: c for each code, or 2 c for its mean and log-variance.
        factor: f.
        width: Channels at half the resolution.
        blocks: Residual blocks at the codes' resolution; half as many at finer ones.

    >>> CodeEncoder((3, 16, 16), 8, factor=4, width=8)(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 8, 4, 4])
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        *,
        factor: int = 4,
        width: int = 32,
        blocks: int = 2,
    ) -> None:
        super().__init__()
        channels, height, breadth = shape
        widths = _widths(width, _halvings(factor, height, breadth))
        layers: list[nn.Module] = [nn.Conv2d(4 * channels, width, 3, padding=1)]
        for fine, coarse in pairwise(widths):
            layers += [FirstStageBlock(fine) for _ in range(max(blocks // 2, 1))]
            layers.append(nn.Conv2d(fine, coarse, 3, stride=2, padding=1))
        layers += [FirstStageBlock(widths[-1]) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(widths[-1], outputs, 1))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K h w"]:
        """Return [B, outputs, H / f, W / f]."""
        return self.layers(_as(F.pixel_unshuffle(x, 2), self))


class CodeDecoder(nn.Module):
    """An image of codes to an image.

    Arguments:
        inputs: c, channels of the codes.
        shape: (C, H, W) of the images.
        factor: f.
        width: Channels at half the resolution.
        blocks: Residual blocks at the codes' resolution; half as many at finer ones.

    >>> CodeDecoder(4, (3, 16, 16), factor=4, width=8)(torch.zeros(2, 4, 4, 4)).shape
    torch.Size([2, 3, 16, 16])
    """

    def __init__(
        self,
        inputs: int,
        shape: tuple[int, ...],
        *,
        factor: int = 4,
        width: int = 32,
        blocks: int = 2,
    ) -> None:
        super().__init__()
        channels, height, breadth = shape
        widths = _widths(width, _halvings(factor, height, breadth))[::-1]
        layers: list[nn.Module] = [nn.Conv2d(inputs, widths[0], 3, padding=1)]
        layers += [FirstStageBlock(widths[0]) for _ in range(blocks)]
        for coarse, fine in pairwise(widths):
            layers += [nn.Conv2d(coarse, fine, 1), nn.Upsample(scale_factor=2.0)]
            layers += [FirstStageBlock(fine) for _ in range(max(blocks // 2, 1))]
        last = nn.Conv2d(widths[-1], 4 * channels, 3, padding=1)
        self.layers = nn.Sequential(*layers, nn.SiLU(), last, nn.PixelShuffle(2))

    def forward(self, z: Float[Tensor, "B c h w"]) -> Float[Tensor, "B C H W"]:
        """Return [B, C, H, W], scaled."""
        return self.layers(_as(z, self))


class PatchCritic(nn.Module):
    """Scores patches of an image instead of the whole: it judges texture, and is small.

    Every layer is 1-Lipschitz (spectral norms); `renew` is to be called after each update.

    Arguments:
        channels: C of the images.
        width: Channels at half the resolution.

    >>> PatchCritic(3, width=8)(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 4, 4])
    """

    def __init__(self, channels: int, *, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4 * channels, width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 1),
        )
        constrain(self)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B h w"]:
        """Return a score for each patch, high where it looks real."""
        return self.layers(_as(F.pixel_unshuffle(x, 2), self)).squeeze(1)

    def renew(self) -> None:
        """Let the spectral norms follow the weights."""
        renew(self)


class Perception:
    """How differently a frozen network sees two images; no module, and no part of a model's state.

    Arguments:
        layers: The network's layers in order, as far as they are wanted; frozen copies are taken.
        taps: After which of them maps are compared.
        size: Pixels to which the shorter side is enlarged where it is smaller.

    Raises:
        BadInput: At call, for images of other than 1 or 3 channels.
    """

    def __init__(
        self, layers: Sequence[nn.Module], taps: Sequence[int], *, size: int = 64
    ) -> None:
        trunk = copy.deepcopy(nn.Sequential(*layers[: max(taps) + 1]))
        self.layers = trunk.eval().requires_grad_(False)
        self.taps, self.size = frozenset(taps), size

    def __call__(
        self, x: Float[Tensor, "B C H W"], y: Float[Tensor, "B C H W"]
    ) -> Float[Tensor, " B"]:
        """Return d(x, y) of scaled images, differentiable in both."""
        self.layers.to(x.device)
        gaps = [
            (F.normalize(a.float(), dim=1) - F.normalize(b.float(), dim=1)).square().sum(1)
            for a, b in zip(self._maps(x), self._maps(y), strict=True)
        ]
        return torch.stack([gap.flatten(1).mean(1) for gap in gaps]).mean(0)

    def _maps(self, y: Tensor) -> Iterator[Tensor]:
        h = self._prepared(y)
        for index, layer in enumerate(self.layers):
            h = layer(h)
            if index in self.taps:
                yield h

    def _prepared(self, y: Tensor) -> Tensor:
        """Bring images of [-1, 1] to what the network was trained on: (255 x - 127) / 128, RGB."""
        if y.shape[1] not in (1, 3):
            raise BadInput(
                "the perceptual term sees images of 1 or 3 channels, and these have "
                f"{y.shape[1]}; give --perceptual 0."
            )
        side = min(y.shape[-2:])
        if side < self.size:
            scale = -(-self.size // side)
            y = F.interpolate(y, scale_factor=float(scale), mode="bilinear", align_corners=False)
        y = ((y + 1) * 127.5 - 127) / 128
        return y.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def _as(x: Tensor, network: nn.Module) -> Tensor:
    """Lay x out in memory as the network's weights are; a 1 x 1 kernel cannot tell."""
    weight = next(p for p in network.parameters() if p.dim() == 4 and p[0, 0].numel() > 1)
    last = weight.is_contiguous(memory_format=torch.channels_last)
    return x.contiguous(memory_format=torch.channels_last) if last else x
