"""What a comparison leaves in its folder for people and scripts: tables and one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trilemma.comparison.row import Row, each
from trilemma.comparison.table import Table, text
from trilemma.core.errors import BadInput, Interrupted, reason_of
from trilemma.core.files import atomic_write
from trilemma.data.dataset import DataSet
from trilemma.report import gallery
from trilemma.report.html import comparison_page
from trilemma.report.page import Comparison, Entry, Picture
from trilemma.report.tables import rows_to_csv

__all__ = ["publish"]


def publish(path: Path, tables: Sequence[Table], data: Sequence[DataSet | None]) -> None:
    """Write table.csv, groups.csv, table.json and report.html, the page last.

    Arguments:
        path: The comparison's folder.
        tables: One a test set, of which there is one unless runs that existed have several.
        data: Of each; None where they are gone.
    """
    with atomic_write(path / "table.csv") as partial:
        partial.write_text(rows_to_csv(*(each(table.runs) for table in tables)))
    with atomic_write(path / "table.json") as partial:
        partial.write_text(text(tables))
    if any(table.heading.seeds for table in tables):
        with atomic_write(path / "groups.csv") as partial:
            partial.write_text(rows_to_csv(*(table.rows for table in tables)))
    page = comparison_page(*(_page_parts(path, *pair) for pair in zip(tables, data, strict=True)))
    with atomic_write(path / "report.html") as partial:
        partial.write_text(page, encoding="utf-8")


def _page_parts(path: Path, table: Table, data: DataSet | None) -> Comparison:
    """Gather one test set for the page."""
    folders = [path / folder for folder in table.folders]
    entries = [_entry(folder, row, data) for row, folder in zip(table.rows, folders, strict=True)]
    return gallery.comparison(table, entries, data, folders)


def _entry(folder: Path, row: Row, data: DataSet | None) -> Entry:
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
