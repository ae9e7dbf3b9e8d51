r"""Networks that see only what comes before: convolutions over a grid, a perceptron inside a cell.

The grid is read in raster order. One masked convolution after another has a blind spot: a cell
above and to the right is never reached. So there are two streams (van den Oord et al., 2016),

    v_0 = conv of x, rows r-2 and r-1              h_0 = conv of x, 6 cells to the left in row r
    v  <- v + glu(conv_{2x3} v)                    h  <- h + W glu(conv_{1x2} h + U v)

v(r, c) knows rows before r, and its kernel covers rows r-d and r of v, columns c-d, c and c+d;
h(r, c) knows in addition what is to the left in row r. No weight of a kernel is masked: it holds
only the places that it may see, and the padding shifts it there (the shifted convolutions of
PixelCNN++), so that no product is with zero. The spacing d goes 1, 2, 4, 1, … from block to block:
three of them see 8 x 15 places of v_0 without a gap. glu(a, b) = a s(b). Both streams begin with a
learned vector for each place of the grid.

Inside a cell each number has hidden units of its own, which see those of earlier numbers (MADE),

    z_d  = a(A_d h + sum_{e<d} B_de x_e)
    z_d <- z_d + a(sum_{e<=d} C_de z_e)
    f_d  = sum_{e<=d} W_de z_e.

Stepping through the grid needs little: h of one new cell is two matrix products a block, over a
window of cached columns; v is computed a row at a time, when a row begins.

References:
    Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
        https://arxiv.org/abs/1606.05328
    PixelCNN++ (Salimans, Karpathy, Chen & Kingma, 2017), https://arxiv.org/abs/1701.05517
    MADE (Germain, Gregor, Murray & Larochelle, 2015), https://arxiv.org/abs/1502.03509
    Language Modeling with Gated Convolutional Networks (Dauphin et al., 2017),
        https://arxiv.org/abs/1612.08083
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.networks.layers import ConditionEmbedding

__all__ = ["CellPerceptron", "ConvolutionalTrunk", "GatedBlock"]

UP, ASIDE, LEFT = 2, 3, 6
"""What the first convolutions see: rows above, columns to either side there, cells to the left."""

SPACINGS = (1, 2, 4)
"""Spacing of the places that v's convolutions see, block after block."""


