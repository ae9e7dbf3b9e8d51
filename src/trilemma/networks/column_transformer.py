r"""A causal transformer over a table's columns: what is said of column d knows those before it.

Column d is asked about by one token, made of its own learned vector and the value before it,

    t_d = c_d + E_{d-1}[k] + W_{d-1} f + e,      c_d: the column,  e: the class
                                                 k, f: bin and features of value d - 1

so that the first token knows no value. A value that is hidden, because it is missing, adds
nothing. `depth` blocks of attention to tokens up to its own (`networks.transformer`, without
turns: columns have no distances) make h_d of it, and from h_d follow

    logits of bins          L_d = b_d + V_d h_d + Phi_d (U_d h_d)
    logits of a bin's parts (M_d + Q_d Psi) g_d,     g_d = silu(A_d h_d + B_d[k]).

The columns of Phi_d are hats over the axis of an ordered column, 8, 16 and 32 to its length, and
those of Psi polynomials of degree 1 to 4 over a bin: what is said of a bin or a part is learned
for its neighbours too. The free V and M take a tenth of a step, since many weights that few rows
move each learn these rows by heart. V, U, M and Q start at zero, so that a model starts at b,
which may be the columns' own shares.

References:
    Attention Is All You Need, Vaswani et al., 2017 (arXiv:1706.03762).
    Revisiting Deep Learning Models for Tabular Data, Gorishniy et al., 2021 (arXiv:2106.11959).
    TabularARGN: A Flexible and Efficient Auto-Regressive Framework for Generating High-Fidelity
        Synthetic Data, Tiwald et al., 2025 (arXiv:2501.12012).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.networks.layers import ConditionEmbedding
from trilemma.networks.transformer import CausalBlock, refuse_width

__all__ = ["ColumnTransformer", "hats"]

HATS = (8, 16, 32)
"""Numbers of hats over the axis of a column, one set each."""
ORDERED = 0.05
"""Deviation of the first vectors of bins that lie on an axis: their features say where."""
FINE = 0.1
"""Share of a step that logits of single bins and parts take, so that neighbours move together."""
DEGREE = 4
"""Degree of the polynomials over the parts of a bin."""
HIDDEN = 32
"""Hidden units of a bin's parts."""


@dataclass(frozen=True)
class ColumnMemory:
    """What a step may look back on, for n rows drawn together."""

    keys: Float[Tensor, "L n heads D d"]
    values: Float[Tensor, "L n heads D d"]
    cond: Float[Tensor, "n width"] | None
    """The class embedding."""


