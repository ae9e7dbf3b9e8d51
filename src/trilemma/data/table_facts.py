"""What each column of a table is like: its range, what is missing, how heavy its tails are.

Tails of numbers are heavy where one lies more than `FAR` times the range of the middle half, the
distance of the quartiles, beyond it, or where the excess kurtosis, m4 / m2² - 3, is above
`KURTOSIS`: a standardised column then has values that a network sees once, far from all others.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from trilemma.core.columns import Column, Columns, Kind
from trilemma.data.dataset import DataSet
from trilemma.data.pictures import printable
from trilemma.data.table_kinds import NO_NAME, spelled

__all__ = ["ColumnFacts", "column_facts"]

FAR, KURTOSIS = 10.0, 10.0
SCALE = 10
"""Different numbers without which a column has no tails."""
MOST_FREQUENT = 5
"""Categories that are named with their counts."""


@dataclass(frozen=True)
class ColumnFacts:
    """One column."""

    name: str
    kind: Kind
    distinct: int
    """Different values that are there."""
    missing: int
    low: str = ""
    """The least value; empty for categories."""
    high: str = ""
    frequent: dict[str, int] = field(default_factory=dict)
    """The most frequent categories and how often they stand there."""
    tails: str = ""
    """How heavy they are; empty where they are not."""

    def line(self) -> str:
        """Return it for people to read.

        >>> ColumnFacts("age", "whole", 61, 3, "18", "80").line()
        'age: whole, 18 to 80, 61 different, 3 missing'
        """
        parts = [self.kind, f"{self.low} to {self.high}"] if self.low else [str(self.kind)]
        parts += [f"{self.distinct:,} different", f"{self.missing:,} missing"]
        if self.frequent:
            words = [f"{spelled(word)} {n:,}" for word, n in self.frequent.items()]
            parts.append("most often " + ", ".join(words))
        return f"{printable(self.name)}: " + ", ".join(
            [*parts, *([self.tails] * bool(self.tails))]
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def column_facts(data: DataSet) -> list[ColumnFacts]:
    """Look at each column of a table; of other points there are none."""
    domain, values = data.domain, data.domain.values
    if not domain.columns:
        return []
    x = torch.cat([data.train.x, data.test.x])
    space = values if isinstance(values, Columns) else Columns((Column(),) * x.shape[1])
    present = space.present(x)
    return [
        _facts(domain.columns[i], column, x[present[:, i], i], int((~present[:, i]).sum()))
        for i, column in enumerate(space.columns)
        if i not in space.flags
    ]


def _facts(name: str, column: Column, x: Tensor, missing: int) -> ColumnFacts:
    values, counts = x.unique(return_counts=True)
    if column.kind != "category":
        low, high = (_short(column, float(values[i])) for i in (0, -1))
        has_tails = column.kind != "date" and len(values) >= SCALE
        tails = _tails(values.double(), counts) if has_tails else ""
        return ColumnFacts(name, column.kind, len(values), missing, low, high, tails=tails)
    frequencies = {
        column.categories[int(value)]: n
        for value, n in zip(values.tolist(), counts.tolist(), strict=True)
    }
    missing = frequencies.pop(NO_NAME, 0)
    frequent = sorted(frequencies.items(), key=lambda item: -item[1])[:MOST_FREQUENT]
    return ColumnFacts(name, "category", len(frequencies), missing, frequent=dict(frequent))


def _short(column: Column, value: float) -> str:
    """Write a value with as many digits as people read."""
    return f"{value:.5g}" if column.kind == "real" else column.word(value)


def _tails(values: Tensor, counts: Tensor) -> str:
    """Say how heavy the tails of numbers are; nothing where they are not.

    Arguments:
        values: The different ones, rising, [K] float64.
        counts: How often each stands there, [K].
    """
    shares = counts.double() / counts.sum()
    quartiles = torch.searchsorted(shares.cumsum(0), torch.tensor([0.25, 0.75]).double())
    low, high = values[quartiles.clamp(max=len(values) - 1)].tolist()
    deviations = values - (shares * values).sum()
    variance = float((shares * deviations.square()).sum())
    excess = float((shares * deviations.pow(4)).sum()) / variance**2 - 3
    above, below = float(values[-1]) - high, low - float(values[0])
    parts = []
    if high > low and max(above, below) > FAR * (high - low):
        farthest = float(values[-1 if above >= below else 0])
        ratio = max(above, below) / (high - low)
        parts.append(f"{farthest:.6g} lies {ratio:.3g} times the range of the middle half beyond")
    if excess > KURTOSIS:
        parts.append(f"excess kurtosis {excess:.3g}")
    return f"heavy tails ({', '.join(parts)})" if parts else ""
