r"""Denoising networks: (x_t, log-SNR, condition) -> an array of the shape of x_t.

    UNet        for images: residual blocks at falling, then rising resolution, with a bridge
                from each resolution on the way down to the same one on the way up
    Perceptron  for points

The log-SNR and the condition become one vector e, which conditions every block by an affine map of
its normalised features, h <- (1 + a(e)) h + b(e) (FiLM). The last layer starts at zero, so that
an untrained network says zero.

Most of the work of a U-Net lies at its finest resolution. Two things save it: `patch` folds each
2 x 2 square of pixels into channels at the door (Shi et al., arXiv:1609.05158), so that no
convolution runs at full resolution; and a change of resolution costs a strided convolution on
the way down and a 1 x 1 convolution *before* the enlargement on the way up.

With a context tau, the blocks of the two coarsest resolutions, on both ways, and the middle are
each followed by a cross-attention of the pixels to the tokens of what is wanted: where pixels are
few and each stands for much, to ask is cheap.

References:
    U-Net, Ronneberger, Fischer & Brox, 2015 (arXiv:1505.04597).
    High-Resolution Image Synthesis with Latent Diffusion Models, Rombach, Blattmann, Lorenz,
        Esser & Ommer, 2022 (arXiv:2112.10752), section 3.3: cross-attention.
    Denoising Diffusion Probabilistic Models, Ho, Jain & Abbeel, 2020 (arXiv:2006.11239).
    FiLM, Perez, Strub, de Vries, Dumoulin & Courville, 2018 (arXiv:1709.07871).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.networks.attention import Attention, CrossAttention, group_norm
from trilemma.networks.condition_encoder import width_of
from trilemma.networks.layers import MLP, ConditionEmbedding, LogSnrEmbedding, zero_init

__all__ = ["Perceptron", "Stack", "UNet", "UNetBlock"]


class UNetBlock(nn.Module):
    """x + convolution, FiLM, convolution, each after a group normalisation and SiLU.

    Arguments:
        inputs: Channels of x.
        outputs: Channels given; where they differ, x goes through a 1 x 1 convolution.
        cond_width: Width of the condition vector e.
    """

    def __init__(self, inputs: int, outputs: int, cond_width: int) -> None:
        super().__init__()
        self.before = group_norm(inputs)
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.between = group_norm(outputs)
        self.film = nn.Linear(cond_width, 2 * outputs)
        self.second = zero_init(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.across = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Float[Tensor, "B C H W"], e: Float[Tensor, "B E"]) -> Tensor:
        """Return [B, outputs, H, W]."""
        h = self.first(F.silu(self.before(x)))
        scale, shift = self.film(e)[:, :, None, None].chunk(2, dim=1)
        h = torch.addcmul(shift, self.between(h), 1 + scale)
        return self.across(x) + self.second(F.silu(h))


class Stack(nn.ModuleList):
    """Blocks one after another; the first changes the number of channels."""

    def __init__(self, inputs: int, outputs: int, count: int, cond_width: int) -> None:
        super().__init__(
            UNetBlock(inputs if i == 0 else outputs, outputs, cond_width) for i in range(count)
        )

    def forward(self, h: Float[Tensor, "B C H W"], e: Float[Tensor, "B E"]) -> Tensor:
        """Return [B, outputs, H, W]."""
        for block in self:
            h = block(h, e)
        return h


class UNet(nn.Module):
    """A U-Net over images of any height and width.

    A size that does not divide by `patch` times 2 to the number of halvings is padded with zeros
    inside and cut again.

    Arguments:
        channels: C of the images.
        width: Channels of the finest resolution.
        multipliers: Channels of each resolution, in units of `width`.
        blocks: Residual blocks at each resolution, on each way.
        patch: Side of the squares of pixels folded into channels.
        classes: Classes of the condition; 0 for none.
        attention: Whether pixels of the coarsest resolution attend to each other.
        outputs: Channels given; those of the images if None.
        context: tau, such as a `Context`, for cross-attention to what is wanted; None for none.

    >>> network = UNet(3, width=16, multipliers=(1, 2), classes=10)
    >>> network(torch.zeros(2, 3, 9, 14), torch.zeros(2)).shape
    torch.Size([2, 3, 9, 14])
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 48,
        multipliers: Sequence[int] = (1, 2),
        blocks: int = 1,
        patch: int = 2,
        classes: int = 0,
        attention: bool = False,
        outputs: int | None = None,
        context: nn.Module | None = None,
    ) -> None:
        super().__init__()
        widths, embedding_width = [width * m for m in multipliers], 4 * width
        self.patch = patch
        self.multiple = patch * 2 ** (len(widths) - 1)
        self.noise_level = LogSnrEmbedding(embedding_width)
        self.class_embedding = ConditionEmbedding(classes, embedding_width) if classes else None
        self.enter = nn.Conv2d(channels * patch**2, width, 3, padding=1)

        self.down = nn.ModuleList(Stack(w, w, blocks, embedding_width) for w in widths)
        self.shrink = nn.ModuleList(
            nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in pairwise(widths)
        )
        bottom = widths[-1]
        self.middle = UNetBlock(bottom, bottom, embedding_width)
        self.attend = Attention(bottom) if attention else None
        self.up = nn.ModuleList(Stack(2 * w, w, blocks, embedding_width) for w in widths)
        self.enlarge = nn.ModuleList(
            nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(widths)
        )
        self.context = context
        self.cross_attentions = nn.ModuleDict(
            {
                name: CrossAttention(channels, width_of(context))
                for name, channels in _cross_attention_sites(widths)
                if context is not None
            }
        )
        self.after = group_norm(width)
        self.leave = zero_init(nn.Conv2d(width, (outputs or channels) * patch**2, 3, padding=1))

    def forward(
        self,
        x: Float[Tensor, "B C H W"],
        log_snr: Float[Tensor, " B"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "B K H W"]:
        """Return the network's prediction.

        Arguments:
            x: Noisy images, scaled.
            log_snr: ln(alpha^2 / sigma^2) of each.
            condition: What they are to be.
        """
        e = self.noise_level(log_snr)
        if self.class_embedding is not None:
            e = e + self.class_embedding(condition, len(x))
        e = F.silu(e)
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple))
        h = self.enter(F.pixel_unshuffle(x, self.patch))
        h = h.contiguous(memory_format=_layout(self))

        context_tokens = None if self.context is None else self.context(condition, len(x))
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.down):
            h = self.shrink[level - 1](h) if level else h
            h = self._cross_attend(f"down_{level}", blocks(h, e), context_tokens)
            skips.append(h)
        h = self.middle(h, e)
        if self.attend is not None:
            h = self.attend(h)
        h = self._cross_attend("middle", h, context_tokens)
        for level in reversed(range(len(self.up))):
            if level < len(self.enlarge):
                h = F.interpolate(self.enlarge[level](h), scale_factor=2.0, mode="nearest")
            h = self.up[level](torch.cat([h, skips[level]], dim=1), e)
            h = self._cross_attend(f"up_{level}", h, context_tokens)
        h = F.pixel_shuffle(self.leave(F.silu(self.after(h))), self.patch)
        return h[:, :, :height, :width]

    def _cross_attend(
        self, site: str, h: Tensor, context_tokens: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """Let the pixels attend to the context's tokens, where the network has cross-attention."""
        if context_tokens is None or site not in self.cross_attentions:
            return h
        return self.cross_attentions[site](h, *context_tokens)


class Perceptron(nn.Module):
    """A denoiser of points: a residual perceptron given the noise level and the condition.

    Arguments:
        dimensions: D of the points.
        width: Units of a layer.
        depth: Layers.
        classes: Classes of the condition; 0 for none.
        outputs: Numbers given; D if None.

    >>> Perceptron(2, width=16)(torch.zeros(5, 2), torch.zeros(5)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        dimensions: int,
        *,
        width: int = 128,
        depth: int = 3,
        classes: int = 0,
        outputs: int | None = None,
    ) -> None:
        super().__init__()
        self.noise_level = LogSnrEmbedding(width)
        self.class_embedding = ConditionEmbedding(classes, width) if classes else None
        self.layers = MLP(
            dimensions, outputs or dimensions, width=width, depth=depth, condition=width
        )
        zero_init(self.layers.last)

    def forward(
        self,
        x: Float[Tensor, "B D"],
        log_snr: Float[Tensor, " B"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "B D"]:
        """Return the network's prediction."""
        e = self.noise_level(log_snr)
        if self.class_embedding is not None:
            e = e + self.class_embedding(condition, len(x))
        return self.layers(x, F.silu(e))


def _cross_attention_sites(widths: Sequence[int]) -> list[tuple[str, int]]:
    """Return where pixels ask the condition, with their channels there."""
    coarsest = list(enumerate(widths))[-2:]
    sites = [
        (f"{direction}_{level}", width)
        for direction in ("down", "up")
        for level, width in coarsest
    ]
    return [*sites, ("middle", widths[-1])]


def _layout(network: UNet) -> torch.memory_format:
    """Return the memory layout that the network's weights are kept in.

    The first layer cannot tell: with one input channel its weight is contiguous in both.
    """
    weight = network.middle.first.weight
    channels_last = weight.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format
