"""Makes a run and trains it."""

from __future__ import annotations

import argparse

from trilemma.cli.terminal import say
from trilemma.cli.working import at_work, budget_of, read_data, report_run, watched
from trilemma.data import sources
from trilemma.recipes.catalog import recipe_class
from trilemma.recipes.fields import parse
from trilemma.recipes.recipe import Recipe
from trilemma.recipes.runs import begin, free_path
from trilemma.training.budget import Budget

__all__ = ["run"]


def _own_budget(recipe: Recipe) -> Budget:
    """Return what a recipe takes where no budget is given: its own steps, or a minute."""
    return Budget(steps=recipe.steps) if recipe.steps else Budget(minutes=1.0)


def run(options: argparse.Namespace) -> None:
    """Make a run and train it."""
    recipe = parse(recipe_class(options.recipe), options.fields)
    options.data = sources.declared(
        options.data, radius=options.ego_radius, columns=options.columns
    )
    with at_work(options.device) as (stop, ranks):
        data = read_data(options.data, options.size, ranks)
        run, events = begin(
            recipe,
            data,
            source=options.data,
            path=options.run or free_path(recipe.name, data.name),
            budget=budget_of(options) or _own_budget(recipe),
            seed=options.seed,
            size=options.size,
            precision=options.precision,
            watch=options.watch,
            world=ranks,
            stop=stop,
        )
        if ranks.is_main:
            say(f"{run.path}: {run.recipe['precision']['reason']}")
        watched(recipe.name, events, ranks)
        report_run(run, data, ranks)
