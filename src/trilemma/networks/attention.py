r"""Attention: each place asks, and gathers what answers it.

    a_ij = softmax_j(q_i . k_j / sqrt d),      y_i = sum_j a_ij v_j

    Attention        of the pixels of an image to each other: q, k, v of the same pixels
    SelfAttention    of the items of a sequence to each other, those that are seen
    CrossAttention   of the pixels to what an example is asked to be: q = W_Q phi(z)_i of the
                     image's features, k = W_K tau(y)_j and v = W_V tau(y)_j of the M tokens
                     that tau makes of a class or a caption y

A token that is masked has the weight 0, exactly; a row that sees no token gathers nothing. Every
form adds to what it was given by a last layer that starts at zero (except in sequences), so that
a new network is one without attention.

The weights a of a cross-attention say which token each position attends to; `record_maps` records
them:

    with record_maps(network) as maps:
        network(x, log_snr, condition)
    maps[0]                  # [B, heads, H W, M], the first cross-attention's
    maps.over((32, 32))      # [B, M, 32, 32], in mean over layers and heads

How it is computed. Weights that nobody asked for stay inside torch's fused kernel. On a processor
in bfloat16 that kernel's backward pass is slow (measured with its forward on one thread with
AVX-512 bf16, batch 64 to 128: 36 to 66 ms for 49 to 64 places, against 8 to 13 ms by two plain
products), so that small ones are computed plainly there, and large ones in float32.

References:
    Attention Is All You Need, Vaswani et al., 2017 (arXiv:1706.03762).
    High-Resolution Image Synthesis with Latent Diffusion Models, Rombach, Blattmann, Lorenz,
        Esser & Ommer, 2022 (arXiv:2112.10752), section 3.3.
    What the DAAM: Interpreting Stable Diffusion Using Cross Attention, Tang et al., 2022
        (arXiv:2210.04885): the maps in mean over heads and layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from trilemma.networks.layers import zero_init

__all__ = [
    "Attention",
    "AttentionMaps",
    "CrossAttention",
    "SelfAttention",
    "dot_product_attention",
    "group_norm",
    "record_maps",
    "weights",
]

PLAIN = 2**16
"""Places times tokens up to which half precision on a processor is computed plainly."""


def weights(
    q: Float[Tensor, "B heads N d"],
    k: Float[Tensor, "B heads M d"],
    mask: Bool[Tensor, "B M"] | None = None,
) -> Float[Tensor, "B heads N M"]:
    """Return softmax_j(q_i . k_j / sqrt d) over the tokens that are seen, in float32 or finer.

    Arguments:
        q: Queries.
        k: Keys.
        mask: Which tokens are seen; None means all. Where a row sees none, all weights are 0.
    """
    scores = q @ (k * k.shape[3] ** -0.5).transpose(2, 3)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if mask is None:
        return scores.softmax(3)
    hidden = ~mask[:, None, None]
    least = torch.finfo(scores.dtype).min
    return scores.masked_fill(hidden, least).softmax(3).masked_fill(hidden, 0.0)


def dot_product_attention(
    q: Float[Tensor, "B heads N d"],
    k: Float[Tensor, "B heads M d"],
    v: Float[Tensor, "B heads M d"],
    mask: Bool[Tensor, "B M"] | None = None,
) -> Float[Tensor, "B heads N d"]:
    """Return sum_j a_ij v_j with the `weights` a, in the way that is fast where it runs."""
    is_half = q.is_cpu and q.dtype in (torch.bfloat16, torch.float16)
    if is_half and q.shape[2] * k.shape[2] <= PLAIN:
        return weights(q, k, mask).to(v.dtype) @ v
    attn_mask = None if mask is None else mask[:, None, None]
    if not is_half:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
    with torch.autocast("cpu", enabled=False):
        exact = (part.float() for part in (q, k, v))
        return F.scaled_dot_product_attention(*exact, attn_mask=attn_mask).to(v.dtype)


class Attention(nn.Module):
    """x + attention of every pixel to every other.

    Arguments:
        channels: Channels of x.
        head: Channels of one head, about; their number is what divides `channels`.
    """

    def __init__(self, channels: int, head: int = 32) -> None:
        super().__init__()
        self.heads = _heads(channels, head)
        self.before = group_norm(channels)
        self.project = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the same shape."""
        parts = self.project(self.before(x)).flatten(2).transpose(1, 2).chunk(3, dim=2)
        q, k, v = (_split(part, self.heads) for part in parts)
        attended = dot_product_attention(q, k, v)
        return x + self.out(_joined(attended).transpose(1, 2).unflatten(2, x.shape[2:]))


