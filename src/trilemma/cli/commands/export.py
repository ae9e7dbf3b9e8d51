"""Writes a run's weights where they can travel."""

from __future__ import annotations

import argparse
from pathlib import Path

from trilemma.cli.command import Command, Parser

__all__ = ["COMMAND"]


def arguments(parser: Parser) -> None:
    """Add what may be asked."""
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="a folder that does not exist yet"
    )
    parser.epilog = (
        "The folder holds model.safetensors, recipe.json and a model card, README.md; it is "
        "sampled, measured and started from (train --from) as a run is."
    )


def run(options: argparse.Namespace) -> None:
    """Write averaged weights, record and model card."""
    from trilemma.training.record import read_record

    read_record(options.run)
    from trilemma.api.run import load
    from trilemma.cli.terminal import as_json, out

    exported = load(options.run)
    exported.export(options.out)
    if options.json:
        weights = read_record(options.out)["weights"]
        as_json({"out": str(options.out), "recipe": exported.recipe, **weights})
    else:
        out(options.out)


COMMAND = Command(
    summary="a run's weights, record and model card, in a folder that travels",
    order=7,
    arguments=arguments,
    run=run,
)
