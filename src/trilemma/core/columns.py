r"""What the columns of a table are: real numbers, whole numbers, dates or categories.

A density of real numbers says nothing true of whole ones: it may grow without end on the few
points where they lie. A whole number k, or a date k units after the first one, is therefore a
cell [k, k + 1), over which it is spread as the levels of an image are over their bins,

    v = k + u,  u ~ U[0, 1)          v = x  for a real column
    y = (v - location) / spread      location, spread: mean and deviation of v

and since cells are one wide in the unit of the file, for columns 1 … D of any kind

    ln p(x) >= E_u[ln p(y)] - sum_d ln spread_d,

with equality where all columns are real (Theis, van den Oord & Bethge, 2016). The middle of a
cell, u = 1/2, stands for a number where noise is not wanted.

The order of categories says nothing. One of K = 3 … 32 names has K coordinates, of which the
largest is its own: 1 there and -1 elsewhere where noise is not wanted, and for a density K
standard normal numbers, given that the largest is the k-th (argmax flows, Hoogeboom, Nielsen,
Jaini, Forré & Welling, 2021),

    q(v | k) = K prod_j N(v_j; 0, 1)  for argmax v = k,
    ln P(k) >= E_q[ln p(v) - ln q(v | k)],

with equality for K alike names and standard normal p. Two names, and more than 32, lie in cells
by their codes.

A value may be missing (`Column.optional`). The column after it, a category of two names, then
tells so; the value itself is one that is fixed, has no part in ln p(x), and is drawn from
N(0, 1), whose density is taken off again, where a density of all coordinates is asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from trilemma.core.noise import Noise

__all__ = ["DAY", "KINDS", "MISSING", "PRESENCE", "Block", "Column", "Columns", "Kind"]

Kind = Literal["real", "whole", "date", "category"]
"""What the values of a column are."""
KINDS: tuple[Kind, ...] = get_args(Kind)
PRESENCE = ("present", "missing")
"""Names of the column that tells whether a value is missing, the second of which says so."""
MISSING = 1
"""Its code where a value is missing."""
MOST_NAMES = 32
"""Names of a category that have a coordinate each; of more, a code stands in a cell."""
DAY = 86_400
"""Seconds."""


@dataclass(frozen=True)
class Column:
    """One column: what its values are, and how they are standardised."""

    kind: Kind = "real"
    location: float = 0.0
    """Mean of v: of x in a real column, of x + u in another."""
    spread: float = 1.0
    """Standard deviation of v."""
    low: int = 0
    """The least whole number, 0 for categories; of no meaning for reals."""
    count: int = 0
    """Cells low … low + count - 1; 0 for reals."""
    categories: tuple[str, ...] = ()
    """Names of the categories in the order of their code."""
    unit: int = 0
    """Seconds from one cell of a date to the next."""
    origin: str = ""
    """The date of cell 0, as ISO 8601 writes it."""
    optional: bool = False
    """Whether values may be missing, of which the column after it tells."""

    def __post_init__(self) -> None:
        """Refuse what is no column."""
        if self.kind not in KINDS or not self.spread > 0:
            raise ValueError(f"{self} is no column: its kind is none, or its spread not above 0.")
        if (self.kind == "real") != (self.count == 0) or self.count < 0:
            raise ValueError(f"{self} is no column: cells are of whole numbers and categories.")
        if len(self.categories) != (self.count if self.kind == "category" else 0):
            raise ValueError(f"{self} is no column: a category has a name for each cell.")
        if (self.kind == "date") != (self.unit > 0) or (self.optional and self.categories):
            raise ValueError(f"{self} is no column: dates have a unit, names are never optional.")

    @property
    def in_cells(self) -> bool:
        """Tell whether the values can be counted, so that each has a probability."""
        return self.kind != "real"

    @property
    def coordinates(self) -> int:
        """Return how many numbers stand for a value in a network: one, or one for each name."""
        return self.count if self.kind == "category" and 2 < self.count <= MOST_NAMES else 1

    @property
    def fill(self) -> float:
        """Return what stands in the place of a missing value: the mean, or the cell where it is.

        >>> Column(location=1.5).fill, Column("whole", location=7.6, low=3, count=9).fill
        (1.5, 7.0)
        """
        if not self.in_cells:
            return self.location
        return float(min(max(math.floor(self.location), self.low), self.low + self.count - 1))

    def word(self, value: float) -> str:
        """Write a value as it may stand in a file.

        >>> Column("date", count=40, unit=DAY, origin="2024-02-28").word(2.0)
        '2024-03-01'
        """
        if self.kind == "real":
            return f"{value:.9g}"
        if self.kind == "category":
            return self.categories[int(value)]
        if self.kind == "whole":
            return str(int(value))
        moment = datetime.fromisoformat(self.origin) + timedelta(seconds=int(value) * self.unit)
        return moment.date().isoformat() if self.unit % DAY == 0 else moment.isoformat(" ")


@dataclass(frozen=True)
class Block:
    """The coordinates of a category, one for each of its names."""

    column: int
    """Which column of the table it is."""
    start: int
    stop: int
    """Its coordinates are start … stop - 1."""


@dataclass(frozen=True)
class Columns:
    """Rows of columns of different kinds, kept as float32.

    >>> coin = Column("whole", location=1.0, spread=0.5, count=2)
    >>> values = Columns((coin, Column(location=3.0)))
    >>> values.scale(torch.tensor([[1.0, 4.0]])).tolist()
    [[1.0, 1.0]]
    >>> values.quantise(torch.tensor([[0.3, 0.3], [9.0, 9.0]])).tolist()
    [[1.0, 3.299999952316284], [1.0, 12.0]]
    """

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        """Refuse columns that may be missing of which nothing tells."""
        for column, after in zip(self.columns, [*self.columns[1:], None], strict=False):
            if column.optional and (after is None or after.categories != PRESENCE):
                raise ValueError(f"{column} may be missing, and no column after it tells.")

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Return what each column is."""
        return tuple(column.kind for column in self.columns)

    @property
    def binned(self) -> bool:
        """Tell whether some values lie in cells, so that a density of them is a bound only."""
        return any(column.in_cells for column in self.columns)

    @property
    def discrete(self) -> bool:
        """Tell whether all values lie in cells, so that a row has a probability."""
        return all(column.in_cells for column in self.columns)

    @cached_property
    def width(self) -> int:
        """Return W, the coordinates of a row for a network."""
        return sum(column.coordinates for column in self.columns)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Return the columns of which each name has a coordinate."""
        blocks, start = [], 0
        for index, column in enumerate(self.columns):
            if column.coordinates > 1:
                blocks.append(Block(index, start, start + column.coordinates))
            start += column.coordinates
        return tuple(blocks)

    @cached_property
    def flags(self) -> tuple[int, ...]:
        """Return for each column which one tells whether it is missing; -1 where it never is."""
        return tuple(i + 1 if c.optional else -1 for i, c in enumerate(self.columns))

    @cached_property
    def numbers(self) -> Tensor:
        """Return which columns have one coordinate, [N] long."""
        return torch.tensor([i for i, c in enumerate(self.columns) if c.coordinates == 1]).long()

    @cached_property
    def number_coordinates(self) -> Tensor:
        """Return the coordinate of each of `numbers`, [N] long."""
        starts = torch.tensor([0, *(c.coordinates for c in self.columns)]).cumsum(0)
        return starts[self.numbers]

    @cached_property
    def named(self) -> Tensor:
        """Tell which coordinates are of names, [W] bool."""
        return torch.tensor(
            [c.coordinates > 1 for c in self.columns for _ in range(c.coordinates)]
        )

    @property
    def narrowest(self) -> float:
        """Return the width of the narrowest cell among the coordinates; inf without cells.

        A name, 1 or -1 in its coordinate, counts as one of width 1: as far as the middle between
        the two.
        """
        widths = [1 / c.spread for c in self.columns if c.in_cells and c.coordinates == 1]
        return min([math.inf, *widths, *([1.0] if self.blocks else [])])

    def present(self, x: Tensor) -> Tensor:
        """Tell which values are not missing, [B, D] bool."""
        flags = torch.tensor(self.flags, device=x.device)
        return (flags < 0) | (x[:, flags.clamp(min=0)] != MISSING)

    def in_bin(self, x: Tensor, u: Tensor) -> Tensor:
        """Return y, [B, W], of the place u in [0, 1) of each cell; others do not heed u."""
        numbers, v = self.numbers.to(x.device), x.double()
        cells = self.in_cells(x)
        v = v + torch.where(cells, u.double(), torch.zeros_like(u, dtype=torch.float64))
        v = (v - self._row("location", x)) / self.spread(x)
        y = torch.full((len(x), self.width), -1.0, device=x.device)
        y[:, self.number_coordinates.to(x.device)] = v[:, numbers].float()
        for block in self.blocks:
            y[:, block.start : block.stop].scatter_(1, x[:, block.column, None].long(), 1.0)
        return y

    def scale(self, x: Tensor) -> Tensor:
        """Standardise, [B, W]: real numbers, the middles of cells, and 1 or -1 for each name."""
        return self.in_bin(x, torch.full_like(x, 0.5, dtype=torch.float64))

    def dequantise(self, x: Tensor, noise: Noise) -> Tensor:
        """Standardise, [B, W], what is counted spread out as a density wants it."""
        return self.dequantised(x, noise)[0]

    def dequantised(self, x: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return y ~ q(y | x), [B, W], and what its density is beyond a constant, [B], nats.

        ln p(x) >= E[ln p(y) - that] + D `log_volume`.
        """
        y = self.in_bin(x, noise.uniform(*x.shape[1:]))
        log_q = torch.zeros(len(x), device=x.device)
        if not self.blocks and max(self.flags) < 0:
            return y, log_q
        normal = noise.normal(self.width)
        log_normal = -0.5 * normal.square() - 0.5 * math.log(2 * math.pi)
        for block in self.blocks:
            part = slice(block.start, block.stop)
            v, k = normal[:, part].clone(), x[:, block.column, None].long()
            largest, where = v.max(1, keepdim=True)
            v.scatter_(1, where, v.gather(1, k)).scatter_(1, k, largest)
            y[:, part] = v
            log_q += log_normal[:, part].sum(1) + math.log(block.stop - block.start)
        numbers, at = self.numbers.to(x.device), self.number_coordinates.to(x.device)
        missing = ~self.present(x)[:, numbers]
        y[:, at] = torch.where(missing, normal[:, at], y[:, at])
        filled = log_normal[:, at] - self.spread(x)[numbers].log().float()
        return y, log_q + torch.where(missing, filled, torch.zeros_like(filled)).sum(1)

    def quantise(self, y: Tensor) -> Tensor:
        """Undo `dequantise`, [B, D]: the number in whose cell y lies, the name of the largest.

        What lies beyond the cells is cut off, and what is missing has its fill.
        """
        x = torch.empty(len(y), len(self.columns), dtype=torch.float64, device=y.device)
        for block in self.blocks:
            x[:, block.column] = y[:, block.start : block.stop].argmax(1).double()
        numbers = self.numbers.to(y.device)
        v = y[:, self.number_coordinates.to(y.device)].double() * self.spread(y)[numbers]
        v = v + self._row("location", y)[numbers]
        low, count = self._row("low", y)[numbers], self._row("count", y)[numbers]
        cell = torch.minimum((v - low).floor().clamp(min=0), (count - 1).clamp(min=0)) + low
        x[:, numbers] = torch.where(self.in_cells(y)[numbers], cell, v)
        return self.canonical(x).float()

    def canonical(self, x: Tensor) -> Tensor:
        """Return rows in which what is missing has its fill, so that equal rows are equal."""
        return torch.where(self.present(x), x, self._row("fill", x).to(x.dtype))

    def unscale(self, y: Tensor) -> Tensor:
        """Undo `scale`: the number whose middle is nearest, which is that of the cell."""
        return self.quantise(y)

    @property
    def log_volume(self) -> float:
        """Return -ln(spread), in mean over columns, to be added for each column to a density."""
        spreads = [c.spread for c in self.columns if c.coordinates == 1]
        return -sum(map(math.log, spreads)) / len(self.columns)

    def in_cells(self, like: Tensor) -> Tensor:
        """Return which columns lie in cells, [D] bool."""
        return torch.tensor([c.in_cells for c in self.columns], device=like.device)

    def spread(self, like: Tensor) -> Tensor:
        """Return the deviation of each column, which is one over a cell's width, [D] float64."""
        return self._row("spread", like)

    def ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tell which values lie in the lowest and which in the highest cell of their column."""
        low, count = self._row("low", x), self._row("count", x)
        cells = self.in_cells(x)
        return cells & (x <= low), cells & (x >= low + count - 1)

    def header(self, names: Sequence[str]) -> list[str]:
        """Return the names of the columns of a file: without those that tell what is missing."""
        return [name for i, name in enumerate(names) if i not in self.flags]

    def words(self, row: Sequence[float]) -> list[str]:
        """Write a row as it may stand in a file: names, dates, whole numbers whole.

        What is missing is empty, and has no column of its own.

        >>> Columns((Column("whole", count=3), Column(), Column("category", count=1,
        ...     categories=("red",)))).words([2.0, 0.5, 0.0])
        ['2', '0.5', 'red']
        """
        return [
            "" if flag >= 0 and row[flag] == MISSING else column.word(row[i])
            for i, (column, flag) in enumerate(zip(self.columns, self.flags, strict=True))
            if i not in self.flags
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain values from which `from_json` makes equal columns."""
        return {"columns": [asdict(column) for column in self.columns]}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Columns:
        """Make columns from `to_json`'s values."""
        return cls(
            tuple(
                Column(**{**column, "categories": tuple(column["categories"])})
                for column in plain["columns"]
            )
        )

    def _row(self, name: str, like: Tensor) -> Tensor:
        """Return a number of each column as a row, [D] float64."""
        numbers = [getattr(column, name) for column in self.columns]
        return torch.tensor(numbers, dtype=torch.float64, device=like.device)
