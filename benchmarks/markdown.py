"""Tables of a page of results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

__all__ = ["as_table", "line"]


def line(cells: Iterable[object]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def as_table(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the lines of a table of rows that have the same keys; none where there is no row."""
    if not rows:
        return []
    return [line(rows[0]), line(["---"] * len(rows[0])), *(line(row.values()) for row in rows)]
