"""Tells what is here, how fast it is, what is broken and what to do."""

from __future__ import annotations

import argparse

from trilemma.cli.examination import examine
from trilemma.cli.terminal import as_json, out, table, warn

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Tell what is here, how fast it is, what is broken and what to do."""
    report = examine()
    if options.json:
        as_json(report)
    else:
        table("doctor", ["what", "found"], [[k, v] for k, v in report["facts"].items()])
        for problem in report["problems"]:
            warn(problem)
        if not report["problems"]:
            out("nothing is broken.")
    return 0
