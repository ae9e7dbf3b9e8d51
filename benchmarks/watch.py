"""What continuous evaluation costs: training that watches its fd, beside training that does not.

    python -m benchmarks watch --minutes 3

Two measures. *Share*: every look, and all that looks need, is clocked from outside; the largest
share of the time gone by that it ever amounts to is kept, not the last one alone. At most 10 % is
wanted. *Updates*: trainings of the same minutes by turns, with and without looks; this counts
also what looks do to the steps after them. Pictures and counts of classes are made on both sides.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.record import Section
from benchmarks.turns import by_turns, ratio
from trilemma.core.model import Model
from trilemma.core.session import Session
from trilemma.data.sources import load
from trilemma.recipes import runs
from trilemma.recipes.catalog import recipe_class
from trilemma.recipes.online_frechet_distance import SHARE, Watch
from trilemma.recipes.preview import Previews
from trilemma.training.budget import Budget

ABOUT = "what looking at fd on the way costs a training"
OPTIONS = {
    "recipe": ("ddpm", "what is trained, with its defaults"),
    "data": ("fashion-mnist", "on what"),
    "minutes": (3.0, "minutes of a training"),
    "rounds": (1, "trainings of each side"),
}
SMALLEST = {"minutes": 0.05}
"""Options with which all of it runs once, soon."""

WATCHED, ALONE = "with looks", "without"


def main(options: Any) -> list[Section]:
    """Train by turns."""
    results_by_side: dict[str, list[dict[str, Any]]] = {WATCHED: [], ALONE: []}

    def side(name: str) -> Callable[[], float]:
        def once() -> float:
            report = trained(options.recipe, options.data, options.minutes, name == WATCHED)
            results_by_side[name].append(report)
            return report["seconds"] / report["updates"]

        return once

    seconds = by_turns({name: side(name) for name in results_by_side}, options.rounds, warmup=0)
    extra_time = ratio(seconds, peer=ALONE, ours=WATCHED)
    most = max(report["most"] for report in results_by_side[WATCHED])
    rows = [
        (
            name,
            *(
                " ".join(say(report) for report in each)
                for say in (
                    lambda t: str(t["updates"]),
                    lambda t: f"{t['seconds']:.0f}",
                    lambda t: str(len(t["fd"])),
                    lambda t: f"{t['spent']:.1f}",
                    lambda t: f"{t['most']:.1%}",
                )
            ),
        )
        for name, each in results_by_side.items()
    ]
    heads = ["training", "updates", "seconds", "looks", "seconds of looks", "largest share"]
    title = f"{options.recipe} on {options.data}, {options.minutes:g} minutes each"
    fd = [
        {"training": i, **look} for i, t in enumerate(results_by_side[WATCHED]) for look in t["fd"]
    ]
    return [
        Section(title, heads, rows, trainings=results_by_side, seconds=seconds),
        Section(
            "What looks cost",
            ["measure", "is", "wanted"],
            [
                ("largest share of the time gone by", f"{most:.1%}", f"{SHARE:.0%} at most"),
                ("updates in the same time, of those without", f"{extra_time.median:.3f}", ""),
            ],
            ratios=extra_time,
        ),
        Section(
            "What was seen",
            ["training", "step", "fd", "floor"],
            [(f["training"], f["step"], f["fd"], f["floor"]) for f in fd],
        ),
    ]


def trained(recipe: str, data: str, minutes: float, is_watched: bool) -> dict[str, Any]:
    """Train, and return updates, seconds, the seconds of looks and their largest share."""
    spent: list[tuple[float, float]] = []
    fd: list[dict[str, float]] = []
    began, ended, updates = 0.0, 0.0, 0
    with tempfile.TemporaryDirectory() as folder, _clocked(spent, is_watched):
        _, events = runs.begin(
            recipe_class(recipe)(),
            load(data),
            source=data,
            path=Path(folder) / "run",
            budget=Budget(minutes=minutes),
            session=Session(),
        )
        for event in events:
            ended = time.perf_counter()
            if event.kind == "step":
                began, updates = began or ended, updates + 1
            elif event.kind == "preview" and "fd" in event.values:
                fds, floor = event.values["fd"], event.values["fd_floor"]
                fd.append({"step": event.step, "fd": fds, "floor": floor})
    total, most = 0.0, 0.0
    for start, stop in spent:
        total += stop - start
        most = max(most, total / max(stop - began, 1e-9))
    return {
        "updates": updates,
        "seconds": ended - began,
        "spent": total,
        "most": most,
        "fd": fd,
    }


@contextmanager
def _clocked(spent: list[tuple[float, float]], is_watched: bool) -> Iterator[None]:
    """Turn looks on or off, and clock them from outside."""
    look = Watch.__call__

    def clocked(self: Watch, model: Model, step: int) -> Mapping[str, Any]:
        start = time.perf_counter()
        try:
            return look(self, model, step)
        finally:
            spent.append((start, time.perf_counter()))

    def previews(*arguments: Any, **options: Any) -> Previews:
        return Previews(*arguments, **{**options, "watch": is_watched})

    with patch.object(Watch, "__call__", clocked), patch.object(runs, "Previews", previews):
        yield
