r"""A causal transformer over the cells of an image, in raster order.

Cell i is described by one token, made of what was drawn before it and nothing else:

    t_0 = s,      t_i = E [x_{i-1}, x_{i-w+1}, x_{i-w}, x_{i-w-1}] + c

with a learned start s, the four cells that touch cell i from before (w cells in a row; where there
is none, zeros), and c for the wanted class. Then, `depth` times, each token gathers from the
tokens up to itself and thinks for itself,

    a <- x + O softmax(Q K^T / sqrt d + mask) V,      Q, K, V of the normalised x
    x <- a + W_2 (silu(W_1 n(a)) * W_3 n(a))

so that the output at i depends on cells before i only. A token's position is encoded by rotating
queries and keys: half of the pairs of numbers of a head turn with the row, half with the column,
and a product of two of them depends on how far apart the two stand, in rows and in columns.

Drawn one cell at a time, keys and values of earlier tokens do not change. `step` keeps them and
computes one token: for N cells, N tokens' work in place of N^2.

References:
    Attention Is All You Need, Vaswani et al., 2017 (arXiv:1706.03762).
    Generative Pretraining from Pixels, Chen et al., 2020 (ICML; "ImageGPT").
    RoFormer: Enhanced Transformer with Rotary Position Embedding, Su et al., 2021
        (arXiv:2104.09864); on two axes, Heo et al., 2024 (arXiv:2403.13298).
    GLU Variants Improve Transformer, Shazeer, 2020 (arXiv:2002.05202).
    On Layer Normalization in the Transformer Architecture, Xiong et al., 2020 (arXiv:2002.04745).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.errors import BadInput
from trilemma.networks.layers import ConditionEmbedding

__all__ = [
    "CausalBlock",
    "CausalTransformer",
    "Memory",
    "reach",
    "refuse_width",
    "rotated",
    "turns",
]

BASE = 100.0
"""Slowest turn: 1 / BASE of a radian a cell; the fastest is one radian."""


@dataclass(frozen=True)
class Memory:
    """What a step may look back on, for n rows drawn together."""

    cells: Float[Tensor, "N n D"]
    """Scaled cells, place by place."""
    keys: Float[Tensor, "L n heads N d"]
    """Rotated keys of the tokens so far, layer by layer."""
    values: Float[Tensor, "L n heads N d"]
    cond: Float[Tensor, "n width"] | None
    """The class embedding."""


class CausalBlock(nn.Module):
    """x + attention to tokens up to this one, then + a gated perceptron, each normalised before.

    Arguments:
        width: Numbers of a token.
        heads: Heads of the attention; divides `width`.
        depth: Blocks in all; what they add starts no larger together than one of them alone.
    """

    def __init__(self, width: int, heads: int, depth: int = 1) -> None:
        super().__init__()
        self.heads, hidden = heads, 16 * round(width / 6)
        self.before = nn.LayerNorm(width, bias=False)
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.between = nn.LayerNorm(width, bias=False)
        self.enter = nn.Linear(width, 2 * hidden, bias=False)
        self.leave = nn.Linear(hidden, width, bias=False)
        for layer in (self.out, self.leave):
            layer.weight.data.mul_((2 * depth) ** -0.5)

    def forward(self, x: Float[Tensor, "B N width"], turn: Tensor) -> Float[Tensor, "B N width"]:
        """Return the tokens, each having looked at those up to itself."""
        q, k, v = self.project_qkv(x, turn)
        with torch.autocast(x.device.type, enabled=False):
            attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.add_residuals(x, attended)

    def step(
        self,
        x: Float[Tensor, "n 1 width"],
        turn: Tensor,
        keys: Tensor,
        values: Tensor,
        position: int,
    ) -> Float[Tensor, "n 1 width"]:
        """Return one token, and keep its key and value, [n, heads, N, d], for the next."""
        q, k, v = self.project_qkv(x, turn)
        keys[:, :, position : position + 1], values[:, :, position : position + 1] = k, v
        past, scale = slice(position + 1), q.shape[3] ** -0.5
        # For one query there is nothing to fuse: plain products read the memory faster.
        attention = (scale * q @ keys[:, :, past].transpose(2, 3)).softmax(3)
        return self.add_residuals(x, attention @ values[:, :, past])

    def project_qkv(self, x: Tensor, turn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, [B, heads, N, d]."""
        qkv = self.project(self.before(x)).unflatten(2, (3, self.heads, -1))
        promoted = qkv.to(torch.promote_types(qkv.dtype, torch.float32))
        # In half precision, attention's backward pass on a CPU takes six times as long.
        dtype = promoted.dtype if x.is_cpu else qkv.dtype
        q, k = rotated(promoted[:, :, :2], turn).to(dtype).permute(2, 0, 3, 1, 4)
        return q, k, promoted[:, :, 2].to(dtype).transpose(1, 2)

    def add_residuals(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Return the tokens after what they gathered, [B, heads, N, d], and the perceptron."""
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        gate, inner = self.enter(self.between(x)).chunk(2, dim=2)
        return x + self.leave(F.silu(gate) * inner)


def refuse_width(width: int, heads: int) -> None:
    """Refuse a width that heads do not divide into multiples of 4.

    Raises:
        BadInput: They do not.
    """
    if width < 1 or heads < 1 or width % (4 * heads):
        raise BadInput(
            f"width {width} and {heads} heads were given, and a head needs a multiple of 4 "
            f"numbers; give a width that divides by {4 * max(heads, 1)}."
        )


class CausalTransformer(nn.Module):
    """h_i of the cells before i, for a family that draws cell i by it.

    Arguments:
        numbers: D, numbers of a cell.
        grid: Rows and columns of cells.
        width: Numbers of a token and of the output.
        depth: Blocks.
        heads: Heads of the attention; `width / heads` is a multiple of 4.
        classes: Classes of the condition; 0 for none.

    Raises:
        BadInput: The heads do not divide the width into multiples of 4.

    >>> trunk = CausalTransformer(4, (3, 5), width=16, depth=2, heads=2)
    >>> trunk(torch.zeros(7, 4, 3, 5)).shape
    torch.Size([7, 16, 3, 5])
    """

    turn: Tensor

    def __init__(
        self,
        numbers: int,
        grid: tuple[int, int],
        *,
        width: int = 128,
        depth: int = 6,
        heads: int = 4,
        classes: int = 0,
    ) -> None:
        super().__init__()
        refuse_width(width, heads)
        self.numbers, self.grid, self.width, self.heads = numbers, grid, width, heads
        self.back = reach(grid[1])
        self.start_token = nn.Parameter(torch.randn(width))
        self.enter = nn.Linear(numbers * len(self.back), width)
        self.class_embedding = ConditionEmbedding(classes, width) if classes else None
        self.blocks = nn.ModuleList(CausalBlock(width, heads, depth) for _ in range(depth))
        self.after = nn.LayerNorm(width)
        self.register_buffer(
            "turn", turns(grid, width // heads).to(torch.complex64), persistent=False
        )

    def forward(
        self, cells: Float[Tensor, "B D h w"], condition: Condition | None = None
    ) -> Float[Tensor, "B width h w"]:
        """Return h of every cell; that of a cell depends on the cells before it.

        Arguments:
            cells: Scaled to [-1, 1].
            condition: What the rows are to be.
        """
        sequence = cells.flatten(2).transpose(1, 2)
        shifted_inputs = torch.cat([_later(sequence, s) for s in self.back], dim=2)
        x = self.tokens(shifted_inputs, self.embed_condition(condition, len(cells)))
        for block in self.blocks:
            x = block(x, self.turn)
        return self.after(x).transpose(1, 2).unflatten(2, self.grid)

    def start(
        self, n: int, condition: Condition | None = None, device: torch.device | str = "cpu"
    ) -> Memory:
        """Return the memory of n rows of which nothing is drawn yet."""
        sequence_length, dtype = math.prod(self.grid), self.start_token.dtype
        shape = (len(self.blocks), n, self.heads, sequence_length, self.width // self.heads)
        keys, values = (torch.empty(shape, device=device, dtype=dtype) for _ in range(2))
        cells = torch.zeros(sequence_length, n, self.numbers, device=device, dtype=dtype)
        return Memory(cells, keys, values, self.embed_condition(condition, n))

    def step(
        self, memory: Memory, position: int, before: Float[Tensor, "n D"] | None
    ) -> Float[Tensor, "n width"]:
        """Return h of one cell; positions are visited in order from 0.

        Arguments:
            memory: Of `start`; it is written to.
            position: Index of the cell in raster order.
            before: The cell at `position - 1`, scaled; None at 0.
        """
        if before is not None:
            memory.cells[position - 1] = before
        zeros = torch.zeros_like(memory.cells[0])
        context = [memory.cells[position - s] if position >= s else zeros for s in self.back]
        x = self.tokens(torch.cat(context, dim=1)[:, None], memory.cond, first=position == 0)
        turn = self.turn[position : position + 1]
        for block, keys, values in zip(self.blocks, memory.keys, memory.values, strict=True):
            x = cast(CausalBlock, block).step(x, turn, keys, values, position)
        return self.after(x[:, 0])

    def embed_condition(
        self, condition: Condition | None, rows: int
    ) -> Float[Tensor, "B width"] | None:
        """Return the embedding of the class; None for an unconditional network."""
        return None if self.class_embedding is None else self.class_embedding(condition, rows)

    def tokens(
        self, inputs: Float[Tensor, "B N C"], cond: Tensor | None, *, first: bool = True
    ) -> Float[Tensor, "B N width"]:
        """Return tokens of the cells that touch each place; `first`: the first place is 0."""
        x = self.enter(inputs)
        if first:
            begin = self.start_token.to(x.dtype).expand(len(x), 1, -1)
            x = torch.cat([begin, x[:, 1:]], dim=1)
        return x if cond is None else x + cond[:, None].to(x.dtype)


def reach(columns: int) -> tuple[int, ...]:
    """Return how many places back the cells lie that touch a cell, among those before it.

    >>> reach(7), reach(1)
    ((1, 6, 7, 8), (1, 2))
    """
    return tuple(sorted({1, columns - 1, columns, columns + 1} - {0}))


def turns(grid: tuple[int, int], numbers: int) -> Tensor:
    """Return e^(i angle) for each place and each pair of numbers, [h w, numbers / 2].

    The first half of the angles goes with the row, the second with the column, at frequencies
    that fall geometrically from 1 to 1 / `BASE`.

    Arguments:
        grid: Rows h and columns w.
        numbers: Numbers d of a head, a multiple of 4.
    """
    frequencies = BASE ** -torch.linspace(0, 1, numbers // 4, dtype=torch.float64)
    positions = torch.cartesian_prod(*(torch.arange(side) for side in grid))
    angles = (positions[:, :, None] * frequencies).flatten(1)
    return torch.polar(torch.ones_like(angles), angles)


def rotated(x: Float[Tensor, "B N two heads d"], turn: Tensor) -> Tensor:
    """Turn neighbouring pairs of numbers by the angles of their places, as complex numbers."""
    pairs = torch.view_as_complex(x.unflatten(4, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * turn[:, None, None]).flatten(4)


def _later(sequence: Float[Tensor, "B N D"], by: int) -> Float[Tensor, "B N D"]:
    """Move a sequence to later places; what it leaves is zero, what leaves it is cut."""
    return F.pad(sequence, (0, 0, by, 0))[:, : sequence.shape[1]]
