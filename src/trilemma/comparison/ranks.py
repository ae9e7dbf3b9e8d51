"""Ranks in quality, in coverage and in speed, and the values that stand beside them.

A row's rank is a span, for overlapping intervals are not transitive: from one more than the
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
from collections.abc import Sequence
from dataclasses import dataclass, replace

from trilemma.comparison.row import Row
from trilemma.metrics.cost import SPEED
from trilemma.metrics.metric import COVERAGE, LIKELIHOOD, QUALITY
from trilemma.metrics.registry import ranking
from trilemma.metrics.score import Score, stand_in

__all__ = [
    "SPEED_TIE",
    "Rank",
    "baselines",
    "coverage_metric",
    "floor",
    "likelihood_ranks",
    "quality_metric",
    "score_range",
    "score_ranks",
    "speed_ranks",
    "speeds_compare",
]

SPEED_TIE = 1.25
"""Times that differ by less than this factor are a tie."""


@dataclass(frozen=True)
class Rank:
    """A recipe's rank in one ranking."""

    recipe: str
    family: str
    best: int
    """The best rank that it may have: one more than the number certainly better."""
    worst: int
    """The worst rank that it may have: all, less the number certainly worse."""
    value: float
    low: float
    high: float

    @property
    def tied(self) -> bool:
        """Tell whether it has no single rank."""
        return self.worst > self.best

    @property
    def span(self) -> str:
        """Write the rank: '2', or '4–6'."""
        return f"{self.best}–{self.worst}" if self.tied else str(self.best)

    def beats(self, rival: Rank, better: str) -> bool:
        """Tell whether this is certainly better: the intervals do not touch."""
        return self.high < rival.low if better == "lower" else self.low > rival.high


def quality_metric(rows: Sequence[Row]) -> str:
    """Return the score by which quality is ranked: the first that is declared for it and had."""
    return _first(QUALITY, rows) or "fd"


def coverage_metric(rows: Sequence[Row]) -> str:
    """Return the score by which coverage is ranked."""
    return _first(COVERAGE, rows) or ranking(COVERAGE)[-1]


def _first(what: str, rows: Sequence[Row]) -> str:
    return next((m for m in ranking(what) if any(row.score(m) for row in rows)), "")


def score_range(row: Row, metric: str) -> tuple[float, float, float]:
    """Return value, low and high of a score, not-a-numbers where there is none."""
    return _range_of(row.score(metric))


def _range_of(score: Score | None) -> tuple[float, float, float]:
    if score is None:
        return math.nan, math.nan, math.nan
    low, high = score.low, score.high
    return (
        score.value,
        low if math.isfinite(low) else score.value,
        high if math.isfinite(high) else score.value,
    )


def _time(row: Row) -> tuple[float, float, float]:
    seconds, between = row.spent(SPEED.name), row.spent_between(SPEED.name)
    if seconds is None or seconds <= 0 or between is None:
        return math.nan, math.nan, math.nan
    tie_factor = math.sqrt(SPEED_TIE)
    return seconds, min(seconds / tie_factor, between[0]), max(seconds * tie_factor, between[1])


def score_ranks(rows: Sequence[Row], metric: str, better: str) -> tuple[Rank, ...]:
    """Return the ranks by a score, the best first; rows without it have none."""
    return _ranks([(row, *score_range(row, metric)) for row in rows], better)


def speeds_compare(rows: Sequence[Row]) -> bool:
    """Tell whether all times of drawing are of one processor, with as many threads."""
    timed = [row.of for row in rows if row.spent(SPEED.name) is not None]
    return len({(of.device, of.threads, of.processor) for of in timed}) < 2


def speed_ranks(rows: Sequence[Row]) -> tuple[Rank, ...]:
    """Return the ranks by seconds a sample, the fastest first; none of unlike processors."""
    if not speeds_compare(rows):
        return ()
    return _ranks([(row, *_time(row)) for row in rows], SPEED.better)


def likelihood_ranks(rows: Sequence[Row]) -> tuple[Rank, ...]:
    """Return the ranks by likelihood, as far as the kinds of the likelihoods allow.

    The truth behind a lower bound may lie anywhere above it, so that a row known by a bound is
    never certainly worse than one that is known in another way.
    """
    scores = [row.score(LIKELIHOOD) for row in rows]
    n_kinds = len({_kind(score) for score in scores if score})
    ranges = []
    for row, score in zip(rows, scores, strict=True):
        value, low, high = _range_of(score)
        open_end = n_kinds > 1 and score is not None and score.is_bound
        ranges.append((row, value, low, math.inf if open_end else high))
    return _ranks(ranges, "higher")


def _kind(score: Score) -> str:
    return "bound" if score.is_bound else score.by


def _ranks(scored: Sequence[tuple[Row, float, float, float]], better: str) -> tuple[Rank, ...]:
    finite = [
        Rank(row.name, row.family, 1, 1, *values)
        for row, *values in scored
        if math.isfinite(values[0])
    ]
    ranked = [
        replace(
            candidate,
            best=1 + sum(rival.beats(candidate, better) for rival in finite),
            worst=len(finite) - sum(candidate.beats(rival, better) for rival in finite),
        )
        for candidate in finite
    ]
    sign = 1 if better == "lower" else -1
    return tuple(sorted(ranked, key=lambda p: (p.best, p.worst, sign * p.value)))


def floor(rows: Sequence[Row], metric: str) -> float | None:
    """Return what real data score: the same for all rows, so the first that is stated."""
    scores = [score for row in rows if (score := row.score(metric))]
    return next((s.floor for s in scores if s.floor is not None and math.isfinite(s.floor)), None)


def baselines(rows: Sequence[Row], metric: str) -> dict[str, float]:
    """Return what trivial models score, by name."""
    trivial_scores: dict[str, float] = {}
    for row in rows:
        score = row.score(metric)
        for name, value in (score.trivial if score else {}).items():
            trivial_scores.setdefault(stand_in(name), value)
    return trivial_scores
