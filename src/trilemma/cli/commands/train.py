"""Makes a run and trains it."""

from __future__ import annotations

import argparse
from pathlib import Path

from trilemma.cli.arguments import (
    add_budget,
    add_device,
    add_precision,
    add_reading,
    add_seed,
    add_size,
)
from trilemma.cli.command import Command, Parser, UsageError

__all__ = ["COMMAND"]


def arguments(parser: Parser) -> None:
    """Add what may be asked; fields of the recipe are options too."""
    add_budget(parser)
    add_device(parser)
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
    parser.epilog = "Every field of the recipe is an option too: see 'trilemma show RECIPE'."


def run(options: argparse.Namespace) -> None:
    """Make a run and train it."""
    if any(word.split("=")[0] == "--out" for word in options.fields):
        raise UsageError("train puts its run where --run DIR says; it has no --out.")
    if options.freeze is not None and options.start is None:
        raise UsageError("--freeze keeps weights that --from RUN gives; give both, or neither.")
    from trilemma.api.display import say
    from trilemma.api.working import at_work, budget_of, read_data, report_run, watched
    from trilemma.cli.terminal import out
    from trilemma.data import sources
    from trilemma.recipes.catalog import recipe_class
    from trilemma.recipes.fields import changed, parse
    from trilemma.recipes.runs import begin, free_path
    from trilemma.recipes.starting import Start
    from trilemma.training.budget import Budget

    kind, start = recipe_class(options.recipe), None
    if options.start is not None:
        frozen = () if options.freeze is None else tuple(options.freeze.split(","))
        start = Start(options.start, frozen)
        recipe = start.recipe(kind, changed(kind, options.fields))
    else:
        recipe = parse(kind, options.fields)
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
            start=start,
        )
        if session.world.is_main:
            say(f"{new_run.path}: {new_run.recipe['precision']['reason']}")
        watched(recipe.name, events, session)
        report_run(new_run, data, session)
        if session.world.is_main:
            out(new_run.path)


COMMAND = Command(
    summary="make a run directory and train a recipe in it, for a minute by default",
    order=4,
    arguments=arguments,
    run=run,
    has_fields=True,
)
