"""Runs that differ in their seed alone, taken together: mean and spread of every score.

With x_1 … x_n the values of a score over n seeds,

    mean      m = (x_1 + … + x_n) / n
    spread    s = sqrt(sum (x_i - m)^2 / (n - 1))      the sample standard deviation; n > 1
    interval  m ± t s / sqrt(n), t Student's factor for n - 1 degrees of freedom at 95 %; or that
              of the run itself where n = 1

The spread says how much a next run may differ, the interval how well the mean is known.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from trilemma.comparison.row import Over, Row
from trilemma.core.words import joined
from trilemma.metrics.evaluation import Evaluation, Spent, Training
from trilemma.metrics.registry import metric
from trilemma.metrics.score import Score, student

__all__ = ["groups", "over_seeds", "to_json"]

OVER_SEEDS, OF_THE_RUN = "Student's, of the mean over the seeds", "of the single run"
STATES = ("warming up", "falling", "settled")
"""Of a training, the least far first."""


def groups(runs: Sequence[Evaluation]) -> list[Row]:
    """Take the runs of each label together, in the order in which the labels come.

    Returns:
        For each label a row with the mean of every score and cost as its value, the interval of
        the mean, and the spread over the seeds that have it.
    """
    members: dict[str, list[Evaluation]] = {}
    for run in runs:
        members.setdefault(run.label or run.recipe, []).append(run)
    return [_group(group_runs) for group_runs in members.values()]


def _group(runs: Sequence[Evaluation]) -> Row:
    scores = dict.fromkeys(key for run in runs for key in run.metrics)
    names = dict.fromkeys(key for run in runs for key in run.cost.measured())
    costs = {key: _cost(runs, key) for key in names}
    of = replace(
        runs[0],
        training=_training(runs),
        metrics={
            key: _score(key, [r.metrics[key] for r in runs if key in r.metrics]) for key in scores
        },
        cost=Spent(**{key: over.mean for key, over in costs.items()}),
        skipped=_skipped(runs, scores),
    )
    return Row(
        of=of,
        seeds=tuple(run.seed for run in runs),
        measured=tuple(run.seed for run in runs if run.metrics),
        costs=costs,
    )


def _training(runs: Sequence[Evaluation]) -> Training | None:
    """Return what training took in the mean, and the state of the run that went least far."""
    trainings = [run.training for run in runs if run.training]
    if not trainings:
        return None
    return replace(
        min(trainings, key=lambda t: (STATES.index(t.state), t.updates)),
        seconds=statistics.fmean(t.seconds for t in trainings),
        examples=round(statistics.fmean(t.examples for t in trainings)),
        epochs=statistics.fmean(t.epochs for t in trainings),
    )


def _skipped(runs: Sequence[Evaluation], scores: Mapping[str, None]) -> dict[str, str]:
    """Keep why a score is missing: from all seeds, or from those whose run failed."""
    reasons_by_score: dict[str, list[str]] = {}
    for run in runs:
        for key, reason in run.skipped.items():
            if not run.metrics:
                reasons_by_score.setdefault(key, []).append(f"seed {run.seed}: {reason}")
            elif key not in scores:
                reasons_by_score.setdefault(key, []).append(reason)
    return {key: " ".join(dict.fromkeys(reasons)) for key, reasons in reasons_by_score.items()}


def _cost(runs: Sequence[Evaluation], name: str) -> Over:
    values = _finite(run.cost.measured().get(name) for run in runs)
    mean, sd, n = _spread(values)
    low, high = (min(values), max(values)) if values else (None, None)
    return Over(mean=mean, sd=sd, n=n, low=low, high=high)


def _finite(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _spread(values: Sequence[float]) -> tuple[float | None, float | None, int]:
    """Return mean, sample standard deviation and number."""
    mean = statistics.fmean(values) if values else None
    return mean, statistics.stdev(values) if len(values) > 1 else None, len(values)


def _score(name: str, scores: Sequence[Score]) -> Score:
    """Return the mean of a score with its interval."""
    mean, sd, n = _spread(_finite(score.value for score in scores))
    template = next((score for score in scores if math.isfinite(score.value)), scores[0])
    value = math.nan if mean is None else mean
    averaged = replace(template, value=value, spread=sd, seeds=n, interval=OF_THE_RUN)
    if sd is None:
        return averaged
    half_width = student(n - 1) * sd / math.sqrt(n)
    averaged = replace(
        averaged, low=value - half_width, high=value + half_width, interval=OVER_SEEDS
    )
    declared = metric(name)
    return declared.cut(averaged) if declared else averaged


def to_json(row: Row) -> dict[str, Any]:
    """Return a group in plain values.

    Of every score and cost it has the mean, the standard deviation 'sd' (None where one seed has
    it) and n, the number of seeds that have it.
    """
    of = row.of
    return {
        "label": row.name,
        "recipe": of.recipe,
        "family": of.family,
        "fields": dict(of.fields),
        "data": of.data,
        "split": of.split,
        "samples": of.n,
        "device": of.device,
        "test_examples": of.test_examples,
        "reward": of.reward,
        "training": asdict(of.training) if of.training else {},
        "seeds": list(row.seeds),
        "measured": list(row.measured),
        "metrics": {name: _mean_to_json(score) for name, score in of.metrics.items()},
        "cost": {name: asdict(over) for name, over in row.costs.items()},
        "skipped": dict(of.skipped),
    }


def _mean_to_json(score: Score) -> dict[str, object]:
    plain = {"spread": None, **score.to_json()}
    names = {"value": "mean", "spread": "sd", "seeds": "n"}
    return {names.get(key, key): value for key, value in plain.items() if key != "n"}


def over_seeds(rows: Sequence[Row]) -> str:
    """Say what the intervals are where rows stand for several seeds."""
    names_by_seeds: dict[int, list[str]] = {}
    for row in rows:
        if row.seeds:
            scores = row.of.metrics
            counted = scores.get("fd") or next(iter(scores.values()), None)
            names_by_seeds.setdefault(counted.seeds if counted else 0, []).append(row.name)
    single = names_by_seeds.pop(1, [])
    names_by_seeds.pop(0, None)
    if not names_by_seeds:
        return "Intervals are those of the single run of each." if single else ""
    counts = joined([str(n) for n in sorted(names_by_seeds)], "or")
    words = (
        f"Values are means over {counts} seeds, and intervals are Student's for the mean at 95 %"
    )
    if not single:
        return f"{words}."
    was = "was" if len(single) == 1 else "were"
    return f"{words}; {joined(single)} {was} measured with one seed: the interval of that run."
