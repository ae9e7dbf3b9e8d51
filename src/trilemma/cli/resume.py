"""Goes on with a run."""

from __future__ import annotations

import argparse

from trilemma.cli.working import at_work, budget_of, read_data, report_run, watched
from trilemma.data import sources
from trilemma.recipes.runs import go_on
from trilemma.training.run import Run

__all__ = ["run"]


def run(options: argparse.Namespace) -> None:
    """Go on with a run."""
    with at_work(options.device) as (stop, ranks):
        run = Run.open(options.run)
        record = run.recipe["data"]
        location = sources.moved(options.data or record["source"], record["source"])
        data = read_data(location, record["size"], ranks)
        run, events = go_on(
            options.run,
            budget=budget_of(options),
            data=data,
            requested={"name": options.recipe, "seed": options.seed},
            world=ranks,
            stop=stop,
        )
        watched(run.recipe["name"], events, ranks)
        report_run(run, data, ranks)
