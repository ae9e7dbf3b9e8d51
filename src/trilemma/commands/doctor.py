"""Tells what is here, how fast it is, what is broken and what to do."""

from __future__ import annotations

import argparse

from trilemma.doctor import examine
from trilemma.terminal import as_json, out, table, warn

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Tell what is here, how fast it is, what is broken and what to do."""
    found = examine()
    if options.json:
        as_json(found)
    else:
        table("doctor", ["what", "found"], [[k, v] for k, v in found["facts"].items()])
        for problem in found["problems"]:
            warn(problem)
        if not found["problems"]:
            out("nothing is broken.")
    return 0
