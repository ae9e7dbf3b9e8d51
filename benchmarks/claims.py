"""What the lecture says of an idea, tried: a paired trial each, over several seeds.

`python -m benchmarks claims NAME` trains the sides of one claim at the same time, each alone on a
core (`benchmarks/paired.py`), for as long as the claim says, with three seeds, measures them, and
says of everything that was wanted of one side whether it is reached:

    of another side    its mean over the seeds is better, and the Student's intervals of the two do
                       not touch; or it is at most, or at least, so many times the other's
    of none            it is at most, or at least, so much

Every file of `benchmarks/claimed/` is a claim. Stopped at any moment, the same command goes on.
`python -m benchmarks.claims RESULT …` prints the page of results.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import claimed
from benchmarks.markdown import as_page
from benchmarks.paired import Side, on_the_way, trial
from benchmarks.record import Section
from trilemma.comparison.row import Row
from trilemma.core.errors import BadInput, nearest
from trilemma.metrics.score import Score

ABOUT = "what the lecture says of an idea, as a paired trial over seeds; goes on by itself"
NAMED = "claim"
OPTIONS: dict[str, tuple[float | int | str, str]] = {
    "claim": ("", "which, by the name of its file in claimed/"),
    "out": ("claims", "folder of the trials, to be gone on with"),
    "minutes": (0.0, "of training of each; 0: as the claim says"),
    "seeds": (3, "training seeds"),
    "samples": (0, "measured of each; 0: as the claim says"),
}
SMALLEST = {"claim": "augmentation", "minutes": 0.02, "seeds": 1, "samples": 200}
"""Options with which all of it runs once, soon."""
SEEDS = 2
"""From so many on their interval says anything of another training."""
SHARES = (0.125, 0.25, 0.5, 0.75, 1.0)
"""Of the training, at which a number is told that was measured on the way."""


@dataclass(frozen=True)
class Criterion:
    """What is wanted of a side.

    Arguments:
        side: The side of which it is said.
        metric: A metric or a cost, such as sample_seconds_each; which way is better it knows.
        against: The side that it is compared with, or a baseline of the metric; none: `limit` is
            of the value itself.
        limit: How many times what `against` has it is to be at most, or at least; 1: better,
            beyond the intervals.
        beyond: Whether the whole interval has to lie beyond a limit of the value itself.
    """

    side: str
    metric: str
    reference: str = ""
    limit: float = 1.0
    beyond: bool = False


@dataclass(frozen=True)
class Claim:
    """One thing that the lecture says, and what decides it.

    Arguments:
        says: What it says, and where.
        data: Data sets on which it is tried.
        sides: What is trained.
        wanted: What decides.
        minutes: Of training of each side.
        samples: Measured of each.
        measuring: Further options of `trilemma evaluate`.
        judged_by: A module of benchmarks that measures instead, by its `judged`.
        beside: Metrics that stand beside those that decide.
        watched: What is measured on the way, with pictures; 'fd' of 256 samples.
    """

    says: str
    data: tuple[str, ...]
    sides: tuple[Side, ...]
    criteria: tuple[Criterion, ...]
    minutes: float = 10
    samples: int = 2000
    measuring: tuple[str, ...] = ()
    judged_by: str = ""
    also_shown: tuple[str, ...] = ("discrepancy", "coverage", "precision")
    watched: tuple[str, ...] = ()


def all_claims() -> dict[str, Claim]:
    """Return the claims by their names."""
    names = sorted(module.name for module in pkgutil.iter_modules(claimed.__path__))
    return {
        name.replace("_", "-"): importlib.import_module(f"benchmarks.claimed.{name}").CLAIM
        for name in names
    }


def main(options: Any) -> list[Section]:
    """Train what is missing, measure, and say what is reached."""
    claims = all_claims()
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
            measuring=claim.measuring,
            judged_by=claim.judged_by,
            watched="fd" in claim.watched,
        )
        outcomes += [[data, *outcome(criterion, rows)] for criterion in claim.criteria]
        title = f"{data}, {minutes:g} minutes, {samples} samples"
        metrics = dict.fromkeys(
            [*(criterion.metric for criterion in claim.criteria), *claim.also_shown]
        )
        sections.append(_measured(title, list(metrics), rows))
        folder = Path(options.out) / f"{options.claim}-{data}"
        sections += [
            _way(folder, claim, data, minutes, options.seeds, what) for what in claim.watched
        ]
    heads = ["data", "side", "wanted", "value", "against", "ratio", "reached"]
    return [Section(claim.says, heads, outcomes), *sections]


def outcome(criterion: Criterion, rows: list[Row]) -> tuple[str, ...]:
    """Say of what was wanted whether it is reached, and by which values."""
    by_name = {row.name: row for row in rows}
    ours = _value(by_name[criterion.side], criterion.metric)
    is_lower = ours.better == "lower"
    word = "at most" if is_lower else "at least"
    if not criterion.reference:
        low, high = (ours.low, ours.high) if criterion.beyond else (ours.value, ours.value)
        is_reached = high <= criterion.limit if is_lower else low >= criterion.limit
        interval = ", with its interval" if criterion.beyond else ""
        requirement = f"{criterion.metric} {word} {criterion.limit:g}{interval}"
        return criterion.side, requirement, _formatted(ours), "", "", _yes(is_reached)
    if criterion.reference in by_name:
        other = _value(by_name[criterion.reference], criterion.metric)
    else:
        other = _baseline(ours, criterion)
    ratio = ours.value / other.value
    if criterion.limit == 1:
        requirement = (
            f"{criterion.metric} better than {criterion.reference}'s, beyond the intervals"
        )
        is_reached = ours.high < other.low if is_lower else ours.low > other.high
        if min(ours.seeds, other.seeds) < SEEDS:
            answer = f"not told by fewer than {SEEDS} seeds"
            return (
                criterion.side,
                requirement,
                _formatted(ours),
                _formatted(other),
                f"{ratio:.2f}",
                answer,
            )
    else:
        requirement = f"{criterion.metric} {word} {criterion.limit:g} of {criterion.reference}'s"
        is_reached = ratio <= criterion.limit if is_lower else ratio >= criterion.limit
    return (
        criterion.side,
        requirement,
        _formatted(ours),
        _formatted(other),
        f"{ratio:.2f}",
        _yes(is_reached),
    )


def _baseline(ours: Score, criterion: Criterion) -> Score:
    """Return a baseline of a score as one: it has no interval, and is no matter of seeds."""
    if criterion.reference not in ours.baselines:
        raise BadInput(f"'{criterion.metric}' has no baseline '{criterion.reference}'.")
    value = ours.baselines[criterion.reference]
    return Score(value=value, low=value, high=value, better=ours.better, seeds=ours.seeds)


def _value(row: Row, metric: str) -> Score:
    """Return a score, or a cost as one, of which less is better.

    Raises:
        BadInput: It was not measured.
    """
    score, cost = row.score(metric), row.spent(metric)
    if score is None and cost is not None:
        low, high = row.spent_between(metric) or (cost, cost)
        score = Score(value=cost, low=low, high=high, better="lower")
    if score is None:
        why = row.of.skipped.get(metric, "nothing has that name").rstrip(".")
        raise BadInput(f"'{metric}' was not measured of '{row.name}': {why}.")
    return score


def _yes(is_reached: bool) -> str:
    return "yes" if is_reached else "no"


def _formatted(score: Score | None) -> str:
    return "-" if score is None else f"{score.value:.3g} ({score.low:.3g} … {score.high:.3g})"


def _measured(title: str, metrics: list[str], rows: list[Row]) -> Section:
    cells = [
        [
            row.name,
            *(_formatted(row.score(name)) for name in metrics),
            f"{row.training.updates:,}" if row.training else "-",
            len(row.measured),
        ]
        for row in rows
    ]
    floor = ["floor", *(_floor(rows[0].score(name)) for name in metrics), "", ""]
    return Section(title, ["side", *metrics, "updates", "seeds"], [*cells, floor])


def _way(folder: Path, claim: Claim, data: str, minutes: float, seeds: int, what: str) -> Section:
    """Say how a number went over the training, in the mean over seeds."""
    rows = []
    for side in claim.sides:
        if not side.of:
            course = on_the_way(folder, side, seeds, what, SHARES)
            rows.append([side.name, *("-" if v is None else f"{v:.3g}" for v in course)])
    heads = [f"{share * minutes:.3g} min" for share in SHARES]
    return Section(f"{data}: {what} on the way, mean over seeds", ["side", *heads], rows)


def _floor(score: Score | None) -> str:
    return "-" if score is None or score.floor is None else f"{score.floor:.3g}"


if __name__ == "__main__":
    print(as_page("The lecture's claims, tried", sys.argv[1:], "1 thread a side"))
