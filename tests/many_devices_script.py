"""One process of several: trains recipes, draws and gathers, and writes down what it saw."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from unittest.mock import patch

import torch
from small_recipes import small

from trilemma.core.sampling import draw
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.data.dataset import DataSet
from trilemma.recipes import preview
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.runs import begin, load
from trilemma.training.budget import Budget
from trilemma.training.distributed import world

STEPS = 6
DATA = {
    "image": "digits",
    "points": "two-moons",
    "graph": "community-small",
    "molecule": "qm9-small",
    "conformer": "qm9-small",
}
"""A data set of each kind."""
GAMES = ("gan", CATALOG["graphrl"].family, CATALOG["gcpn"].family)
SLOW = {"lr": 1e-5}
"""Games, and what is learnt by acting, are played slowly: the rounding by which two ways of
summing differ grows with the steps of AdamW, which are as long where a gradient is nought but for
rounding."""


def talkers() -> int:
    """Count the threads in which processes talk."""
    names = (task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm"))
    return sum(name == "pt_gloo_runloop" for name in names)


@cache
def loaded(name: str) -> DataSet:
    """Load a data set once."""
    return sources.load(name)


def trained(folder: Path) -> dict:
    """Do this process's part of each recipe's training and sampling; return losses and samples."""
    results = {}
    no_pictures = patch.object(preview.Previews, "__call__", lambda previews, model, step: {})
    with no_pictures, world(torch.device("cpu"), minutes=3) as process_group:
        for name, recipe in CATALOG.items():
            data = loaded(DATA[recipe.kinds[0]])
            _, events = begin(
                small(name, **(SLOW if recipe.family in GAMES else {})),
                data,
                source=data.name,
                path=folder / name,
                budget=Budget(steps=STEPS),
                precision="fp32",
                session=Session(world=process_group),
            )
            losses = [
                value
                for event in events
                if event.kind == "step"
                for key, value in event.values.items()
                if key.endswith("/loss")
            ]
            process_group.barrier()
            model = load(folder / name, warn=print).model
            mine = process_group.span(70)
            x = draw(model, len(mine), seed=3, start=mine.start)
            results[name] = {
                "losses": losses,
                "samples": process_group.gather(x, 70).flatten(1).tolist(),
            }
        results["talkers"] = [talkers()]
        is_main = process_group.is_main
    results["talkers"].append(talkers())
    if is_main:
        (folder / "seen.json").write_text(json.dumps(results))
    return results


if __name__ == "__main__":
    torch.set_num_threads(1)
    trained(Path(sys.argv[1]))
