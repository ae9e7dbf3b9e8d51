"""Runs that existed, side by side: how `compare` and `report` measure and show them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trilemma.api.working import read_data
from trilemma.comparison.existing import ExistingRuns, compare_runs
from trilemma.comparison.table import Table
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet
from trilemma.report import gallery
from trilemma.report.publication import publish

__all__ = ["compare_existing"]


def compare_existing(
    runs: ExistingRuns, session: Session, out: Path | None = None
) -> tuple[Path, list[Table]]:
    """Compare runs that existed, and write their tables and page.

    Arguments:
        runs: Which, and how they are measured.
        session: Its seed is that of measuring.
        out: The folder; None takes comparisons/runs-001 or the next.

    Returns:
        The folder, and a table a test set.

    Raises:
        BadInput: One is no run, was not trained or is being trained, or the folder holds something
            else.
        Interrupted: A signal came; what was measured is kept.
    """

    def publishing(folder: Path, tables: Sequence[Table], data: Sequence[DataSet | None]) -> None:
        session.say(f"looking into the models for {folder / 'report.html'} …")
        publish(folder, tables, data)

    return compare_runs(
        runs,
        session=session,
        read=lambda name, size: read_data(name, size, session),
        publish=publishing,
        on_measured=gallery.run_report,
        out=out,
    )
