"""Tables of a page of results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

__all__ = ["as_page", "as_table", "line"]


def line(cells: Iterable[object]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def as_table(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the lines of a table of rows that have the same keys; none where there is no row."""
    if not rows:
        return []
    return [line(rows[0]), line(["---"] * len(rows[0])), *(line(row.values()) for row in rows)]


def as_page(title: str, names: Iterable[str], threads: str = "") -> str:
    """Return a page of results, as they are kept: command, where and when, and their tables.

    Arguments:
        title: Of the page.
        names: Files of results.
        threads: How many there were, where it is not the number that the record has.
    """
    parts = [f"# {title}", ""]
    for name in names:
        result = json.loads(Path(name).read_text())
        environment = result["environment"]
        used = threads or f"{environment['threads']} threads"
        parts += [f"    {result['command']}", ""]
        parts += [
            f"Commit {environment['commit']}, {environment['processor']}, {used}, "
            f"no accelerator, {result['date'][:10]}.",
            "",
        ]
        for section in result["sections"]:
            parts += [f"**{section['title']}**", "", *as_table(section["rows"]), ""]
    return "\n".join(parts)
