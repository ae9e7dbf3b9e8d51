r"""A transformer over patches of an image as the denoiser, conditioned by its norms.

The image is cut into patches of p x p pixels, each of which becomes one token at a fixed place;
`depth` times, with the log-SNR and the class as one vector e,

    (b_1, a_1, g_1, b_2, a_2, g_2) = A silu(e)                       A starts at zero
    h <- h + g_1 attention((1 + a_1) n(h) + b_1)
    h <- h + g_2 perceptron((1 + a_2) n(h) + b_2)

so that at the start every gate g is zero and every block is the identity ("adaLN-zero"), and, the
last layer being zero too, the network says zero. With a context tau, the pixels of a patch ask
what is wanted by a cross-attention between the two lines, which starts at zero as well.

The position of a patch at row r and column c is encoded by cosines and sines of both, at
frequencies that fall geometrically; the product of two places' vectors depends only on how far
they are apart.

References:
    Scalable Diffusion Models with Transformers, Peebles & Xie, 2023 (arXiv:2212.09748).
    An Image is Worth 16x16 Words, Dosovitskiy et al., 2021 (arXiv:2010.11929).
    FiLM, Perez, Strub, de Vries, Dumoulin & Courville, 2018 (arXiv:1709.07871).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.errors import BadInput
from trilemma.networks.attention import CrossAttention, SelfAttention
from trilemma.networks.condition_encoder import width_of
from trilemma.networks.layers import ConditionEmbedding, LogSnrEmbedding, zero_init

__all__ = ["PatchBlock", "PatchTransformer", "position_encodings"]

BASE = 100.0
"""Slowest wave of a place: 1 / BASE of a radian a patch; the fastest is one radian."""


class PatchBlock(nn.Module):
    """One round of attention and perceptron, both gated by e; the identity when it is new.

    Arguments:
        width: Numbers of a token.
        heads: Heads of the attention; divides `width`.
        context_width: Numbers of a condition's token; 0 for none.
    """

    def __init__(self, width: int, heads: int, context_width: int = 0) -> None:
        super().__init__()
        self.modulation = zero_init(nn.Linear(width, 6 * width))
        self.attend = SelfAttention(width, heads)
        self.ask = CrossAttention(width, context_width, width // heads) if context_width else None
        self.think = nn.Sequential(
            nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)
        )

    def forward(
        self,
        h: Float[Tensor, "B N width"],
        e: Float[Tensor, "B width"],
        grid: tuple[int, int],
        context_tokens: tuple[Tensor, Tensor] | None = None,
    ) -> Float[Tensor, "B N width"]:
        """Return the tokens.

        Arguments:
            h: Tokens, row after row of the grid.
            e: The condition vector of the norms, after its activation.
            grid: Rows and columns of patches, N in all.
            context_tokens: Tokens of the condition, and the mask of those that count.
        """
        shift, scale, gate, shift_2, scale_2, gate_2 = self.modulation(e)[:, None].chunk(6, dim=2)
        h = torch.addcmul(h, gate, self.attend(_modulated(h, shift, scale)))
        if self.ask is not None and context_tokens is not None:
            picture = h.transpose(1, 2).unflatten(2, grid)
            h = self.ask(picture, *context_tokens).flatten(2).transpose(1, 2)
        return torch.addcmul(h, gate_2, self.think(_modulated(h, shift_2, scale_2)))


class PatchTransformer(nn.Module):
    """A transformer over the patches of images of one size.

    Arguments:
        shape: (C, H, W) of the images.
        patch: Side p of a patch; divides H and W.
        width: Numbers of a token, a multiple of `head` and of 4.
        depth: Blocks.
        head: Numbers of one head.
        classes: Classes that condition the norms; 0 for none.
        context: tau, such as a `Context`, for cross-attention to what is wanted; None for none.
        outputs: Channels given; those of the images if None.
        inputs: Channels taken; those of the images if None.

    Raises:
        BadInput: The patch does not divide the sides, or the head the width.

    >>> network = PatchTransformer((3, 12, 8), width=32, depth=2, head=16, classes=10)
    >>> network(torch.zeros(2, 3, 12, 8), torch.zeros(2)).shape
    torch.Size([2, 3, 12, 8])
    """

    positions: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        patch: int = 4,
        width: int = 192,
        depth: int = 6,
        head: int = 64,
        classes: int = 0,
        context: nn.Module | None = None,
        outputs: int | None = None,
        inputs: int | None = None,
    ) -> None:
        super().__init__()
        channels, *sides = shape
        _fitting(sides[0], sides[1], patch, width, head)
        self.sides, self.patch = (sides[0], sides[1]), patch
        self.grid = (sides[0] // patch, sides[1] // patch)
        self.noise_level = LogSnrEmbedding(width)
        self.class_embedding = ConditionEmbedding(classes, width) if classes else None
        self.context = context
        self.enter = nn.Linear((inputs or channels) * patch**2, width)
        self.register_buffer(
            "positions", position_encodings(self.grid, width).float(), persistent=False
        )
        context_width = 0 if context is None else width_of(context)
        self.blocks = nn.ModuleList(
            PatchBlock(width, width // head, context_width) for _ in range(depth)
        )
        self.after = zero_init(nn.Linear(width, 2 * width))
        self.leave = zero_init(nn.Linear(width, (outputs or channels) * patch**2))

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

        Raises:
            BadInput: The images have another size than the network was made for.
        """
        if tuple(x.shape[2:]) != self.sides:
            raise BadInput(
                f"images of {x.shape[2]} x {x.shape[3]} were given to a patch transformer made "
                f"for {self.sides[0]} x {self.sides[1]}; give that size, or train a U-Net, which "
                "takes any."
            )
        e = self.noise_level(log_snr)
        if self.class_embedding is not None:
            e = e + self.class_embedding(condition, len(x))
        e = F.silu(e)
        context = None if self.context is None else self.context(condition, len(x))
        h = self.enter(F.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2))
        h = h + self.positions.to(h.dtype)
        for block in self.blocks:
            h = block(h, e, self.grid, context)
        h = self.leave(_modulated(h, *self.after(e)[:, None].chunk(2, dim=2)))
        return F.pixel_shuffle(h.transpose(1, 2).unflatten(2, self.grid), self.patch)


