r"""What the columns of a table are: real numbers, whole numbers, or categories.

A density of real numbers says nothing true of whole ones: it may grow without end on the few
points where they lie. A whole number k, or a category of code k, is therefore a cell [k, k + 1),
over which it is spread as the levels of an image are over their bins,

    v = k + u,  u ~ U[0, 1)          v = x  for a real column
    y = (v - location) / spread      location, spread: mean and deviation of v

and since cells are one wide in the unit of the file, for columns 1 … D of any kind

    ln p(x) >= E_u[ln p(y)] - sum_d ln spread_d,

with equality where all columns are real (Theis, van den Oord & Bethge, 2016). The middle of a
cell, u = 1/2, stands for a number where noise is not wanted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from trilemma.core.noise import Noise

__all__ = ["KINDS", "Column", "Columns", "Kind"]

Kind = Literal["real", "whole", "category"]
"""What the values of a column are."""
KINDS: tuple[Kind, ...] = get_args(Kind)


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
    optional: bool = False
    """Whether the next column, a category of two names, says by 1 that it is missing; the value
    is then `fill`."""

    def __post_init__(self) -> None:
        """Refuse what is no column."""
        if self.kind not in KINDS or not self.spread > 0:
            raise ValueError(f"{self} is no column: its kind is none, or its spread not above 0.")
        if (self.kind == "real") != (self.count == 0) or self.count < 0:
            raise ValueError(f"{self} is no column: cells are of whole numbers and categories.")
        if len(self.categories) != (self.count if self.kind == "category" else 0):
            raise ValueError(f"{self} is no column: a category has a name for each cell.")

    @property
    def in_cells(self) -> bool:
        """Tell whether the values can be counted, so that each has a probability."""
        return self.kind != "real"

    @property
    def fill(self) -> float:
        """Return what stands for a missing value: the location, or the cell in which it lies.

        >>> Column("whole", location=9.7, low=2, count=5).fill
        6.0
        """
        if not self.in_cells:
            return self.location
        return float(min(max(math.floor(self.location), self.low), self.low + self.count - 1))


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

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Return what each column is."""
        return tuple(column.kind for column in self.columns)

    @property
    def flags(self) -> tuple[int, ...]:
        """Return for each column the index of the one that says it is missing, or -1."""
        return tuple(d + 1 if column.optional else -1 for d, column in enumerate(self.columns))

    @property
    def binned(self) -> bool:
        """Tell whether some values lie in cells, so that a density of them is a bound only."""
        return any(column.in_cells for column in self.columns)

    @property
    def discrete(self) -> bool:
        """Tell whether all values lie in cells, so that a row has a probability."""
        return all(column.in_cells for column in self.columns)

    def in_bin(self, x: Tensor, u: Tensor) -> Tensor:
        """Return y of the place u in [0, 1) of each cell; real columns do not heed u."""
        cells = self.in_cells(x)
        v = x.double() + torch.where(cells, u.double(), torch.zeros_like(u, dtype=torch.float64))
        return ((v - self._row("location", x)) / self.spread(x)).float()

    def scale(self, x: Tensor) -> Tensor:
        """Standardise: real numbers, and the middles of cells."""
        return self.in_bin(x, torch.full_like(x, 0.5, dtype=torch.float64))

    def dequantise(self, x: Tensor, noise: Noise) -> Tensor:
        """Standardise, each whole number and category spread evenly over its cell."""
        return self.in_bin(x, noise.uniform(*x.shape[1:]))

    def quantise(self, y: Tensor) -> Tensor:
        """Undo `dequantise`: the number in whose cell y lies; what lies beyond is cut off."""
        v = y.double() * self.spread(y) + self._row("location", y)
        low, count = self._row("low", y), self._row("count", y)
        cell = torch.minimum((v - low).floor().clamp(min=0), (count - 1).clamp(min=0)) + low
        return torch.where(self.in_cells(y), cell, v).float()

    def unscale(self, y: Tensor) -> Tensor:
        """Undo `scale`: the number whose middle is nearest, which is that of the cell."""
        return self.quantise(y)

    @property
    def log_volume(self) -> float:
        """Return -ln(spread), in mean over columns, to be added for each dimension."""
        return -sum(math.log(column.spread) for column in self.columns) / len(self.columns)

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

    def words(self, row: Sequence[float]) -> list[str]:
        """Write a row as it may stand in a file: names of categories, whole numbers whole.

        >>> Columns((Column("whole", count=3), Column(), Column("category", count=1,
        ...     categories=("red",)))).words([2.0, 0.5, 0.0])
        ['2', '0.5', 'red']
        """
        return [
            f"{value:.9g}"
            if column.kind == "real"
            else column.categories[int(value)]
            if column.kind == "category"
            else str(int(value))
            for column, value in zip(self.columns, row, strict=True)
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
