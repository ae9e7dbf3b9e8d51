r"""The values of a table's columns as bins, parts of bins, and positions in a part.

Every value x of a column is cut three times,

    x  <->  (bin k, part j, position u in [0, 1))

and its probability, or of a real column its density, is

    ln p(x) = ln P(k) + ln P(j | k) - ln volume,

volume the number of cells of the part, or its width; of a tail beyond the edge e, with scale s,
-ln volume = -ln s - |x - e| / s, the exponential distribution. Columns of at most `DIRECT` cells
have a bin for each. Others have about 64 bins of equal shares of the training rows
(`maths.column_bins`), each with up to `PARTS` parts of equal width.

An atom of a real column, a value that many rows share, is a bin as narrow as the column's
resolution, a thousandth of its deviation; what is drawn in it is the value itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trilemma.core.columns import Column
from trilemma.maths.column_bins import CAPACITY, Binning, bins_of_cells, bins_of_reals

__all__ = ["DIRECT", "FEATURES", "PARTS", "Located", "TableBins"]

DIRECT = 256
"""Cells of a column at most that are chosen among directly."""
PARTS = 16
"""Parts of a bin."""
WAVES = (1, 2, 4, 8)
"""Frequencies of the features that say where a value lies."""
FEATURES = 3 + 2 * len(WAVES)
"""Numbers that say to a network where a value lies."""
HUGE = 1e300
"""Where bins begin that there are not."""
FAR = 5.0
"""Deviations beyond which a network sees no difference."""


@dataclass(frozen=True)
class Located:
    """Where values lie, each field [B, D]."""

    bins: Int[Tensor, "B D"]
    parts: Int[Tensor, "B D"]
    log_volume: Float[Tensor, "B D"]
    """Nats; infinite where a column has no such value."""
    features: Float[Tensor, "B D F"]
    """The value, its rank as a normal number, its position in its bin, and waves of its rank."""


class TableBins(nn.Module):
    """Bins of columns, as buffers that `fit` takes from training rows.

    Arguments:
        columns: The columns; untrained bins follow from their cells, location and spread.
    """

    starts: Tensor
    sizes: Tensor
    atoms: Tensor
    is_atom: Tensor
    counts: Tensor

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.capacities = tuple(
            column.count if _is_direct(column) else CAPACITY for column in self.columns
        )
        """Bins of each column at most."""
        self.refined = tuple(d for d, c in enumerate(self.columns) if not _is_direct(c))
        """Columns whose bins have parts."""
        size = (len(self.columns), max(self.capacities))
        for name in ("starts", "sizes", "atoms"):
            self.register_buffer(name, torch.zeros(size, dtype=torch.float64))
        self.register_buffer("is_atom", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("counts", torch.zeros(size[0], dtype=torch.int64))
        no_values = torch.empty(0, dtype=torch.float64)
        for d, column in enumerate(self.columns):
            self._set(d, _binning(column, no_values))

    def fit(self, x: Float[Tensor, "N D"], present: Bool[Tensor, "N D"]) -> Float[Tensor, "D K"]:
        """Take the bins from training rows, data units.

        Arguments:
            x: Rows.
            present: Which values are there.

        Returns:
            ln of each bin's share of the rows, half a row being added to each.
        """
        values = x.to(self.starts.device, torch.float64)
        present = present.to(values.device)
        for d, column in enumerate(self.columns):
            if d in self.refined and present[:, d].any():
                self._set(d, _binning(column, values[present[:, d], d].cpu()))
        bins = self.locate(values).bins
        rows = torch.zeros_like(self.starts)
        rows.scatter_add_(1, bins.T, present.T.to(rows.dtype))
        rows = torch.where(self.exists(), rows + 0.5, torch.zeros_like(rows))
        return (rows / rows.sum(1, keepdim=True)).log().clamp(min=-30).float()

    def exists(self, columns: slice = slice(None)) -> Bool[Tensor, "D K"]:
        """Tell which bins there are."""
        index = torch.arange(self.starts.shape[1], device=self.starts.device)
        return index < self.counts[columns, None]

    def part_counts(self, bins: Int[Tensor, "B D"], columns: Sequence[int]) -> Tensor:
        """Return how many parts the bins of some columns have, [B, D]."""
        index = torch.tensor(columns, device=bins.device, dtype=torch.int64)
        sizes = _of_bins(self.sizes[index], bins)
        single = _of_bins(self.is_atom[index], bins) | self._tails(bins, index).ne(0)
        counts = torch.where(self._in_cells(index), sizes, sizes.new_full((), PARTS))
        return torch.where(single, 1, counts.clamp(max=PARTS).long())

    def locate(self, x: Tensor, columns: slice = slice(None)) -> Located:
        """Return where values of some columns, [B, D] in data units, lie."""
        index = torch.arange(len(self.columns), device=x.device)[columns]
        x, cells, count = x.double(), self._in_cells(index), self.counts[index]
        edges = self.starts[index, 1:]  # an upper tail begins where the bin before it ends
        bins = torch.searchsorted(edges, x.T.contiguous(), right=True).T
        bins = torch.minimum(bins, count - 1)
        start, size = _of_bins(self.starts[index], bins), _of_bins(self.sizes[index], bins)
        tails, part_counts = self._tails(bins, index), self.part_counts(bins, index.tolist())
        excess = (x - start).abs() / size
        offset = x - start
        of_cells = ((offset + 1) * part_counts - 1).div(size, rounding_mode="floor")
        of_reals = (offset / size * part_counts).floor()
        parts = torch.where(cells, of_cells, of_reals).nan_to_num(0.0)
        parts = torch.where(tails == 0, parts, torch.zeros_like(parts)).long()
        parts = torch.minimum(parts.clamp(min=0), part_counts - 1)
        _, cell_count = _cells(parts, part_counts, size)
        log_volume = torch.where(cells, cell_count, size / part_counts).log()
        log_volume = torch.where(tails == 0, log_volume, size.log() + excess)
        outside = cells & ((x != x.floor()) | (offset < 0) | (offset >= size))
        log_volume = log_volume.masked_fill(outside, torch.inf)
        position = torch.where(cells, offset + 0.5, offset) / size
        position = torch.where(tails < 0, (-excess).exp(), position)
        position = torch.where(tails > 0, -torch.expm1(-excess), position).clamp(0, 1)
        rank = (bins + position) / count
        return Located(bins, parts, log_volume, self._features(x, rank, position, index))

    def value(
        self, column: int, bins: Int[Tensor, " n"], parts: Int[Tensor, " n"], u: Tensor
    ) -> Float[Tensor, " n"]:
        """Return the value of one column at the position u in [0, 1) of parts of bins."""
        start, size = self.starts[column, bins], self.sizes[column, bins]
        part_counts = self.part_counts(bins[:, None], [column])[:, 0]
        u = u.double()
        if self.columns[column].in_cells:
            first, count = _cells(parts, part_counts, size)
            return (start + first + (u * count).floor()).float()
        x = start + (parts + u) / part_counts * size
        index = torch.tensor([column], device=bins.device)
        tails = self._tails(bins[:, None], index)[:, 0]
        x = torch.where(tails == 0, x, start - tails * size * torch.log1p(-u))
        return torch.where(self.is_atom[column, bins], self.atoms[column, bins], x).float()

    def _features(self, x: Tensor, rank: Tensor, position: Tensor, index: Tensor) -> Tensor:
        columns = [self.columns[d] for d in index.tolist()]
        location, spread, ordered = (
            torch.tensor(numbers, dtype=torch.float64, device=x.device)
            for numbers in (
                [c.location for c in columns],
                [c.spread for c in columns],
                [float(c.kind != "category") for c in columns],
            )
        )
        standard = ((x - location) / spread).clamp(-FAR, FAR)
        normal = torch.special.ndtri(rank.clamp(1e-4, 1 - 1e-4))
        angles = 2 * math.pi * rank[..., None] * torch.tensor(WAVES, device=x.device)
        numbers = torch.stack([standard, normal, 2 * position - 1], -1)
        waves = torch.cat([numbers, angles.sin(), angles.cos()], -1)
        return (waves * ordered[:, None]).float()

    def _set(self, d: int, binning: Binning) -> None:
        """Take one column's bins."""
        n = self.counts[d] = len(binning.starts)
        for rows, values, padding in (
            (self.starts, binning.starts, HUGE),
            (self.sizes, binning.sizes, 1.0),
            (self.atoms, binning.atoms.nan_to_num(0.0), 0.0),
            (self.is_atom, binning.atoms.isfinite(), False),
        ):
            rows[d, :n], rows[d, n:] = values, padding

    def _in_cells(self, index: Tensor) -> Bool[Tensor, " D"]:
        cells = [self.columns[d].in_cells for d in index.tolist()]
        return torch.tensor(cells, device=index.device)

    def _tails(self, bins: Tensor, index: Tensor) -> Int[Tensor, "B D"]:
        """Return -1 for the lower tail of a real column, 1 for the upper one, and 0 else."""
        last = (bins == self.counts[index] - 1).long()
        return ((~self._in_cells(index)).long()) * (last - (bins == 0).long())


def _is_direct(column: Column) -> bool:
    return column.in_cells and column.count <= DIRECT


def _binning(column: Column, values: Tensor) -> Binning:
    """Return the bins of a column by its training values."""
    if _is_direct(column):
        ones = torch.ones(column.count, dtype=torch.float64)
        return Binning(ones.cumsum(0) - 1 + column.low, ones, ones * torch.nan)
    if column.in_cells:
        return bins_of_cells(values, column.low, column.count)
    return bins_of_reals(values, column.location, column.spread)


def _of_bins(rows: Tensor, bins: Int[Tensor, "B D"]) -> Tensor:
    """Return each column's number for a bin."""
    return rows.T.gather(0, bins)


def _cells(parts: Tensor, part_counts: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first cell of a part within its bin, and how many cells it has, float64."""
    first = (parts * size).div(part_counts, rounding_mode="floor")
    after = ((parts + 1) * size).div(part_counts, rounding_mode="floor")
    return first, after - first