def position_encodings(grid: tuple[int, int], width: int) -> Float[Tensor, "N width"]:
    """Return the position encoding of each cell of a grid, row after row, float64.

    The first half of its numbers are cosines and sines of the row, the second of the column.

    Arguments:
        grid: Rows and columns.
        width: Numbers of a vector, a multiple of 4.
    """
    frequencies = BASE ** -torch.linspace(0, 1, width // 4, dtype=torch.float64)
    positions = torch.cartesian_prod(*(torch.arange(side, dtype=torch.float64) for side in grid))
    angles = positions[:, :, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=2).flatten(1)


def _modulated(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Return (1 + scale) n(h) + shift, with a layer normalisation n that has no parameters."""
    return torch.addcmul(shift, F.layer_norm(h, h.shape[-1:]), 1 + scale)


def _fitting(height: int, width: int, patch: int, numbers: int, head: int) -> None:
    """Refuse sizes of which no network can be made."""
    if patch < 1 or height % patch or width % patch:
        fit = [p for p in range(1, min(height, width) + 1) if not height % p and not width % p]
        raise BadInput(
            f"patches of {patch} x {patch} were given, and they do not divide images of "
            f"{height} x {width}; give a side of {_listed(fit)}."
        )
    if head < 1 or numbers < 1 or numbers % head or numbers % 4:
        step = math.lcm(max(head, 1), 4)
        raise BadInput(
            f"a transformer of width {numbers} in heads of {head} was given; give a width that "
            f"divides by {step}, such as {max(1, round(numbers / step)) * step}."
        )


def _listed(numbers: list[int]) -> str:
    """Return '1', '1 or 2', '1, 2 or 4'."""
    *first, last = map(str, numbers)
    return f"{', '.join(first)} or {last}" if first else last
