"""Resumes a run, exactly where it was."""

from __future__ import annotations

import argparse
from pathlib import Path

from trilemma.cli.arguments import add_budget, add_device, seed
from trilemma.cli.command import Command, Parser

__all__ = ["COMMAND"]


def arguments(parser: Parser) -> None:
    """Add what may be asked."""
    add_budget(parser)
    add_device(parser)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", metavar="NAME_OR_PATH", help="where the same data now lie")
    parser.add_argument(
        "--changed-data",
        action="store_true",
        help="go on though the data are not what the run began with",
    )
    parser.add_argument("--seed", type=seed, help="refused unless it is the run's own")
    parser.add_argument("--recipe", help="refused unless it is the run's own")


def run(options: argparse.Namespace) -> None:
    """Resume a run."""
    from trilemma.api.working import at_work, budget_of, read_data, report_run, watched
    from trilemma.cli.terminal import out
    from trilemma.recipes.run_data import location
    from trilemma.recipes.runs import go_on
    from trilemma.training.run import Run

    with at_work(options.device) as session:
        run = Run.open(options.run).resumable()
        record = run.recipe
        data = read_data(location(run, options.data), record["data"]["size"], session)
        resumed, events = go_on(
            options.run,
            session=session,
            budget=budget_of(options.steps, options.minutes),
            data=data,
            requested={"name": options.recipe, "seed": options.seed},
            changed=options.changed_data,
        )
        watched(record["name"], events, session)
        report_run(resumed, data, session)
        if session.world.is_main:
            out(resumed.path)


COMMAND = Command(
    summary="resume a run, exactly where it stopped", order=5, arguments=arguments, run=run
)
