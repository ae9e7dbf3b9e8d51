"""What a comparison leaves in its folder for people and scripts: tables and one page."""

from __future__ import annotations

from pathlib import Path

from trilemma.comparison.plan import Plan
from trilemma.comparison.row import Row, each
from trilemma.comparison.table import Table
from trilemma.core.errors import BadInput, Interrupted, reason_of
from trilemma.core.files import atomic_write
from trilemma.data.dataset import DataSet
from trilemma.report import gallery
from trilemma.report.html import comparison_page
from trilemma.report.page import Entry, Picture
from trilemma.report.tables import rows_to_csv

__all__ = ["publish"]


def publish(path: Path, comparison_table: Table, data: DataSet) -> None:
    """Write table.csv, groups.csv, table.json and report.html, the page last."""
    plan = comparison_table.plan
    with atomic_write(path / "table.csv") as partial:
        partial.write_text(rows_to_csv(each(comparison_table.runs)))
    with atomic_write(path / "table.json") as partial:
        partial.write_text(comparison_table.text())
    if plan.seeds:
        with atomic_write(path / "groups.csv") as partial:
            partial.write_text(rows_to_csv(comparison_table.rows))
    entries = [
        _entry(path / "runs" / folder, row, data)
        for row, folder in zip(
            comparison_table.rows, _pictured(plan, comparison_table), strict=True
        )
    ]
    page = comparison_page(gallery.comparison(comparison_table, entries, data, path / "runs"))
    with atomic_write(path / "report.html") as partial:
        partial.write_text(page, encoding="utf-8")


def _entry(folder: Path, row: Row, data: DataSet) -> Entry:
    """Gather a run for the page; of one that cannot be read or drawn only why."""
    try:
        return gallery.entry(folder, row, data)
    except Interrupted:
        raise
    except BadInput:
        if row.of.metrics:
            raise
        return Entry(row)
    except Exception as error:
        return Entry(row, pictures=[Picture.missing("its pictures", reason_of(error))])


def _pictured(plan: Plan, comparison_table: Table) -> list[str]:
    """Name the folder that is looked at for each row: of the first seed that was measured."""
    ready_folders = [ready.folder for ready in plan.ready]
    if not plan.seeds:
        return [cell.folder for cell in plan.cells()] + ready_folders
    chosen: dict[str, tuple[bool, str]] = {}
    for cell, run in zip(plan.cells(), comparison_table.runs, strict=False):
        measured = bool(run.metrics)
        if cell.label not in chosen or measured > chosen[cell.label][0]:
            chosen[cell.label] = measured, cell.folder
    return [folder for _, folder in chosen.values()] + ready_folders