class ColumnTransformer(nn.Module):
    """Logits of every column's bins, and of their parts, by the columns before it.

    Arguments:
        bins: Bins of each column, in the order in which columns are drawn.
        ordered: Which columns' bins lie on an axis.
        refined: Columns whose bins have parts.
        parts: Parts of a bin.
        features: Numbers that say where a value lies.
        width: Numbers of a token.
        depth: Blocks.
        heads: Heads of the attention; `width / heads` is a multiple of 4.
        classes: Classes of the condition; 0 for none.

    Raises:
        BadInput: The heads do not divide the width into multiples of 4.
    """

    hats: Tensor
    powers: Tensor
    turn: Tensor

    def __init__(
        self,
        bins: Sequence[int],
        ordered: Sequence[bool],
        refined: Sequence[int],
        *,
        parts: int,
        features: int,
        width: int = 64,
        depth: int = 3,
        heads: int = 4,
        classes: int = 0,
    ) -> None:
        super().__init__()
        refuse_width(width, heads)
        columns, most = len(bins), max(bins)
        self.columns, self.bins, self.width, self.heads = columns, most, width, heads
        self.refined = tuple(refined)
        self.column_embedding = nn.Parameter(torch.randn(columns, width))
        scale = torch.tensor([ORDERED if is_ordered else 1.0 for is_ordered in ordered])
        scale = scale.repeat_interleave(most)[:, None]
        self.bin_embedding = nn.Parameter(scale * torch.randn(columns * most, width))
        self.enter = nn.Parameter(torch.randn(columns, features, width) * features**-0.5)
        self.class_embedding = ConditionEmbedding(classes, width) if classes else None
        self.blocks = nn.ModuleList(CausalBlock(width, heads, depth) for _ in range(depth))
        self.after = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(columns * most))
        self.fine = nn.Parameter(torch.zeros(columns, width, most))
        self.coarse = nn.Parameter(torch.zeros(columns, width, sum(HATS)))
        self.register_buffer("hats", hats(bins, ordered), persistent=False)
        turn = torch.ones(columns, width // heads // 2, dtype=torch.complex64)
        self.register_buffer("turn", turn, persistent=False)
        if self.refined:
            r = len(self.refined)
            self.part_enter = nn.Parameter(torch.randn(r, width, HIDDEN) * width**-0.5)
            self.part_embedding = nn.Parameter(ORDERED * torch.randn(r * most, HIDDEN))
            self.part_fine = nn.Parameter(torch.zeros(r, HIDDEN, parts))
            self.part_coarse = nn.Parameter(torch.zeros(r, HIDDEN, DEGREE))
            self.register_buffer("powers", powers(parts), persistent=False)

    @property
    def masks(self) -> int:
        """Return for how many places `keep` of `forward` holds masks: the tokens, and a block."""
        return 1 + len(self.blocks)

    def forward(
        self,
        bins: Int[Tensor, "B D"],
        features: Float[Tensor, "B D F"],
        visible: Bool[Tensor, "B D"],
        condition: Condition | None = None,
        keep: Float[Tensor, "B L width"] | None = None,
    ) -> Float[Tensor, "B D width"]:
        """Return h of every column; that of a column depends on the columns before it.

        Arguments:
            bins: Of each value.
            features: Of each value.
            visible: Which values are seen.
            condition: What the rows are to be.
            keep: What tokens, and what each block adds, are multiplied with: dropout.
        """
        inputs = self._values(bins, features, visible, slice(None))
        x = self.column_embedding + F.pad(inputs[:, :-1], (0, 0, 1, 0))
        cond = self.embed_condition(condition, len(bins))
        x = x if cond is None else x + cond[:, None].to(x.dtype)
        x = x if keep is None else x * keep[:, :1]
        for i, block in enumerate(self.blocks, 1):
            after = block(x, self.turn)
            x = after if keep is None else x + (after - x) * keep[:, i : i + 1]
        return self.after(x)

    def start(
        self, n: int, condition: Condition | None = None, device: torch.device | str = "cpu"
    ) -> ColumnMemory:
        """Return the memory of n rows of which nothing is drawn yet."""
        dtype = self.column_embedding.dtype
        shape = (len(self.blocks), n, self.heads, self.columns, self.width // self.heads)
        keys, values = (torch.empty(shape, device=device, dtype=dtype) for _ in range(2))
        return ColumnMemory(keys, values, self.embed_condition(condition, n))

    def step(
        self,
        memory: ColumnMemory,
        column: int,
        before: tuple[Int[Tensor, "n 1"], Float[Tensor, "n 1 F"], Bool[Tensor, "n 1"]] | None,
    ) -> Float[Tensor, "n 1 width"]:
        """Return h of one column; columns are visited in order from 0.

        Arguments:
            memory: Of `start`; it is written to.
            column: Which.
            before: Bin, features and visibility of the value before; None at 0.
        """
        n = memory.keys.shape[1]
        x = self.column_embedding[column].expand(n, 1, -1)
        if before is not None:
            x = x + self._values(*before, slice(column - 1, column))
        x = x if memory.cond is None else x + memory.cond[:, None].to(x.dtype)
        turn = self.turn[column : column + 1]
        for block, keys, values in zip(self.blocks, memory.keys, memory.values, strict=True):
            x = cast(CausalBlock, block).step(x, turn, keys, values, column)
        return self.after(x)

    def logits(
        self, h: Float[Tensor, "B D width"], columns: slice = slice(None)
    ) -> Float[Tensor, "B D K"]:
        """Return the logits of the bins of some columns."""
        weight = FINE * self.fine[columns] + self.coarse[columns] @ self.hats[columns]
        bias = self.bias.unflatten(0, (self.columns, self.bins))[columns]
        return torch.einsum("bdw,dwk->bdk", h, weight) + bias

    def part_logits(
        self, h: Float[Tensor, "B R width"], bins: Int[Tensor, "B R"], columns: Sequence[int]
    ) -> Float[Tensor, "B R S"]:
        """Return the logits of the parts of a bin of some columns that have them."""
        slots = torch.tensor([self.refined.index(d) for d in columns], device=h.device)
        embedded = F.embedding(bins + slots * self.bins, self.part_embedding)
        hidden = torch.einsum("brw,rwm->brm", h, self.part_enter[slots]) + embedded
        weight = FINE * self.part_fine[slots] + self.part_coarse[slots] @ self.powers
        return torch.einsum("brm,rms->brs", F.silu(hidden), weight)

    def embed_condition(
        self, condition: Condition | None, rows: int
    ) -> Float[Tensor, "B width"] | None:
        """Return the embedding of the class; None for an unconditional network."""
        return None if self.class_embedding is None else self.class_embedding(condition, rows)

    def _values(
        self, bins: Tensor, features: Tensor, visible: Tensor, columns: slice
    ) -> Float[Tensor, "B D width"]:
        """Return what values add to the tokens after them."""
        offsets = torch.arange(self.columns, device=bins.device)[columns] * self.bins
        embedded = F.embedding(bins + offsets, self.bin_embedding)
        features = features.to(self.enter.dtype)
        moved = torch.einsum("bdf,dfw->bdw", features, self.enter[columns])
        return (embedded + moved) * visible[..., None].to(moved.dtype)


def hats(bins: Sequence[int], ordered: Sequence[bool]) -> Float[Tensor, "D J K"]:
    """Return hat functions over the bins of each column; zeros where they lie on no axis.

    >>> hats([4], [True]).shape, float(hats([4], [True])[0, :8].sum(0).min())
    (torch.Size([1, 56, 4]), 1.0)
    """
    rows = torch.zeros(len(bins), sum(HATS), max(bins))
    for d, (count, is_ordered) in enumerate(zip(bins, ordered, strict=True)):
        if is_ordered and count > 1:
            axis, first = torch.linspace(0, 1, count), 0
            for n in HATS:
                distance = (axis * (n - 1) - torch.arange(n)[:, None]).abs()
                rows[d, first : first + n, :count] = (1 - distance).clamp(min=0)
                first += n
    return rows


def powers(parts: int) -> Float[Tensor, "P S"]:
    """Return orthogonal polynomials over the parts of a bin, of mean square 1, by their degree.

    >>> bool(((powers(16) @ powers(16).T / 16 - torch.eye(4)).abs() < 1e-5).all())
    True
    """
    axis = torch.linspace(-1, 1, parts, dtype=torch.float64)[:, None]
    degrees = torch.arange(DEGREE + 1)
    basis = torch.linalg.qr(axis**degrees).Q[:, 1:]
    return (basis.T * parts**0.5).float()