class SelfAttention(nn.Module):
    """Attention of the items of a sequence to each other; adds nothing of its own accord.

    Arguments:
        width: Numbers of an item.
        heads: Heads; divides `width`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "B N width"], mask: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B N width"]:
        """Return what each item gathered from those that are seen."""
        q, k, v = (_split(part, self.heads) for part in self.project(x).chunk(3, dim=2))
        return self.out(_joined(dot_product_attention(q, k, v, mask)))


class CrossAttention(nn.Module):
    """x + W_O softmax(Q K^T / sqrt d) V, with Q of x and K, V of the tokens of a condition.

    Arguments:
        channels: Channels C of x.
        context_width: Numbers E of a token.
        head: Channels of one head, about; their number is what divides `channels`.

    >>> attend = CrossAttention(48, 16)
    >>> attend(torch.zeros(2, 48, 5, 6), torch.zeros(2, 3, 16), None).shape
    torch.Size([2, 48, 5, 6])
    """

    recorder: AttentionMaps | None = None
    """Where `record_maps` puts the weights; None to discard them."""

    def __init__(self, channels: int, context_width: int, head: int = 32) -> None:
        super().__init__()
        self.heads = _heads(channels, head)
        self.before = group_norm(channels)
        self.ask = nn.Linear(channels, channels, bias=False)
        self.answer = nn.Linear(context_width, 2 * channels, bias=False)
        self.out = zero_init(nn.Linear(channels, channels))

    def forward(
        self,
        x: Float[Tensor, "B C H W"],
        tokens: Float[Tensor, "B M E"],
        mask: Bool[Tensor, "B M"] | None = None,
    ) -> Float[Tensor, "B C H W"]:
        """Return the same shape; a row that sees no token gets the bias of W_O alone.

        Arguments:
            x: The image's features.
            tokens: tau(y).
            mask: Which tokens are seen; None means all.
        """
        q = _split(self.ask(self.before(x).flatten(2).transpose(1, 2)), self.heads)
        k, v = (_split(part, self.heads) for part in self.answer(tokens).chunk(2, dim=2))
        if self.recorder is None:
            attended = dot_product_attention(q, k, v, mask)
        else:
            attn_weights = weights(q, k, mask)
            self.recorder.record(attn_weights, (x.shape[2], x.shape[3]))
            attended = attn_weights.to(v.dtype) @ v
        return x + self.out(_joined(attended)).transpose(1, 2).unflatten(2, x.shape[2:])


class AttentionMaps(list[Tensor]):
    """Weights [B, heads, H W, M] of cross-attentions, in the order in which they were called.

    >>> maps = AttentionMaps()
    >>> maps.record(torch.full((2, 4, 6, 3), 1 / 3), (2, 3))
    >>> maps.over((4, 6)).shape
    torch.Size([2, 3, 4, 6])
    """

    def __init__(self) -> None:
        super().__init__()
        self.sides: list[tuple[int, int]] = []
        """H and W of each."""

    def record(self, share: Float[Tensor, "B heads N M"], sides: tuple[int, int]) -> None:
        """Take the weights of one call."""
        self.append(share.detach())
        self.sides.append(sides)

    def over(self, sides: tuple[int, int]) -> Float[Tensor, "B M H W"]:
        """Return each token's weight at each place of an image, in mean over calls and heads.

        Maps of coarser features are enlarged bilinearly, which keeps the sum over tokens. The
        rows must be the same in all calls; `clear` between calls of other rows.
        """
        pictures = [
            F.interpolate(share.mean(1).transpose(1, 2).unflatten(2, size), sides, mode="bilinear")
            for share, size in zip(self, self.sides, strict=True)
        ]
        return torch.stack(pictures).mean(0)

    def clear(self) -> None:
        """Forget what was recorded."""
        super().clear()
        self.sides.clear()


@contextmanager
def record_maps(network: nn.Module) -> Iterator[AttentionMaps]:
    """Record the weights of every `CrossAttention` of a network that is called in the block.

    Weights are then computed one by one, which takes more time and memory; what the network
    gives is the same but for rounding. Inside another such block, the inner one records.

    Arguments:
        network: Any module.

    Returns:
        A list of [B, heads, H W, M], float32 or finer, detached, in order of the calls; empty
        where the network has no cross-attention. Afterwards it can still be read.
    """
    cross_attentions = [
        module for module in network.modules() if isinstance(module, CrossAttention)
    ]
    previous_maps, maps = [module.recorder for module in cross_attentions], AttentionMaps()
    try:
        for module in cross_attentions:
            module.recorder = maps
        yield maps
    finally:
        for module, previous in zip(cross_attentions, previous_maps, strict=True):
            module.recorder = previous


def group_norm(channels: int) -> nn.GroupNorm:
    """Normalise in groups of about 16 channels, at most 32 groups."""
    return nn.GroupNorm(math.gcd(channels, min(32, max(1, channels // 16))), channels)


def _heads(channels: int, head: int) -> int:
    """Return the number of heads of about `head` channels that divides the channels."""
    return max(h for h in range(1, channels // head + 2) if channels % h == 0)


def _split(x: Float[Tensor, "B N C"], heads: int) -> Float[Tensor, "B heads N d"]:
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _joined(x: Float[Tensor, "B heads N d"]) -> Float[Tensor, "B N C"]:
    return x.transpose(1, 2).flatten(2)
