"""Places in quality, in coverage and in speed, and the values that stand beside them.

A row's place is a span, for overlapping intervals are not transitive: from one more than the
number of rows that are certainly better, to the number of all less those that are certainly worse.
Certainly means for a score with an interval that the two intervals do not touch; for speed, that
one is faster by more than a quarter, since a machine drifts by as much. A row that stands for
several seeds (groups.py) has their mean as its value, and the interval of that mean; its times
span at least those of its runs.

    quality    points: energy distance; graphs: mmd; images: fd      lower is better
    coverage   coverage, or recall where no row has it               higher is better
    speed      seconds a sample                                      lower is better
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trilemma.metrics.words import OF_ONE_MODEL, stand_in

__all__ = [
    "LIKELIHOOD",
    "SPEED_TIE",
    "Place",
    "Row",
    "baselines",
    "coverage_metric",
    "floor",
    "found_in",
    "likelihood_places",
    "quality_metric",
    "score_places",
    "score_range",
    "speed_places",
]

Row = Mapping[str, Any]
"""What `trilemma evaluate --json` prints."""

QUALITY = ("energy_distance", "fd", "mmd")
"""Scores by which quality is ranked; no kind of data has two of them but points, whose `fd`
compares means and covariances alone."""
LIKELIHOOD = ("log_prob", "importance_bound", "bound")
"""What a model may say of unseen data, the tightest first."""

SPEED_TIE = 1.25
"""Times that differ by less than this factor are a tie."""


@dataclass(frozen=True)
class Place:
    """A recipe's place in one ranking."""

    recipe: str
    family: str
    place: int
    """The best place that it may have: one more than the number certainly better."""
    last: int
    """The worst place that it may have: all, less the number certainly worse."""
    value: float
    low: float
    high: float

    @property
    def tied(self) -> bool:
        """Tell whether it has no single place."""
        return self.last > self.place

    @property
    def span(self) -> str:
        """Write the place: '2', or '4–6'."""
        return f"{self.place}–{self.last}" if self.tied else str(self.place)

    def beats(self, other: Place, better: str) -> bool:
        """Tell whether this is certainly better: the intervals do not touch."""
        return self.high < other.low if better == "lower" else self.low > other.high


def quality_metric(rows: Sequence[Row]) -> str:
    """Return the score by which quality is ranked: the first of `QUALITY` that a row has."""
    measured = {name for row in rows for name in row.get("metrics", {})}
    return next((name for name in QUALITY if name in measured), "fd")


def coverage_metric(rows: Sequence[Row]) -> str:
    """Return the score by which coverage is ranked."""
    has = any(math.isfinite(score_range(row, "coverage")[0]) for row in rows)
    return "coverage" if has else "recall"


def score_range(row: Row, metric: str) -> tuple[float, float, float]:
    """Return value, low and high of a score, not-a-numbers where there is none."""
    return _range_of(row.get("metrics", {}).get(metric) or {})


def _range_of(found: Row) -> tuple[float, float, float]:
    value = _float(found.get("value"))
    low, high = _float(found.get("low")), _float(found.get("high"))
    return (
        value,
        low if math.isfinite(low) else value,
        high if math.isfinite(high) else value,
    )


def _time(row: Row) -> tuple[float, float, float]:
    seconds = _float(row.get("cost", {}).get("sample_seconds_each"))
    if seconds <= 0:
        return math.nan, math.nan, math.nan
    wide = math.sqrt(SPEED_TIE)
    spans = row.get("cost_spans", {})
    low, high = spans.get("sample_seconds_each") or (seconds, seconds)
    return seconds, min(seconds / wide, low), max(seconds * wide, high)


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def score_places(rows: Sequence[Row], metric: str, better: str) -> tuple[Place, ...]:
    """Return the places by a score, the best first; rows without it have none."""
    return _places([(row, *score_range(row, metric)) for row in rows], better)


def speed_places(rows: Sequence[Row]) -> tuple[Place, ...]:
    """Return the places by seconds a sample, the fastest first."""
    return _places([(row, *_time(row)) for row in rows], "lower")


def likelihood_places(rows: Sequence[Row]) -> tuple[Place, ...]:
    """Return the places by likelihood, as far as the kinds of the likelihoods allow.

    The truth behind a lower bound may lie anywhere above it, so that a row known by a bound is
    never certainly worse than one that is known in another way.
    """
    alike = len(
        {_kind(found_in(row, "likelihood")) for row in rows if found_in(row, "likelihood")}
    )
    ranges = []
    for row in rows:
        value, low, high = _range_of(found_in(row, "likelihood"))
        open_end = alike > 1 and "bound" in _kind(found_in(row, "likelihood"))
        ranges.append((row, value, low, math.inf if open_end else high))
    return _places(ranges, "higher")


def _kind(score: Row) -> str:
    by = str(score.get("by", ""))
    return "bound" if "bound" in by else by


def _places(scored: Sequence[tuple[Row, float, float, float]], better: str) -> tuple[Place, ...]:
    finite = [
        Place(str(row.get("recipe", "?")), str(row.get("family", "")), 1, 1, *values)
        for row, *values in scored
        if math.isfinite(values[0])
    ]
    made = [
        replace(
            one,
            place=1 + sum(other.beats(one, better) for other in finite),
            last=len(finite) - sum(one.beats(other, better) for other in finite),
        )
        for one in finite
    ]
    sign = 1 if better == "lower" else -1
    return tuple(sorted(made, key=lambda p: (p.place, p.last, sign * p.value)))


def found_in(row: Row, name: str) -> Mapping[str, Any]:
    """Return a row's score of a name, empty if it has none; 'likelihood' is its tightest."""
    metrics = row.get("metrics", {})
    if name == "likelihood":
        name = next((source for source in LIKELIHOOD if source in metrics), "")
    return metrics.get(name) or {}


def floor(rows: Sequence[Row], metric: str) -> float | None:
    """Return what real data score: the same for all rows, so the first that is stated."""
    for row in rows:
        value = _float(found_in(row, metric).get("floor"))
        if math.isfinite(value):
            return value
    return None


def baselines(rows: Sequence[Row], metric: str) -> dict[str, float]:
    """Return what trivial models score, by name."""
    found: dict[str, float] = {}
    for row in rows:
        marks = found_in(row, metric).get("baselines") or {}
        for name, value in marks.items():
            if name not in OF_ONE_MODEL and math.isfinite(_float(value)):
                found.setdefault(stand_in(str(name)), float(value))
    return found
