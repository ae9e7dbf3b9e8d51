"""Resumes a run, exactly where it was."""

from __future__ import annotations

import argparse
from pathlib import Path

from trilemma.cli.arguments import add_budget, add_device, add_devices, seed
from trilemma.cli.command import Command, Parser

__all__ = ["COMMAND"]


def arguments(parser: Parser) -> None:
    """Add what may be asked."""
    add_budget(parser)
    add_device(parser)
    add_devices(parser)
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
    from trilemma.training.record import read_record

    read_record(options.run)
    from trilemma.api.training import resume
    from trilemma.cli.results import give_run

    resumed = resume(
        options.run,
        minutes=options.minutes,
        steps=options.steps,
        data=options.data,
        changed_data=options.changed_data,
        requested={"name": options.recipe, "seed": options.seed},
        device=options.device,
    )
    give_run(resumed.directory, as_object=options.json)


COMMAND = Command(
    summary="resume a run, exactly where it stopped", order=5, arguments=arguments, run=run
)
