"""Runs the laws."""

from __future__ import annotations

import argparse
import dataclasses
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
    from trilemma.training.record import read_record

    if options.run is not None:
        read_record(options.run)
    from trilemma.api.display import counting, warn
    from trilemma.cli.terminal import as_json, table
    from trilemma.laws.book import library_laws, timed

    if options.run is not None:
        from trilemma.laws.trained import trained_laws
        from trilemma.recipes.runs import load

        loaded = load(options.run, warn=warn)
        checks = trained_laws(loaded.model, loaded.data(options.data).test.x)
    else:
        checks = library_laws()
    rows = []
    with counting("laws") as progress:
        for finished, check in enumerate(checks, 1):
            rows += [
                {**dataclasses.asdict(law), "holds": law.holds, "seconds": seconds}
                for law, seconds in timed([check])
            ]
            progress(finished, len(checks))
    holds = all(row["holds"] for row in rows)
    if options.json:
        as_json({"holds": holds, "laws": rows})
    else:
        table(
            f"{sum(r['holds'] for r in rows)} of {len(rows)} laws hold",
            ["", "law", "source", "measured", "", "expected", "tolerance", "seconds"],
            [
                [
                    "✓" if r["holds"] else "✗",
                    r["name"],
                    r["source"],
                    f"{r['measured']:.6g}",
                    r["relation"],
                    f"{r['expected']:.6g}",
                    f"{r['tolerance']:.1e}",
                    f"{r['seconds']:.2f}",
                ]
                for r in rows
            ],
        )
    return 0 if holds else 1


COMMAND = Command(
    summary="the laws: of the library, or of a trained run",
    order=10,
    arguments=arguments,
    run=run,
)
