"""One process of several: trains recipes, draws and gathers, and writes down what it saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from trilemma.core.sampling import draw
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.runs import begin, load
from trilemma.training import allowance
from trilemma.training.budget import Budget
from trilemma.training.distributed import world

DATA = {
    "image": "digits",
    "points": "two-moons",
    "graph": "community-small",
    "molecule": "qm9-small",
    "conformer": "qm9-small",
}
"""A data set of each kind."""
GAMES = ("gan", CATALOG["graphrl"].family, CATALOG["gcpn"].family)
FIELDS = {name: {"lr": 1e-5} for name in CATALOG if CATALOG[name].family in GAMES} | {
    "geoldm": {"width": 16, "layers": 2, "sample_steps": 5}
}
"""Games, and what is learnt by acting, are played slowly: the rounding by which two ways of
summing differ grows with the steps of AdamW, which are as long where a gradient is nought but for
rounding."""


def talkers() -> int:
    """Count the threads in which processes talk."""
    names = (task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm"))
    return sum(name == "pt_gloo_runloop" for name in names)


def main() -> None:
    """Do this process's part."""
    torch.set_num_threads(1)
    allowance.CREDIT, allowance.LAST = 0.4, 0.2  # it is about what is trained
    folder, names = Path(sys.argv[1]), sys.argv[2:]
    results = {}
    with world(torch.device("cpu"), minutes=3) as process_group:
        for name in names:
            data = sources.load(DATA[CATALOG[name].kinds[0]])
            _, events = begin(
                CATALOG[name](batch=32, **FIELDS.get(name, {})),
                data,
                source=data.name,
                path=folder / name,
                budget=Budget(steps=20),
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


if __name__ == "__main__":
    main()
