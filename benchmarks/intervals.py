"""How often the interval of each metric holds its estimand, on worlds of known truth.

The estimand is the expectation of the estimator at this n, over fresh samples and fresh test
examples: in closed form where there is one, else the mean over the repetitions. Beside it stands
how often the estimand lies below and above, and the interval's width in 2 x 1.96 standard
deviations of the values. `python -m benchmarks.intervals [RESULT]` prints the page of a result.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import BENCHMARKS
from benchmarks.interval_worlds import WORLDS, World
from benchmarks.markdown import line
from benchmarks.record import Section
from trilemma.core.errors import BadInput
from trilemma.core.noise import mix
from trilemma.metrics.registry import metric, metrics
from trilemma.metrics.score import NORMAL_95, wilson

ABOUT = "how often the interval of each metric holds, on worlds of known truth"
OPTIONS: dict[str, tuple[float | int | str, str]] = {
    "repetitions": (400, "fresh draws of each world"),
    "only": ("", "worlds with this in their name"),
    "seed": (0, "seed of all draws"),
}
SMALLEST = {"repetitions": 2, "only": "ring"}
"""Options with which all of it runs once, soon."""

TARGET = (0.92, 0.98)
ROUNDING = 1e-9
COLUMNS = ("metric", "n", "estimand", "held %", "below %", "above %", "width", "says")

SURE = "every mode is found in every repetition"
CHANCE = "no further than the chance of so few repetitions"
NOTHING = "OUTSIDE, AND NOTHING IS SAID OF IT"


def counted(world: World, repetitions: int, seed: int) -> dict[str, dict[str, float]]:
    """Return for each metric how often its interval held the estimand."""
    results: dict[str, list[tuple[float, float, float]]] = {}
    numbers: dict[str, int] = {}
    for i in range(repetitions):
        for name, score in world.scores(mix(seed, "repetition", i)).items():
            results.setdefault(name, []).append((score.value, score.low, score.high))
            numbers[name] = score.n
    out = {}
    for name, rows in results.items():
        value, low, high = torch.tensor(rows, dtype=torch.float64).T
        truth = world.truth.get(name, value.mean().item())
        slack = ROUNDING * max(abs(truth), ROUNDING)
        above, below = (
            (high < truth - slack).double().mean(),
            (low > truth + slack).double().mean(),
        )
        covered = 1 - (above + below).item()
        spread = value.std().item()
        out[name] = {
            "estimand": truth,
            "closed_form": name in world.truth,
            "n": numbers[name],
            "repetitions": len(rows),
            "held": covered,
            "held_low": wilson(covered, len(rows))[0],
            "held_high": wilson(covered, len(rows))[1],
            "estimand_below": below.item(),
            "estimand_above": above.item(),
            "width": (high - low).mean().item() / (2 * NORMAL_95 * spread) if spread else None,
        }
    return out


def world_line(name: str, of: Mapping[str, float]) -> str:
    """Return what the metric declares of an interval that holds too often or too rarely."""
    least, most = TARGET
    if least <= of["held"] <= most:
        return ""
    if of["width"] is None:
        return SURE
    declared = metric(name)
    left_out = f"leaves out {declared.leaves_out}" if declared and declared.leaves_out else ""
    many = f"too wide {declared.too_wide}" if declared and declared.too_wide else ""
    if of["held"] < least:
        return left_out or (CHANCE if of["held_high"] >= least else NOTHING)
    return many or (CHANCE if of["held_low"] <= most else NOTHING)


def main(options: Any) -> list[Section]:
    """Count."""
    worlds = {name: world for name, world in WORLDS().items() if options.only in name}
    if not worlds:
        raise BadInput(
            f"no world has '{options.only}' in its name; there are {', '.join(WORLDS())}."
        )
    sections = []
    for index, world in worlds.items():
        start = time.perf_counter()
        result = counted(world, options.repetitions, options.seed)
        seconds = time.perf_counter() - start
        rows = [_row(name, of) for name, of in result.items()]
        title = f"{index}: {world.words}"
        sections.append(Section(title, COLUMNS, rows, metrics=result, seconds=seconds))
        print(f"{index}: {seconds:.0f} s", file=sys.stderr)
    return sections


def _row(name: str, of: Mapping[str, Any]) -> Sequence[Any]:
    shares = [f"{100 * of[key]:.1f}" for key in ("held", "estimand_below", "estimand_above")]
    width = "" if of["width"] is None else f"{of['width']:.2f}"
    return name, of["n"], of["estimand"], *shares, width, world_line(name, of)


def page(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown."""
    parts = result["sections"]
    rows = [row for part in parts for row in part["rows"]]
    inside = sum(not row["says"] for row in rows)
    environment = result["environment"]
    repetitions = max(of["repetitions"] for part in parts for of in part["metrics"].values())
    lines = [
        "# How often intervals hold",
        "",
        f"    {result['command']}",
        "",
        f"Commit {environment['commit']}, {environment['processor']}, {environment['threads']} "
        f"thread(s), no accelerator, {sum(part['seconds'] for part in parts):.0f} s, "
        f"{result['date'][:10]}. {repetitions} repetitions of each world: fresh samples and fresh "
        "test examples, the training split stays. The estimand is the expectation of the "
        "estimator at this n, in closed form or as the mean over the repetitions. *Below*, "
        "*above*: on which side of the interval the estimand was when it was not held. *Width*: "
        "of the interval, in 2 x 1.96 standard deviations of the values. Of 400 repetitions of "
        "an interval that holds 95 %, nine in ten hold it between 93.0 and 96.8 %.",
        "",
        f"{inside} of {len(rows)} lie within 92 to 98 %; what is said of the others stands beside "
        "them and in the metric's documentation.",
        "",
    ]
    head = ("metric", "estimand", "held %", "below", "above", "width", "outside of 92 to 98 %")
    for part in parts:
        lines += [f"**{part['title']}**", "", line(head), line(["---"] * len(head))]
        for row in part["rows"]:
            cells = [row[c] for c in COLUMNS if c != "n"]
            cells[0] = f"`{cells[0]}`"
            if row["says"]:
                cells[2] = f"**{cells[2]}**"
            lines.append(line(cells))
        lines.append("")
    counted_here = {row["metric"] for row in rows}
    rest = dict.fromkeys(one.name for one in metrics() if one.name not in counted_here)
    names = ", ".join(f"`{name}`" for name in rest)
    lines += [f"In no world here: {names}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    source = sys.argv[1] if len(sys.argv) > 1 else str(BENCHMARKS / "results" / "intervals.json")
    print(page(json.loads(Path(source).read_text())))