class GatedBlock(nn.Module):
    """One step of both streams.

    Arguments:
        width: Channels of each stream.
        spacing: Distance d of the places that v's convolution sees.
        cond_width: Width of the condition vector; 0 for none.
    """

    def __init__(self, width: int, spacing: int = 1, cond_width: int = 0) -> None:
        super().__init__()
        self.spacing = spacing
        self.down = nn.Conv2d(width, 2 * width, (2, 3), dilation=spacing)
        self.along = nn.Conv2d(width, 2 * width, (1, 2))
        self.across = nn.Conv2d(width, 2 * width, 1, bias=False)
        self.out = nn.Conv2d(width, width, 1, bias=False)
        self.cond_layer = nn.Linear(cond_width, 4 * width, bias=False) if cond_width else None

    def forward(
        self, v: Float[Tensor, "B F h w"], h: Float[Tensor, "B F h w"], e: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return both streams, [B, width, h, w]."""
        d = self.spacing
        down = self.down(F.pad(v, (d, d, d, 0)))
        along = self.along(F.pad(h, (1, 0)))
        if self.cond_layer is not None:
            for_v, for_h = self.cond_layer(e)[:, :, None, None].chunk(2, dim=1)
            down, along = down + for_v, along + for_h
        v = v + _gated(down)
        return v, h + self.out(_gated(along + self.across(v)))


class ConvolutionalTrunk(nn.Module):
    """Both streams over a grid of cells: h of each cell from those before it.

    Arguments:
        numbers: Numbers of a cell.
        grid: Rows and columns of cells.
        width: Channels of each stream.
        blocks: Residual blocks; each reaches a row further up and a column further aside.
        classes: Classes of the condition; 0 for none.

    >>> ConvolutionalTrunk(4, (7, 5), width=8, blocks=2)(torch.zeros(3, 4, 7, 5)).shape
    torch.Size([3, 8, 7, 5])
    """

    def __init__(
        self,
        numbers: int,
        grid: tuple[int, int],
        *,
        width: int = 48,
        blocks: int = 6,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.numbers, self.grid, self.width = numbers, grid, width
        self.class_embedding = ConditionEmbedding(classes, width) if classes else None
        self.above = nn.Conv2d(numbers, width, (UP, 2 * ASIDE + 1), bias=False)
        self.left = nn.Conv2d(numbers, width, (1, LEFT), bias=False)
        self.position_embedding = nn.Parameter(0.1 * torch.randn(2, *grid, width))
        self.blocks = nn.ModuleList(
            GatedBlock(width, SPACINGS[i % len(SPACINGS)], width if classes else 0)
            for i in range(blocks)
        )

    def forward(
        self, cells: Float[Tensor, "B D h w"], condition: Condition | None = None
    ) -> Float[Tensor, "B F h w"]:
        """Return h of every cell."""
        e = None if self.class_embedding is None else self.class_embedding(condition, len(cells))
        v = self.above(F.pad(cells, (ASIDE, ASIDE, UP, 0))[:, :, :-1])
        h = self.left(F.pad(cells, (LEFT, 0))[..., :-1])
        for_v, for_h = self.position_embedding.to(v.dtype).permute(0, 3, 1, 2)
        v, h = v + for_v, h + for_h
        for block in self.blocks:
            v, h = block(v, h, e)
        return h

    def start(self, n: int, condition: Condition | None, device: torch.device) -> _SamplingState:
        """Return an empty state for n rows."""
        return _SamplingState(self, n, condition, device)

    def step(
        self, state: _SamplingState, position: int, before: Float[Tensor, "n D"] | None
    ) -> Float[Tensor, "n F"]:
        """Return h of one cell; it is overwritten by the next step."""
        row, column = divmod(position, self.grid[1])
        if before is not None:
            state.cells[column or self.grid[1]].copy_(before)
        if column == 0:
            state.begin(row)
        return state.cell(row, column)


class _SamplingState:
    """What is kept of the cells so far, for n rows, and the weights as matrices.

    A line is a row of one layer, [n, columns, channels] with empty columns to the left of the
    first: what a kernel sees is a run of columns, hence a matrix that lies in place. A line is
    used for each row of the grid anew, for nothing to the right of a cell is looked at.
    """

    def __init__(
        self, trunk: ConvolutionalTrunk, n: int, condition: Condition | None, device: torch.device
    ) -> None:
        """Prepare weights, lines and the views of them that a step takes."""
        self.trunk, width = trunk, trunk.width
        like = {"device": device, "dtype": trunk.position_embedding.dtype}
        _, columns = trunk.grid
        numbers = trunk.numbers
        self.position_embedding = trunk.position_embedding.detach()
        blocks = [block for block in trunk.blocks if isinstance(block, GatedBlock)]

        # Above: rows r - d … r of every layer of v, with their padding.
        self.image = torch.zeros(n, numbers, UP, columns + 2 * ASIDE, **like)
        self.rows = [
            torch.zeros(n, width, d + 1, columns + 2 * d, **like)
            for d in (block.spacing for block in blocks)
        ]
        self.cond_v, self.cond_h = self._cond_terms(blocks, n, condition)
        self.across = [_matrix(block.across) for block in blocks]

        # In the row: lines of x and of every layer of h.
        self.x_line = torch.zeros(n, columns + LEFT, numbers, **like)
        lines = [torch.zeros(n, columns + 1, width, **like) for _ in blocks]
        self.cells = self.x_line[:, LEFT - 1 :].unbind(1)
        self.left_windows = _windows(self.x_line, LEFT)[: columns + 1]
        pairs = [_windows(line, 2) for line in lines]
        owns = [line[:, 1:].unbind(1) for line in lines]
        self.last = torch.empty(n, width, **like)
        ends = [*owns[1:], [self.last] * columns]
        self.views = [
            [(pair[c], own[c], end[c]) for pair, own, end in zip(pairs, owns, ends, strict=True)]
            for c in range(columns)
        ]
        self.first = owns[0] if blocks else [self.last] * columns
        self.left = _matrix(trunk.left)
        self.along = [(_matrix(block.along), _matrix(block.out)) for block in blocks]
        self.sums = torch.empty(n, 2 * width, **like)
        self.from_above: list[tuple[Tensor, ...]] = []

    def _cond_terms(
        self, blocks: list[GatedBlock], n: int, condition: Condition | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return each block's biases, with the condition's terms added: [n or 1, 2F] each."""
        for_v = [_bias(block.down)[None] for block in blocks]
        for_h = [_bias(block.along)[None] for block in blocks]
        if self.trunk.class_embedding is not None:
            e = self.trunk.class_embedding(condition, n).detach()
            for i, block in enumerate(blocks):
                assert block.cond_layer is not None
                a, b = F.linear(e, block.cond_layer.weight.detach()).chunk(2, dim=1)
                for_v[i], for_h[i] = for_v[i] + a, for_h[i] + b
        return for_v, for_h

    def begin(self, row: int) -> None:
        """Compute v of a row, and what it gives to h there."""
        trunk, columns = self.trunk, self.trunk.grid[1]
        if row:
            self.image[:, :, :-1] = self.image[:, :, 1:].clone()
            inside = self.image[:, :, -1, ASIDE:-ASIDE]
            inside.copy_(self.x_line[:, LEFT:].transpose(1, 2))
        v = F.conv2d(self.image, trunk.above.weight.detach())
        v = v + self.position_embedding[0, row].T[None, :, None]
        self.from_above = []
        for i, block in enumerate(trunk.blocks):
            assert isinstance(block, GatedBlock)
            row_buffer, d = self.rows[i], block.spacing
            row_buffer[:, :, :-1] = row_buffer[:, :, 1:].clone()
            row_buffer[:, :, -1, d:-d] = v[:, :, 0]
            sums = F.conv2d(row_buffer, block.down.weight.detach(), dilation=d)
            v = v + F.glu(sums + self.cond_v[i][:, :, None, None], 1)
            v_to_h = v[:, :, 0].permute(2, 0, 1) @ self.across[i] + self.cond_h[i]
            self.from_above.append(v_to_h.view(columns, -1, 2 * trunk.width).unbind(0))

    def cell(self, row: int, column: int) -> Tensor:
        """Compute h of a cell, [n, F]: two matrix products a block."""
        torch.addmm(
            self.position_embedding[1, row, column],
            self.left_windows[column],
            self.left,
            out=self.first[column],
        )
        sums = self.sums
        for above, (pair, own, end), (along, out) in zip(
            self.from_above, self.views[column], self.along, strict=True
        ):
            torch.addmm(above[column], pair, along, out=sums)
            torch.addmm(own, F.glu(sums, 1), out, out=end)
        return self.last


class MaskedConvolution(nn.Linear):
    """A linear layer between groups of units in which group d sees groups e < d, or e <= d.

    Arguments:
        groups: Number of groups D.
        inputs: Units of a group that goes in.
        outputs: Units of a group that comes out.
        own: Whether group d sees group d.
    """

    mask: Tensor

    def __init__(self, groups: int, inputs: int, outputs: int, *, own: bool) -> None:
        super().__init__(groups * inputs, groups * outputs, bias=own)
        lower = torch.ones(groups, groups).tril(0 if own else -1)
        mask = lower.repeat_interleave(outputs, 0).repeat_interleave(inputs, 1)
        self.register_buffer("mask", mask, persistent=False)
        self.outputs, self.own = outputs, own

    def forward(self, input: Float[Tensor, "... K"]) -> Float[Tensor, "... M"]:
        """Return all groups."""
        return F.linear(input, self.weight * self.mask, self.bias)

    def first(self, x: Float[Tensor, "... J"], low: int, high: int) -> Tensor:
        """Return groups low … high - 1, of which the last sees all that is given of x."""
        rows = slice(low * self.outputs, high * self.outputs)
        columns = slice(x.shape[-1])
        weight = self.weight[rows, columns]
        if high - low > 1:  # one group sees all that is given, and needs no mask
            weight = weight * self.mask[rows, columns]
        return F.linear(x, weight, self.bias[rows] if self.own else None)


class CellPerceptron(nn.Module):
    """A perceptron inside a cell, of h and of the numbers before each.

    Arguments:
        width: Numbers of h.
        numbers: Numbers of a cell, D.
        outputs: Parameters of one number's distribution, P.
        units: Hidden units for each number.

    >>> cell = CellPerceptron(8, 4, 3, units=16)
    >>> h, x = torch.zeros(5, 8), torch.zeros(5, 4)
    >>> cell(h, x).shape, cell(h, x, 2).shape
    (torch.Size([5, 4, 3]), torch.Size([5, 3]))
    """

    def __init__(self, width: int, numbers: int, outputs: int, *, units: int = 32) -> None:
        super().__init__()
        self.numbers, self.units, self.outputs = numbers, units, outputs
        self.enter = nn.Linear(width, numbers * units)
        self.earlier = MaskedConvolution(numbers, 1, units, own=False) if numbers > 1 else None
        self.inner = MaskedConvolution(numbers, units, units, own=True)
        self.leave = MaskedConvolution(numbers, units, outputs, own=True)

    def forward(
        self, h: Float[Tensor, "... F"], numbers: Float[Tensor, "... D"], index: int | None = None
    ) -> Tensor:
        """Return the parameters of all numbers, [..., D, P], or of one, [..., P]."""
        return self._all(h, numbers) if index is None else self._one(h, numbers, index)

    def _all(self, h: Tensor, numbers: Tensor) -> Float[Tensor, "... D P"]:
        z = self.enter(h)
        if self.earlier is not None:
            z = z + self.earlier(numbers.to(h.dtype))
        z = F.silu(z)
        z = z + F.silu(self.inner(z))
        with torch.autocast(z.device.type, enabled=False):  # a place of 256 needs its digits
            f = self.leave(z.to(self.leave.weight.dtype))
        return f.unflatten(-1, (self.numbers, self.outputs))

    def _one(self, h: Tensor, numbers: Tensor, index: int) -> Float[Tensor, "... P"]:
        end = index + 1
        rows = end * self.units
        z = F.linear(h, self.enter.weight[:rows], self.enter.bias[:rows])
        if self.earlier is not None and index:
            z = z + self.earlier.first(numbers[..., :index], 0, end)
        z = F.silu(z)
        z = z + F.silu(self.inner.first(z, 0, end))
        return self.leave.first(z, index, end)


def _gated(sums: Float[Tensor, "B 2F h w"]) -> Float[Tensor, "B F h w"]:
    """Return a s(b) of the two halves of the channels, computed and derived channels-last."""
    return F.glu(sums.permute(0, 2, 3, 1), -1).permute(0, 3, 1, 2)


def _matrix(layer: nn.Conv2d) -> Float[Tensor, "KI O"]:
    """Return a convolution along a row as a matrix: columns of its kernel, channels innermost."""
    weight = layer.weight.detach()[:, :, 0]
    return weight.permute(2, 1, 0).reshape(-1, len(weight)).contiguous()


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias.detach()


def _windows(line: Float[Tensor, "n K C"], columns: int) -> list[Float[Tensor, "n J"]]:
    """Return every run of so many columns, as a matrix that lies in place."""
    return [
        line[:, start : start + columns].flatten(1) for start in range(line.shape[1] - columns + 1)
    ]
