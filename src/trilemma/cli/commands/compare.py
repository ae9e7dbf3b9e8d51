"""Trains and measures several recipes alike, or sets runs that exist side by side."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from torch import Tensor

    from trilemma.comparison.plan import Ready
    from trilemma.comparison.table import Table
    from trilemma.data.dataset import DataSet

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
    from trilemma.api.display import say
    from trilemma.api.working import at_work, read_data, watched
    from trilemma.cli.results import give_comparison
    from trilemma.comparison import compare as comparing
    from trilemma.comparison.cells import read_grid, read_settings
    from trilemma.comparison.plan import Plan
    from trilemma.core.errors import BadInput
    from trilemma.data import sources
    from trilemma.recipes.catalog import recipe_class
    from trilemma.report import gallery
    from trilemma.report.publication import publish

    def publishing(folder: Path, comparison_table: Table) -> None:
        say(f"looking into the models for {folder / 'report.html'} …")
        publish(folder, [comparison_table], [data])

    names = [w.strip() for w in options.recipes.split(",")] if options.recipes else None
    for name in names or ():
        recipe_class(name)
    options.data = sources.declared(
        options.data or DATA,
        radius=options.ego_radius,
        columns=options.columns,
        target=options.target,
    )
    grid = read_grid([*options.grid, *_seed_grid(options)])
    settings = read_settings([*options.settings, *_field_words(field_words)])
    if "seed" in dict(grid) and options.seed and options.seeds is None:
        raise BadInput("--seed and --grid seed=… both say which seeds; give one of them.")
    with at_work(options.device, options.seed) as session:
        data = read_data(options.data, options.size, session)
        ready_samples = _ready(options.ready, data, names)
        plan = Plan.of(
            data,
            options.data,
            size=options.size,
            recipes=names,
            minutes=options.minutes or MINUTES,
            samples=options.samples,
            seed=options.seed,
            device=options.device,
            precision=options.precision,
            grid=grid,
            settings=settings,
            ready=[one for one, _ in ready_samples],
        )
        path = comparing.choose_folder(plan, options.out)

        comparison_table = comparing.compare(
            plan,
            data,
            path,
            session=session,
            watch=lambda title, events: watched(title, events, session),
            on_measured=lambda run: gallery.run_report(run, data),
            publish=publishing,
            ready={one.name: samples for one, samples in ready_samples},
        )
        if session.world.is_main:
            give_comparison([comparison_table], path, as_object=options.json)


def _compare_existing(options: argparse.Namespace, runs: Sequence[str]) -> None:
    """Set runs that existed side by side, and say which of these models to use."""
    from trilemma.api.existing import compare_existing
    from trilemma.api.working import at_work
    from trilemma.cli.results import give_comparison
    from trilemma.comparison.existing import ExistingRuns

    with at_work(options.device, options.seed) as session:
        compared = ExistingRuns(tuple(map(Path, runs)), options.samples, options.data)
        path, tables = compare_existing(compared, session, options.out)
        if session.world.is_main:
            give_comparison(tables, path, as_object=options.json)


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


def _ready(
    words: Sequence[str], data: DataSet, recipes: Sequence[str] | None
) -> list[tuple[Ready, Tensor]]:
    """Read the samples of each NAME=PATH."""
    from trilemma.comparison.plan import Ready
    from trilemma.core.errors import BadInput
    from trilemma.data.ready import ready
    from trilemma.recipes.catalog import fitting

    ready_samples: list[tuple[Ready, Tensor]] = []
    used_names = set(recipes or fitting(data.domain))
    for word in words:
        name, sign, path = word.partition("=")
        if not sign or not path or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):
            raise BadInput(
                f"--with '{word}' was given; give NAME=PATH, a name of letters and digits and the "
                "file or folder of the samples."
            )
        if name in used_names:
            raise BadInput(f"--with names '{name}', which is another row; give another name.")
        used_names.add(name)
        samples = ready(Path(path).expanduser(), data)
        ready_samples.append((Ready.of(name, path, samples), samples))
    return ready_samples


def _seed_grid(options: argparse.Namespace) -> list[str]:
    """Write --seeds N as the grid that it stands for: N seeds from --seed on."""
    if options.seeds is None:
        return []
    first = options.seed
    return [f"seed={','.join(str(first + i) for i in range(options.seeds))}"]


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
