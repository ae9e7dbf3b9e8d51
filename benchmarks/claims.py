"""What the lecture says of an idea, tried: a paired trial each, over several seeds.

`python -m benchmarks claims NAME` trains the sides of one claim at the same time, each alone on a
core (`benchmarks/paired.py`), for as long as the claim says, with three seeds, measures them, and
says whether what was wanted is reached:

    below     the mean of `ours` over its seeds lies below that of `against`, and their Student's
              intervals do not touch
    a share   the mean of `ours` is at most so many times that of `against`

Every file of `benchmarks/claimed/` is a claim. Stopped at any moment, the same command goes on.
`python -m benchmarks.claims RESULT …` prints the page of results.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import claimed
from benchmarks.paired import Side, trial
from benchmarks.record import Section
from trilemma.comparison.row import Row
from trilemma.core.errors import BadInput, nearest

ABOUT = "what the lecture says of an idea, as a paired trial over seeds; goes on by itself"
NAMED = "claim"
OPTIONS: dict[str, tuple[float | int | str, str]] = {
    "claim": ("", "which, by the name of its file in claimed/"),
    "out": ("claims", "folder of the trials, to be gone on with"),
    "minutes": (0.0, "of training of each; 0: as the claim says"),
    "seeds": (3, "training seeds"),
    "samples": (0, "measured of each; 0: as the claim says"),
}
BESIDE = ("discrepancy", "coverage", "precision")
"""Metrics that stand beside the one that decides."""


@dataclass(frozen=True)
class Claim:
    """One thing that the lecture says, and what decides it.

    Arguments:
        says: What it says, and where.
        data: Data sets on which it is tried.
        sides: What is compared.
        ours: The side that is said to be better.
        against: The other.
        minutes: Of training of each side.
        samples: Measured of each.
        metric: What decides; lower is better.
        share: `ours` is wanted to have at most so many times what `against` has; 1: below it,
            beyond the intervals.
    """

    says: str
    data: tuple[str, ...]
    sides: tuple[Side, ...]
    ours: str
    against: str
    minutes: float = 10
    samples: int = 2000
    metric: str = "fd"
    share: float = 1.0


def known() -> dict[str, Claim]:
    """Return the claims by their names."""
    names = sorted(module.name for module in pkgutil.iter_modules(claimed.__path__))
    return {
        name.replace("_", "-"): importlib.import_module(f"benchmarks.claimed.{name}").CLAIM
        for name in names
    }


def main(options: Any) -> list[Section]:
    """Train what is missing, measure, and say what is reached."""
    claims = known()
    if options.claim not in claims:
        raise nearest("claim", options.claim, claims)
    claim = claims[options.claim]
    minutes, samples = options.minutes or claim.minutes, options.samples or claim.samples
    if options.seeds < 1:
        raise BadInput(f"--seeds {options.seeds} was given; give 1 or more.")
    sections, outcomes = [], []
    for data in claim.data:
        rows = trial(
            Path(options.out) / f"{options.claim}-{data}",
            claim.sides,
            data=data,
            minutes=minutes,
            seeds=options.seeds,
            samples=samples,
        )
        title = f"{data}, {minutes:g} minutes, {samples} samples"
        sections.append(_measured(title, claim.metric, rows))
        outcomes.append([data, *outcome(claim, rows)])
    heads = ["data", "wanted", "ours", "against", "ratio", "reached"]
    return [Section(claim.says, heads, outcomes), *sections]


def outcome(claim: Claim, rows: list[Row]) -> tuple[str, str, str, str, str]:
    """Say what was wanted of a claim, both values, their ratio, and whether it is reached."""
    by_name = {row.name: row.score(claim.metric) for row in rows}
    ours, against = by_name[claim.ours], by_name[claim.against]
    if ours is None or against is None:
        raise BadInput(f"'{claim.metric}' was not measured of both sides.")
    ratio = ours.value / against.value
    if claim.share == 1:
        wanted = f"{claim.metric} below {claim.against}, beyond the intervals"
        is_reached = ours.high < against.low
    else:
        wanted = f"{claim.metric} at most {claim.share:g} of {claim.against}"
        is_reached = ratio <= claim.share
    return wanted, _shown(ours), _shown(against), f"{ratio:.2f}", "yes" if is_reached else "no"


def _shown(score: Any) -> str:
    if score is None:
        return "-"
    return f"{score.value:.3g} ({score.low:.3g} … {score.high:.3g})"


def _measured(title: str, metric: str, rows: list[Row]) -> Section:
    metrics = [metric, *BESIDE]
    cells = [
        [
            row.name,
            *(_shown(row.score(name)) for name in metrics),
            f"{row.training.updates:,}" if row.training else "-",
            len(row.measured),
        ]
        for row in rows
    ]
    floor = ["floor", *(_floor(rows[0].score(name)) for name in metrics), "", ""]
    return Section(title, ["side", *metrics, "updates", "seeds"], [*cells, floor])


def _floor(score: Any) -> str:
    return "-" if score is None or score.floor is None else f"{score.floor:.3g}"


def _page(results: list[dict[str, Any]]) -> str:
    parts = ["# The lecture's claims, tried", ""]
    for result in results:
        where = result["environment"]
        parts += [f"    {result['command']}", ""]
        parts += [
            f"Commit {where['commit']}, {where['processor']}, 1 thread a side, no accelerator, "
            f"{result['date'][:10]}.",
            "",
        ]
        for section in result["sections"]:
            heads = list(section["rows"][0])
            parts += [f"**{section['title']}**", "", f"| {' | '.join(heads)} |"]
            parts += [f"|{' --- |' * len(heads)}"]
            parts += [f"| {' | '.join(map(str, row.values()))} |" for row in section["rows"]]
            parts += [""]
    return "\n".join(parts)


if __name__ == "__main__":
    print(_page([json.loads(Path(name).read_text()) for name in sys.argv[1:]]))
