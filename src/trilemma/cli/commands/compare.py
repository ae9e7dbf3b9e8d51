"""Trains and measures several recipes alike, or sets runs that exist side by side."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from trilemma.cli.arguments import (
    above_zero,
    add_device,
    add_devices,
    add_precision,
    add_reading,
    add_seed,
    add_size,
)
from trilemma.cli.command import Command, Parser

__all__ = ["COMMAND"]

DATA = "name:digits"
MINUTES = 1.0


def arguments(parser: Parser) -> None:
    """Add what may be asked."""
    add_device(parser)
    add_devices(parser)
    parser.add_argument(
        "--data",
        metavar="NAME_OR_PATH",
        help=f"default: {DATA}; with RUN: where data now lie that were moved",
    )
    add_size(parser)
    add_reading(parser)
    parser.add_argument("--recipes", metavar="A,B,…", help="default: all that fit the data")
    parser.add_argument(
        "--with",
        action="append",
        default=[],
        dest="ready",
        metavar="NAME=PATH",
        help="samples that another program made, measured beside the recipes",
    )
    parser.add_argument(
        "--minutes", type=above_zero(float), help=f"for each run; default: {MINUTES:g}"
    )
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="FIELD=A,B,…",
        help="each recipe with each of these values; seed=0,1,2 gives mean and spread",
    )
    parser.add_argument(
        "--seeds",
        type=above_zero(int),
        metavar="N",
        help="train each N times, with seeds from --seed on: short for --grid seed=0,1,…",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="FIELD=VALUE",
        help="a field of all recipes; --FIELD VALUE is the same",
    )
    parser.add_argument("--samples", type=above_zero(int), default=None, metavar="N")
    add_seed(parser)
    add_precision(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="an unfinished one is resumed")
    parser.usage = parser.format_usage().removeprefix("usage: ").strip() + " [RUN RUN …]"
    parser.epilog = (
        "RUN RUN …: sets these run directories side by side in the place of training any; what "
        "was not measured is measured."
    )


def run(options: argparse.Namespace) -> None:
    """Train and measure several recipes alike, or set runs side by side; say which to use."""
    runs, field_words = _parted(options.fields)
    if runs:
        _refuse_training(options, runs, [word.partition("=")[0] for word in field_words[:1]])
        _compare_existing(options, runs)
        return
    from trilemma.api.comparing import compare
    from trilemma.cli.results import give_comparison

    comparison = compare(
        options.data or DATA,
        [w.strip() for w in options.recipes.split(",")] if options.recipes else None,
        minutes=options.minutes or MINUTES,
        samples=options.samples,
        seed=options.seed,
        seeds=options.seeds,
        grid=options.grid,
        settings=[*options.settings, *_field_words(field_words)],
        ready=_named(options.ready),
        size=options.size,
        columns=options.columns,
        target=options.target,
        radius=options.ego_radius,
        out=options.out,
        device=options.device,
        precision=options.precision,
    )
    give_comparison(comparison, as_object=options.json)


def _compare_existing(options: argparse.Namespace, runs: Sequence[str]) -> None:
    """Set runs that existed side by side, and say which of these models to use."""
    from trilemma.api.comparing import compare_runs
    from trilemma.cli.results import give_comparison

    comparison = compare_runs(
        runs,
        samples=options.samples,
        seed=options.seed,
        data=options.data,
        out=options.out,
        device=options.device,
    )
    give_comparison(comparison, as_object=options.json)


def _refuse_training(
    options: argparse.Namespace, runs: Sequence[str], words: Sequence[str]
) -> None:
    """Refuse options of what is trained or read beside runs that exist.

    Raises:
        BadInput: One was given, or a word is neither an option nor a folder.
    """
    from trilemma.core.errors import BadInput

    for word in runs:
        if not Path(word).exists():
            raise BadInput(
                f"'{word}' is no option of compare, and no run lies there; see 'trilemma compare "
                "--help'."
            )
    given_options = {
        "--recipes": options.recipes,
        "--with": options.ready,
        "--minutes": options.minutes,
        "--grid": options.grid,
        "--seeds": options.seeds,
        "--set": options.settings,
        "--size": options.size,
        "--ego-radius": options.ego_radius,
        "--columns": options.columns,
        "--target": options.target,
        "--precision": options.precision != "auto",
        **dict.fromkeys(words, True),
    }
    for name, value in given_options.items():
        if value:
            raise BadInput(
                f"{name} is for recipes that are trained on data, and runs that exist are "
                "compared as they are; leave it out, or the runs."
            )


def _named(words: Sequence[str]) -> dict[str, str]:
    """Read NAME=PATH words.

    Raises:
        BadInput: One is no such pair, or a name stands twice.
    """
    from trilemma.core.errors import BadInput

    named: dict[str, str] = {}
    for word in words:
        name, sign, path = word.partition("=")
        if not sign or not path or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):
            raise BadInput(
                f"--with '{word}' was given; give NAME=PATH, a name of letters and digits and the "
                "file or folder of the samples."
            )
        if name in named:
            raise BadInput(f"--with names '{name}', which is another row; give another name.")
        named[name] = path
    return named


def _parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part words into runs and options of fields, each with its value.

    >>> _parted(["runs/a", "--batch", "64", "runs/b", "--width=5"])
    (['runs/a', 'runs/b'], ['--batch', '64', '--width=5'])
    """
    runs, fields, remaining = [], [], list(words)
    while remaining:
        word = remaining.pop(0)
        if not word.startswith("--"):
            runs.append(word)
            continue
        fields.append(word)
        if "=" not in word and remaining and not remaining[0].startswith("--"):
            fields.append(remaining.pop(0))
    return runs, fields


def _field_words(words: Sequence[str]) -> list[str]:
    """Write options of fields, `--batch 64` or `--batch=64`, as --set takes them.

    >>> _field_words(["--batch", "64", "--kl-warmup=5"])
    ['batch=64', 'kl-warmup=5']
    """
    from trilemma.core.errors import BadInput

    settings, remaining = [], list(words)
    while remaining:
        word = remaining.pop(0)
        name, sign, value = word.removeprefix("--").partition("=")
        if not name:
            raise BadInput(f"'{word}' is no option of compare; see 'trilemma compare --help'.")
        if not sign:
            if not remaining or remaining[0].startswith("--"):
                raise BadInput(f"--{name} was given without a value; give --{name} VALUE.")
            value = remaining.pop(0)
        settings.append(f"{name}={value}")
    return settings


COMMAND = Command(
    summary="several recipes, one data set, the same time",
    order=8,
    arguments=arguments,
    run=run,
    has_fields=True,
)
