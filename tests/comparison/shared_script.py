"""Run the command line with quick heartbeats, and with neither measuring nor pages.

Trainings, claims, tables and the command are as they are: for tests of several processes.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import torch

from trilemma.cli import main
from trilemma.comparison import compare, race
from trilemma.comparison.claims import Claims
from trilemma.metrics.evaluation import Evaluation
from trilemma.recipes.evaluate import training_of
from trilemma.report import gallery, publication
from trilemma.report.page import Entry


def measured(loaded, data, *, session, samples, **_):
    """Write an evaluation without scores."""
    session.check()
    evaluation = Evaluation(
        recipe=loaded.recipe.name,
        family=loaded.recipe.family,
        data=data.name,
        n=samples,
        seed=session.seed,
        training=training_of(loaded, data),
    )
    Path(loaded.run.path / "evaluation.json").write_text(json.dumps(evaluation.to_json()))
    return evaluation


if __name__ == "__main__":
    torch.set_num_threads(1)
    compare.Claims = functools.partial(Claims, beat=0.2, stale=3.0)
    publication.comparison_page = lambda page: "the page"
    race.judge_run = measured
    race.reference_for = lambda *_, **__: None
    gallery.entry = lambda folder, row, data: Entry(row)
    gallery.run_report = lambda run, data, model=None: None
    sys.exit(main(sys.argv[1:]))
