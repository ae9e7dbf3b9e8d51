"""Makes a run and trains it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from trilemma.cli.arguments import (
    add_budget,
    add_device,
    add_devices,
    add_precision,
    add_reading,
    add_seed,
    add_size,
)
from trilemma.cli.command import Command, Parser, UsageError

if TYPE_CHECKING:
    from trilemma.recipes.fields import Field

__all__ = ["COMMAND"]


def arguments(parser: Parser) -> None:
    """Add what may be asked; fields of the recipe are options too."""
    add_budget(parser)
    add_device(parser)
    add_devices(parser)
    parser.add_argument("recipe")
    parser.add_argument("--data", default="name:digits", metavar="NAME_OR_PATH")
    add_size(parser)
    add_reading(parser)
    add_seed(parser)
    add_precision(parser)
    parser.add_argument("--run", type=Path, metavar="DIR", help="default runs/RECIPE-DATA-001")
    parser.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="RUN",
        help="start from the weights of a run of this recipe, or of exported ones, and take its "
        "fields where none are given",
    )
    parser.add_argument(
        "--freeze",
        metavar="NAME,NAME…",
        help="with --from: parts of the model that are not trained, such as encoder,decoder.0",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="measure samples on the way, in a tenth of the time",
    )
    parser.epilog = (
        "Fields of the recipe are options too: 'trilemma train RECIPE --help' lists them."
    )


def run(options: argparse.Namespace) -> None:
    """Make a run and train it."""
    if any(word.split("=")[0] == "--out" for word in options.fields):
        raise UsageError("train puts its run where --run DIR says; it has no --out.")
    if options.freeze is not None and options.start is None:
        raise UsageError("--freeze keeps weights that --from RUN gives; give both, or neither.")
    from trilemma.recipes.catalog import recipe_class
    from trilemma.recipes.fields import changed, parse
    from trilemma.training.record import read_record

    kind = recipe_class(options.recipe)
    if options.start is None:
        recipe = parse(kind, options.fields)
    else:
        read_record(options.start)
        from trilemma.recipes.starting import Start

        recipe = Start(options.start).recipe(kind, changed(kind, options.fields))
    from trilemma.api.training import train
    from trilemma.cli.results import give_run

    new_run = train(
        recipe,
        options.data,
        minutes=options.minutes,
        steps=options.steps,
        seed=options.seed,
        run=options.run,
        size=options.size,
        columns=options.columns,
        target=options.target,
        radius=options.ego_radius,
        device=options.device,
        precision=options.precision,
        watch=options.watch,
        from_run=options.start,
        freeze=() if options.freeze is None else options.freeze.split(","),
    )
    give_run(new_run.directory, as_object=options.json)


def fields(options: argparse.Namespace) -> tuple[str, list[Field]]:
    """Return the fields of the recipe, under a title."""
    from trilemma.recipes.catalog import recipe_class
    from trilemma.recipes.fields import fields as fields_of

    kind = recipe_class(options.recipe)
    return f"fields of recipe '{kind.name}' [defaults]", fields_of(kind)


COMMAND = Command(
    summary="make a run directory and train a recipe in it, for a minute by default",
    order=4,
    arguments=arguments,
    run=run,
    has_fields=True,
    fields=fields,
)
