"""Several recipes on the same data for the same time, and what to choose.

A comparison is a folder: `comparison.json` (what is compared), `runs/RECIPE/` (a run directory
each; its name has the grid's fields and seed too, where there is a grid), and when all is measured
`table.csv`, `table.json`, `report.html`, and `groups.csv` if there are several seeds. It may be
stopped at any moment; the same command goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from trilemma import drawing, gallery
from trilemma.comparison.plan import Plan
from trilemma.comparison.race import Progress, Race, Watch
from trilemma.comparison.row import each
from trilemma.comparison.table import Table, table
from trilemma.core.errors import BadInput
from trilemma.data.dataset import DataSet
from trilemma.recipes.runs import folder_name
from trilemma.report.html import comparison_page
from trilemma.report.tables import rows_to_csv
from trilemma.training.distributed import World
from trilemma.training.run import Run
from trilemma.training.signals import Stop

__all__ = ["compare", "place"]


def place(plan: Plan, asked: Path | None, root: Path = Path("comparisons")) -> Path:
    """Choose the folder: the one asked for, an unfinished one of the same plan, or a new one.

    Raises:
        BadInput: The folder asked for holds something else.
    """
    if asked is not None:
        if asked.exists() and _plan_in(asked) != plan.to_json():
            raise BadInput(
                f"{asked} exists and is not this comparison; give another --out, or the same "
                "options to go on with it."
            )
        return asked
    stem = folder_name(Path(plan.data).name)
    number = 1
    while (path := root / f"{stem}-{number:03d}").exists():
        if _plan_in(path) == plan.to_json() and not (path / "report.html").exists():
            return path
        number += 1
    return path


def _plan_in(path: Path) -> Any:  # noqa: ANN401
    try:
        return json.loads((path / "comparison.json").read_text())
    except (OSError, ValueError):
        return None


def compare(
    plan: Plan,
    data: DataSet,
    path: Path,
    *,
    world: World,
    stop: Stop,
    watch: Watch,
    progress: Callable[[str], AbstractContextManager[Progress]],
    say: Callable[[str], None],
) -> Table:
    """Train and measure each recipe in turn, and write the table and the page.

    Arguments:
        plan: What is compared.
        data: Its data set.
        path: The comparison's folder.
        world: The processes that share the work.
        stop: Tells when a signal asks for an end.
        watch: Shows a training by its events.
        progress: Makes, for a title, what shows a measurement.
        say: Tells people something.

    Returns:
        What was measured, and what it comes to.
    """
    for sentence in plan.left_out:
        say(sentence)
    runs = len(plan.cells())
    say(
        f"{runs} {'training' if runs == 1 else 'trainings'} of {plan.minutes:g} minutes: "
        f"{runs * plan.minutes:g} minutes in all, and the measuring"
    )
    if world.is_main:
        with drawing.whole(path / "comparison.json") as partial:
            partial.write_text(json.dumps(plan.to_json(), indent=2))
    world.barrier()

    def done(run: Run) -> None:
        gallery.run_report(run, data)

    race = Race(plan, data, path / "runs", world, stop, watch, progress, say, done)
    made = table(plan, [race.measured(cell) for cell in plan.cells()])
    if world.is_main:
        say(f"looking into the models for {path / 'report.html'} …")
        _write(path, plan, made, data)
    return made


def _write(path: Path, plan: Plan, made: Table, data: DataSet) -> None:
    """Write table.csv, groups.csv, table.json and report.html, the page last."""
    with drawing.whole(path / "table.csv") as partial:
        partial.write_text(rows_to_csv(each(made.runs)))
    with drawing.whole(path / "table.json") as partial:
        partial.write_text(json.dumps(made.to_json(), indent=2))
    if plan.seeds:
        with drawing.whole(path / "groups.csv") as partial:
            partial.write_text(rows_to_csv(made.rows))
    entries = [
        gallery.entry(path / "runs" / folder, row, data)
        for row, folder in zip(made.rows, _pictured(plan, made), strict=True)
    ]
    page = comparison_page(gallery.comparison(made, entries, data, path / "runs"))
    with drawing.whole(path / "report.html") as partial:
        partial.write_text(page)


def _pictured(plan: Plan, made: Table) -> list[str]:
    """Name the folder that is looked at for each row: of the first seed that was measured."""
    if not plan.seeds:
        return [cell.folder for cell in plan.cells()]
    chosen: dict[str, tuple[bool, str]] = {}
    for cell, run in zip(plan.cells(), made.runs, strict=True):
        measured = bool(run.metrics)
        if cell.label not in chosen or measured > chosen[cell.label][0]:
            chosen[cell.label] = measured, cell.folder
    return [folder for _, folder in chosen.values()]
