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
    from trilemma.recipes.catalog import recipe_class
    from trilemma.recipes.fields import parse

    recipe = parse(recipe_class(options.recipe), options.fields)
    from trilemma.api.display import say
    from trilemma.api.working import at_work, budget_of, read_data, report_run, watched
    from trilemma.cli.results import give_run
    from trilemma.data import sources
    from trilemma.recipes.runs import begin, free_path
    from trilemma.training.budget import Budget

    default_budget = Budget(steps=recipe.steps) if recipe.steps else Budget(minutes=1.0)
    source = sources.declared(
        options.data, radius=options.ego_radius, columns=options.columns, target=options.target
    )
    with at_work(options.device, options.seed) as session:
        data = read_data(source, options.size, session)
        new_run, events = begin(
            recipe,
            data,
            source=source,
            path=options.run or free_path(recipe.name, data.name),
            budget=budget_of(options.steps, options.minutes) or default_budget,
            session=session,
            size=options.size,
            precision=options.precision,
            watch=options.watch,
        )
        if session.world.is_main:
            say(f"{new_run.path}: {new_run.recipe['precision']['reason']}")
        watched(recipe.name, events, session)
        report_run(new_run, data, session)
        if session.world.is_main:
            give_run(new_run, as_object=options.json)


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
