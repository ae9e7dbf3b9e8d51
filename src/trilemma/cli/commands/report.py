"""Writes the page of a run, or of several side by side, of what was measured before."""

from __future__ import annotations

import argparse
from pathlib import Path

from trilemma.cli.arguments import add_device
from trilemma.cli.command import Command, Parser, UsageError

__all__ = ["COMMAND"]


def arguments(parser: Parser) -> None:
    """Add what may be asked."""
    add_device(parser)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument(
        "--data", metavar="NAME_OR_PATH", help="where data now lie that were moved"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="of several; default: comparisons/runs-001"
    )


def run(options: argparse.Namespace) -> None:
    """Write a page, and measure nothing."""
    if len(options.runs) > 1:
        _report_several(options)
        return
    if options.out is not None:
        raise UsageError(
            "--out was given, and the page of one run is its own report.html; leave it out, or "
            "name several runs."
        )
    from trilemma.api.working import at_work, read_data, report_run
    from trilemma.cli.terminal import as_json, out
    from trilemma.recipes.run_data import location
    from trilemma.training.run import Run

    (path,) = options.runs
    with at_work(options.device) as session:
        opened = Run.open(path)
        where = location(opened, options.data)
        report_run(opened, read_data(where, opened.recipe["data"]["size"], session), session)
        if session.world.is_main:
            page = path / "report.html"
            if options.json:
                as_json({"run": str(path), "report": str(page)})
            else:
                out(page)


def _report_several(options: argparse.Namespace) -> None:
    """Write the page of several runs, as `compare` does, but of what was measured before."""
    from trilemma.api.comparing import compare_runs
    from trilemma.cli.results import give_comparison

    comparison = compare_runs(
        options.runs, data=options.data, measures=False, out=options.out, device=options.device
    )
    give_comparison(comparison, as_object=options.json)


COMMAND = Command(
    summary="the page of a run, or of several side by side, measuring nothing",
    order=9,
    arguments=arguments,
    run=run,
)
