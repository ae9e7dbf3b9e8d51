"""Tells what is here, how fast it is, what is broken and what to do."""

from __future__ import annotations

import argparse

from trilemma.cli.command import Command, Parser

__all__ = ["COMMAND"]


def arguments(_parser: Parser) -> None:
    """Add nothing: there is nothing to choose."""


def run(options: argparse.Namespace) -> None:
    """Tell what is here, how fast it is, what is broken and what to do."""
    from trilemma.api.display import warn
    from trilemma.cli.examination import examine
    from trilemma.cli.terminal import as_json, out, table

    report = examine()
    if options.json:
        as_json(report)
        return
    table("doctor", ["what", "found"], [[k, v] for k, v in report["facts"].items()])
    for problem in report["problems"]:
        warn(problem)
    if not report["problems"]:
        out("nothing is broken.")


COMMAND = Command(
    summary="versions, speed, data found, what is broken and what to do",
    order=11,
    arguments=arguments,
    run=run,
)
