"""What commands give: of a training a run; of a comparison its tables, and where the page is."""

from __future__ import annotations

import os
import shutil
import sys

from trilemma.api.comparing import Comparison
from trilemma.api.display import say
from trilemma.cli.terminal import as_json, out, show_table
from trilemma.comparison.table import Table
from trilemma.report.tables import terminal_tables
from trilemma.training.run import Run

__all__ = ["give_comparison", "give_run"]

PIPED = 140
"""Characters of a line that goes to a file."""


def give_comparison(comparison: Comparison, *, as_object: bool) -> None:
    """Give a comparison, on stdout: what differs, tables and words, and where the page is.

    Of several processes the first does.

    Arguments:
        comparison: It.
        as_object: Whether as a JSON object.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    if as_object:
        as_json(comparison.to_json())
        say(comparison.report)
        return
    for sentence in comparison.differences:
        out(sentence)
    for table in comparison.tables:
        if len(comparison.tables) > 1:
            out(f"\n{table.heading.data}")
        _show(table)
    out(comparison.report)


def _show(table: Table) -> None:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED
    unrewarded_rows = [row for row in table.rows if not row.of.reward]
    for rich_table in terminal_tables(unrewarded_rows, width=width):
        show_table(rich_table)
    for task in table.ranking.tasks:
        for rich_table in terminal_tables(task.rows, f"Reward: {task.reward}", width=width):
            show_table(rich_table)
    out(table.ranking.words)


def give_run(run: Run, *, as_object: bool) -> None:
    """Give a run that was trained, on stdout; of several processes the first does.

    Arguments:
        run: It.
        as_object: Whether as a JSON object: path, recipe, data, steps, why it stopped before its
            end (null where it did not), seconds of training.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    if not as_object:
        out(run.path)
        return
    events = run.events()
    resumed_at = max((i for i, e in enumerate(events) if e.kind == "resumed"), default=0)
    stopped = [
        event.values.get("reason") for event in events[resumed_at:] if event.kind == "stopped"
    ]
    done = next((event.values for event in reversed(events) if event.kind == "done"), {})
    as_json(
        {
            "run": str(run.path),
            "recipe": run.recipe["name"],
            "data": run.recipe["data"]["source"],
            "step": max((event.step for event in events), default=0),
            "stopped": stopped[-1] if stopped else None,
            "seconds": done.get("train_seconds"),
            "report": str(run.path / "report.html"),
        }
    )
