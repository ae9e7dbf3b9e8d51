"""What a command gives: tables, paths and JSON, on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["as_json", "out", "show_table", "table"]


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


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Give a table, on stdout."""
    rich_table = Table(
        title=title, title_justify="left", box=None, pad_edge=False, header_style="bold"
    )
    for i, column in enumerate(columns):
        rich_table.add_column(column, overflow="fold", no_wrap=i == 0)
    for row in rows:
        rich_table.add_row(*(str(cell) for cell in row))
    width = None if sys.stdout.isatty() else 140
    Console(highlight=False, width=width).print(rich_table, markup=False)


def show_table(rich_table: Table) -> None:
    """Print a finished table, on stdout."""
    Console(highlight=False, width=None if sys.stdout.isatty() else 140).print(rich_table)
