r"""A transformer on point clouds: no symmetry is built in but that of the points' order.

Each point is a token of its position, its features and the time; layers of attention over all
points of a cloud and of two-layer networks, with norms before them (pre-norm), give each token's
prediction. What rotations do to a cloud has to be learnt, from clouds that are turned at random in
training. It is cheaper than messages over pairs, and what symmetry buys at equal time is to be
measured.

References:
    Attention Is All You Need (Vaswani et al., 2017), arXiv:1706.03762.
    TABASCO: A Fast, Simplified Model for Molecular Generation with Improved Physical Quality
    (Vonessen et al., 2025), arXiv:2507.00899: molecules in space without equivariance.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.point_cloud import centred
from trilemma.networks.egnn import TIMES, shared_by_points, trimmed
from trilemma.networks.layers import zero_init
from trilemma.networks.property_condition import PropertyCondition

__all__ = ["HEAD", "PointTransformerDenoiser"]

HEAD = 16
"""Numbers of a head."""


class _Layer(nn.Module):
    """Attention over the points of each cloud, then a network of each point."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.projected = nn.Linear(width, 3 * width)
        self.joined = nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(
        self, x: Float[Tensor, "B N W"], attn_mask: Bool[Tensor, "B 1 1 N"]
    ) -> Float[Tensor, "B N W"]:
        """Return the tokens after the layer."""
        rows, points, width = x.shape
        parts = self.projected(self.norms[0](x)).view(rows, points, 3, self.heads, HEAD)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask)
        x = x + self.joined(attended.transpose(1, 2).reshape(rows, points, width))
        return x + self.narrow(F.gelu(self.wide(self.norms[1](x))))


class PointTransformerDenoiser(nn.Module):
    """A denoiser of clouds, behind the interface of `EgnnDenoiser`.

    Arguments:
        features: F, numbers of a point beside its position.
        width: Numbers of a token, a multiple of 16.
        layers: How many layers.
        properties: Reads the properties that a cloud is wanted to have; None: it has no say.
    """

    def __init__(
        self,
        features: int,
        *,
        width: int = 128,
        layers: int = 6,
        properties: PropertyCondition | None = None,
    ) -> None:
        super().__init__()
        if width % HEAD:
            raise ValueError(f"a width of {width} was given; it is a multiple of {HEAD}.")
        self.properties = properties
        property_width = 0 if properties is None else properties.width
        self.embedding = nn.Linear(3 + features + TIMES + property_width, width)
        self.layers = nn.ModuleList(_Layer(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.output = zero_init(nn.Linear(width, 3 + features))

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        log_snr: Float[Tensor, " B"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Return what is predicted of each state, added to it; positions centred.

        Arguments:
            x: States, positions first.
            log_snr: ln(alpha^2 / sigma^2) of each.
            condition: Which points there are; all without one. And the properties that are
                wanted, in their units.
        """
        padded_size = x.shape[1]
        x, mask = trimmed(x, condition)
        trimmed_size = x.shape[1]
        shared = shared_by_points(log_snr, condition, self.properties)
        tokens = self.embedding(
            torch.cat([x, shared[:, None].expand(-1, trimmed_size, -1)], dim=-1)
        )
        attn_mask = mask[:, None, None] | ~mask.any(1)[:, None, None, None]
        for layer in self.layers:
            tokens = layer(tokens, attn_mask)
        out = (x + self.output(self.norm(tokens)).to(x)) * mask[..., None]
        out = torch.cat([centred(out[..., :3], mask), out[..., 3:]], dim=-1)
        return F.pad(out, (0, 0, 0, padded_size - trimmed_size))
