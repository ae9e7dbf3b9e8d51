r"""Bins of one column of a table: where its values are cut for a softmax to choose among them.

Edges stand at quantiles of the values, so that each bin holds about the same share of them. A
value that many rows share, an atom, has a bin of its own: one cell, or for real numbers an
interval of the column's resolution r around it,

    [v, v + 1)      or      [v - r / 2, v + r / 2),      r = 1e-3 min(deviation, IQR / 1.35),

and no bin of real numbers is narrower than r, so that no density is infinite. Beyond the outermost
edges of real numbers lie tails, exponential with the values' mean excess for their scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["ATOMS", "BINS", "CAPACITY", "Binning", "bins_of_cells", "bins_of_reals"]

BINS = 64
"""Bins of equal shares."""
ATOMS = 16
"""Atoms that have a bin of their own, the most frequent ones."""
CAPACITY = BINS + 2 * ATOMS + 2
"""Bins of a column at most: an atom adds two edges, and there are two tails."""
ATOM_SHARE = 0.5 / BINS
"""Share of the rows from which on a value is an atom."""
ATOM_ROWS = 5
"""And the rows that it has at least."""
TAIL = 0.0025
"""Share of the values beyond an outermost edge."""
TAIL_ROWS = 3.0
"""And about how many these are at least."""
RESOLUTION = 1e-3
"""Narrowest bin of real numbers, in deviations of the column."""
FLOAT = 2e-6
"""And relative to its largest value: some steps of float32."""


@dataclass(frozen=True)
class Binning:
    """Bins of one column, from the lowest to the highest."""

    starts: Float[Tensor, " K"]
    """Lower ends; of the lower tail its upper end."""
    sizes: Float[Tensor, " K"]
    """Widths, or numbers of cells; of tails their scale."""
    atoms: Float[Tensor, " K"]
    """The one value of a bin of real numbers; NaN where it has many."""


def bins_of_cells(values: Float[Tensor, " N"], low: int, count: int) -> Binning:
    """Cut the cells low … low + count - 1 into bins, each of one cell or more.

    Arguments:
        values: Whole numbers of the rows, float64; none cuts evenly.
        low: The least cell.
        count: How many cells there are.
    """
    top = low + count
    if len(values):
        atoms, remaining = _atoms(values)
        cuts = _quantiles(remaining, len(values)).floor()
        cuts = torch.cat([cuts, atoms, atoms + 1])
    else:
        cuts = torch.linspace(low, top, BINS + 1, dtype=torch.float64).floor()
    edges = cuts[(cuts > low) & (cuts < top)].unique()
    ends = torch.tensor([low, top], dtype=torch.float64)
    edges = torch.cat([ends[:1], edges, ends[1:]])
    return Binning(edges[:-1], edges.diff(), torch.full((len(edges) - 1,), torch.nan).double())


def bins_of_reals(values: Float[Tensor, " N"], location: float, spread: float) -> Binning:
    """Cut the real line into bins and two tails.

    Arguments:
        values: Those of the rows, float64; none takes a normal distribution's quantiles.
        location: Mean, for where there are no values.
        spread: Deviation, for where there are none or all are the same.
    """
    if not len(values):
        levels = torch.linspace(TAIL, 1 - TAIL, BINS + 1, dtype=torch.float64)
        edges = location + spread * torch.special.ndtri(levels)
        return _with_tails(edges.tolist(), values, {}, spread * RESOLUTION)
    atoms, remaining = _atoms(values)
    cuts = _quantiles(remaining, len(values))
    resolution = max(_scale(remaining, spread) * RESOLUTION, float(values.abs().max()) * FLOAT)
    centres: list[float] = []
    for atom in atoms.tolist():  # the most frequent first
        if all(abs(atom - centre) >= 2 * resolution for centre in centres):
            centres.append(atom)
    atom_bins = {centre - resolution / 2: centre for centre in centres}
    edges = sorted(edge for c in centres for edge in (c - resolution / 2, c + resolution / 2))
    for cut in cuts.tolist():
        if all(abs(cut - edge) >= resolution for edge in edges):
            edges.append(cut)
    return _with_tails(sorted(edges), values, atom_bins, resolution)


def _with_tails(
    edges: list[float], values: Tensor, atoms: dict[float, float], resolution: float
) -> Binning:
    """Return the bins between edges, those of atoms marked by where they start, and the tails."""
    line = torch.tensor(edges, dtype=torch.float64)
    below, above = line[0] - values[values < line[0]], values[values >= line[-1]] - line[-1]
    scales = [
        max(float(excess.mean()), resolution) if len(excess) else resolution / RESOLUTION / 10
        for excess in (below, above)
    ]
    sizes = torch.tensor([scales[0], *line.diff().tolist(), scales[1]], dtype=torch.float64)
    centres = [torch.nan, *(atoms.get(edge, torch.nan) for edge in edges)]
    return Binning(torch.cat([line[:1], line]), sizes, torch.tensor(centres, dtype=torch.float64))


def _atoms(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values that many rows share, the most frequent first, and all other values."""
    distinct, index, counts = values.unique(return_inverse=True, return_counts=True)
    order = counts.argsort(descending=True, stable=True)[:ATOMS]
    order = order[counts[order] >= max(ATOM_ROWS, ATOM_SHARE * len(values))]
    is_atom = torch.zeros(len(distinct), dtype=torch.bool)
    is_atom[order] = True
    return distinct[order], values[~is_atom[index]]


def _quantiles(values: Tensor, rows: int) -> Tensor:
    """Return edges that share values out evenly, as many as their share of the rows is worth."""
    n = len(values)
    if n == 0:
        return values
    bins = max(1, min(round(BINS * n / rows), n // 2))
    tail = min(max(TAIL, TAIL_ROWS / n), 0.25)
    at = torch.linspace(tail, 1 - tail, bins + 1, dtype=torch.float64) * (n - 1)
    ordered, lower = values.sort().values, at.floor().long()
    upper = (lower + 1).clamp(max=n - 1)
    return ordered[lower] + (at - lower) * (ordered[upper] - ordered[lower])


def _scale(values: Tensor, spread: float) -> float:
    """Return the lesser of deviation and IQR / 1.35 that is above 0; `spread` where none is."""
    if len(values) < 2:
        return spread
    ordered, n = values.sort().values, len(values)
    between = float(ordered[3 * n // 4] - ordered[n // 4]) / 1.35
    return min((s for s in (between, float(values.std())) if s > 0), default=spread)
