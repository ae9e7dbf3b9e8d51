"""Runs the laws."""

from __future__ import annotations

import argparse
from pathlib import Path

from trilemma.cli.command import Command, Parser

__all__ = ["COMMAND"]


def arguments(parser: Parser) -> None:
    """Add what may be asked."""
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument(
        "--data", metavar="NAME_OR_PATH", help="of a run: where the same data now lie"
    )


def run(options: argparse.Namespace) -> int:
    """Run the laws and print the table."""
    if options.run is not None:
        from trilemma.training.record import read_record

        read_record(options.run)
    from trilemma.api.verifying import verify
    from trilemma.cli.terminal import as_json, table

    laws = verify(options.run, options.data)
    if options.json:
        as_json(laws.to_json())
    else:
        table(
            laws.title,
            ["", "law", "source", "measured", "", "expected", "tolerance", "seconds"],
            [list(row.values()) for row in laws.rows()],
        )
    return 0 if laws.holds else 1


COMMAND = Command(
    summary="the laws: of the library, or of a trained run",
    order=10,
    arguments=arguments,
    run=run,
)
