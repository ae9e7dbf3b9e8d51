"""The table of a comparison: its runs, the groups of seeds, and what they come to.

A table is of one test set: what is not measured by the same test examples has a table of its own,
and is not ranked beside it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trilemma.comparison.cells import Grid, Settings
from trilemma.comparison.groups import groups, to_json
from trilemma.comparison.ranking import Ranking, rank
from trilemma.comparison.row import Row, each
from trilemma.metrics.evaluation import Evaluation

__all__ = ["Heading", "Table", "table", "tables_to_json", "text"]


@dataclass(frozen=True, kw_only=True)
class Heading:
    """What is said of a comparison before its figures."""

    data: str
    seed: int
    """Of the trainings; of runs that existed, of measuring."""
    seeds: tuple[int, ...] = ()
    """Of the grid, if it has any."""
    minutes: float | None = None
    """Of each training; None of runs that existed, which nothing was trained for."""
    grid: Grid = ()
    settings: Settings = ()
    differences: tuple[str, ...] = ()
    """What differs among runs that existed, a sentence each."""

    @property
    def of_existing(self) -> bool:
        """Tell whether it is of runs that existed."""
        return self.minutes is None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "data": self.data,
            "seed": list(self.seeds) or self.seed,
            "minutes": self.minutes,
            **({"grid": {k: list(v) for k, v in self.grid}} if self.grid else {}),
            **({"settings": dict(self.settings)} if self.settings else {}),
            **({"differences": list(self.differences)} if self.of_existing else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Table:
    """What was measured on one test set, and what follows from it."""

    heading: Heading
    runs: tuple[Evaluation, ...]
    """In the order in which they are compared."""
    rows: tuple[Row, ...]
    """What is shown: the runs, or those of one label together where there are several seeds."""
    folders: tuple[str, ...]
    """The run directory that is looked at for each row, from the comparison's folder on."""
    ranking: Ranking

    @property
    def choice(self) -> str | None:
        """Return what to choose; of different settings of one recipe none is the choice."""
        varied = any(name != "seed" for name, _ in self.heading.grid)
        return None if varied else self.ranking.choice

    def to_json(self) -> dict[str, Any]:
        """Return plain values: what `trilemma compare --json` prints."""
        return {
            **self.heading.to_json(),
            **({"folders": self._folders()} if self.heading.of_existing else {}),
            "rows": [run.to_json() for run in self.runs],
            **({"groups": [to_json(row) for row in self.rows]} if self.heading.seeds else {}),
            "choice": self.choice,
            "verdict": self.ranking.words,
            "why_not": self.ranking.why_not,
            **(
                {"rewards": [task.to_json() for task in self.ranking.tasks]}
                if self.ranking.tasks
                else {}
            ),
        }

    def _folders(self) -> dict[str, str]:
        return {row.name: folder for row, folder in zip(self.rows, self.folders, strict=True)}


def table(heading: Heading, runs: Sequence[Evaluation], folders: Sequence[str]) -> Table:
    """Put runs of one test set together, with what they come to.

    Arguments:
        heading: What is said before.
        runs: What was measured of each.
        folders: Of each row, the run directory that is looked at, from the comparison's folder on.
    """
    in_race = not heading.of_existing
    rows = groups(runs) if heading.seeds else each(runs, in_race=in_race)
    return Table(
        heading=heading,
        runs=tuple(runs),
        rows=tuple(rows),
        folders=tuple(folders),
        ranking=rank(rows),
    )


def tables_to_json(tables: Sequence[Table]) -> dict[str, Any]:
    """Return plain values of a comparison: of its table, or of one a test set, not ranked beside.

    Arguments:
        tables: At least one.
    """
    if len(tables) == 1:
        return tables[0].to_json()
    first, objects = tables[0].heading, [table.to_json() for table in tables]
    return {
        **first.to_json(),
        "data": [table.heading.data for table in tables],
        "folders": {k: v for plain in objects for k, v in plain["folders"].items()},
        "rows": [row for plain in objects for row in plain["rows"]],
        "choice": None,
        "verdict": " ".join(f"{plain['data']}: {plain['verdict']}" for plain in objects),
        "why_not": "They were measured by different test sets, and are ranked in each alone.",
        "test_sets": [
            {
                "data": plain["data"],
                "rows": [row.get("label") or row["recipe"] for row in plain["rows"]],
                **{key: plain[key] for key in ("choice", "verdict", "why_not")},
            }
            for plain in objects
        ],
    }


def text(tables: Sequence[Table]) -> str:
    """Return the JSON of the file `table.json`."""
    return json.dumps(tables_to_json(tables), indent=2)
