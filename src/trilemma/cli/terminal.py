"""What a command gives: tables, paths and JSON, on stdout."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["as_json", "out", "show_table", "table"]

PIPED = 140
"""Characters of a line that goes to a file."""
GAP = 2
"""Spaces between columns."""


def out(text: object) -> None:
    """Give a result, on stdout."""
    print(text, flush=True)


def as_json(value: Mapping[str, Any]) -> None:
    """Give one JSON object, on stdout; what is no finite number becomes null."""
    out(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
        return None
    return value


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Give a table, on stdout; where its words have no room side by side, a paragraph a row."""
    cells = [[str(cell) for cell in row] for row in rows]
    width = _width()
    widths = _column_widths([columns, *cells], width)
    if not widths:
        _paragraphs(title, columns, cells, width)
        return
    from rich.table import Table

    rich_table = Table(
        title=title, title_justify="left", box=None, pad_edge=False, header_style="bold"
    )
    for column, column_width in zip(columns, widths, strict=True):
        rich_table.add_column(column, overflow="fold", width=column_width)
    for row in cells:
        rich_table.add_row(*row)
    show_table(rich_table)


def _column_widths(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return a width a column in which no word is broken; none where these have no room.

    The first column is never wrapped; wide columns are cut to one width, as large as there is
    room.

    >>> _column_widths([["a", "of words", "of more of them"]], 16)
    [1, 5, 5]
    >>> _column_widths([["incomprehensible", "words"]], 16)
    []
    """
    first, *columns = zip(*rows, strict=True)
    full_widths = [max(map(len, first)), *(max(map(len, column)) for column in columns)]
    words = [[max(map(len, cell.split()), default=0) for cell in column] for column in columns]
    narrowest = [full_widths[0], *map(max, words)]
    available = width - GAP * len(columns)
    if sum(narrowest) > available:
        return []

    def cut(limit: int) -> list[int]:
        return [min(w, max(n, limit)) for w, n in zip(full_widths, narrowest, strict=True)]

    widths = narrowest
    for limit in range(1, available + 1):
        if sum(cut(limit)) > available:
            break
        widths = cut(limit)
    return widths


def _paragraphs(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> None:
    """Give rows one below the other: the first cell, and the rest by column, indented."""
    if title:
        out(title)
    for first, *cells in rows:
        out(first)
        for column, cell in zip(columns[1:], cells, strict=True):
            if cell:
                text = f"{column}: {cell}" if column else cell
                out(
                    textwrap.fill(
                        text,
                        width,
                        initial_indent="  ",
                        subsequent_indent="    ",
                        break_long_words=False,
                        break_on_hyphens=False,
                    )
                )


def show_table(rich_table: Table) -> None:
    """Print a finished table, on stdout."""
    from rich.console import Console

    Console(highlight=False, width=_width()).print(rich_table, markup=False)
