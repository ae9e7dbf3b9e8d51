"""What is kept of a benchmark: numbers with their command, versions, machine, commit and date."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.environment import PEERS, is_inside
from benchmarks.turns import Ratio
from trilemma.training.environment import environment

__all__ = ["Section", "keep"]


class Section:
    """A part of a result: a table for people and the same in plain values.

    Arguments:
        title: What was compared.
        columns: Heads of the table.
        rows: Cells, as they are printed.
        data: What is written, beside the table.
    """

    def __init__(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], **data: Any
    ) -> None:
        """Keep them."""
        self.title, self.columns, self.data = title, columns, data
        self.rows = [[_cell(value) for value in row] for row in rows]

    def show(self) -> None:
        """Print the table."""
        table = Table(*self.columns, title=self.title, title_justify="left")
        for row in self.rows:
            table.add_row(*row)
        Console(width=None if sys.stdout.isatty() else 120).print(table)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows, **_plain(self.data)}


def keep(
    name: str, options: Mapping[str, Any], sections: Sequence[Section], *, part: str = ""
) -> None:
    """Print the sections, and write results/NAME.json, or results/NAME-PART.json."""
    for section in sections:
        section.show()
    settings = {k: v for k, v in options.items() if k != "results"}
    result = {
        "benchmark": name,
        "command": shlex.join(["python", "-m", "benchmarks", name, *_words(settings)]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average": os.getloadavg()[0],
        "environment": environment()
        | {
            "threads": options["threads"],
            "peers": _versions(),
            "note": "torchvision's place is taken by benchmarks/torchvision_stand_in.py."
            if is_inside()
            else "no peer takes part but those that a section names.",
        },
        "sections": [section.to_json() for section in sections],
    }
    path = Path(options["results"]) / f"{'-'.join(filter(None, (name, part)))}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    print(f"written to {os.path.relpath(path)}")


def _words(options: Mapping[str, Any]) -> list[str]:
    """Write options as words; a folder of this machine by its name alone."""
    return [
        word
        for k, v in options.items()
        for word in (f"--{k}", ",".join(map(_without_folder, str(v).split(","))))
    ]


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Ratio):
        return value.to_json()
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def _versions() -> dict[str, str]:
    """Return the peers' versions; none outside of their environment."""
    return {peer: metadata.version(peer) for peer in PEERS} if is_inside() else {}


def _without_folder(part: str) -> str:
    return Path(part).name if os.path.isabs(part) else part
