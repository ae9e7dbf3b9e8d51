"""Who is first in quality, in coverage and in speed, and what to choose.

A row's place in a ranking is one more than the number of rows that are certainly better: for a
score with an interval, those whose whole interval lies on the better side of its own; for speed,
those faster by more than a quarter, since a machine drifts by as much. Rows that share a place
are a tie, and are called one. A row that stands for several seeds (groups.py) has their mean as
its value, and the interval of that mean; its times span at least those of its runs.

    quality    fd; of graphs mmd, the mean of the four discrepancies      lower is better
    coverage   coverage, or recall where no row has it      higher is better
    speed      seconds a sample      lower is better
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trilemma.report.groups import over_seeds
from trilemma.report.words import OF_ONE_MODEL, brief, duration, joined, score, stand_in

__all__ = [
    "LIKELIHOOD",
    "Place",
    "Ranking",
    "baselines",
    "coverage_metric",
    "floor",
    "found_in",
    "quality_metric",
    "rank",
]

Row = Mapping[str, Any]
"""What `trilemma evaluate --json` prints."""

LIKELIHOOD = ("log_prob", "importance_bound", "bound")
"""What a model may say of unseen data, the tightest first."""

SPEED_TIE = 1.25
"""Times that differ by less than this factor are a tie."""
FASTER = 3.0
"""A faster recipe is worth a sentence from this factor on."""
COPYING = 0.5
"""A ratio of distances to the training data below this is suspicious."""


@dataclass(frozen=True)
class Place:
    """A recipe's place in one ranking."""

    recipe: str
    family: str
    place: int
    """1 is best; tied rows share a place."""
    tied: bool
    value: float
    low: float
    high: float

    def beats(self, other: Place, better: str) -> bool:
        """Tell whether this is certainly better: the intervals do not touch."""
        return self.high < other.low if better == "lower" else self.low > other.high


@dataclass(frozen=True)
class Ranking:
    """The three rankings, what to choose, and why."""

    quality: tuple[Place, ...]
    coverage: tuple[Place, ...]
    speed: tuple[Place, ...]
    frontier: tuple[str, ...]
    """Recipes that no other beats in both quality and speed, from fast to slow."""
    choice: str | None
    verdict: str
    """One sentence: what to choose, and why."""
    advice: tuple[str, ...]
    """When to choose otherwise, and what to mind; a sentence each."""

    @property
    def words(self) -> str:
        """Return the verdict and the advice in one paragraph."""
        return " ".join((self.verdict, *self.advice))

    def place(self, ranking: str, recipe: str) -> Place | None:
        """Find a recipe in 'quality', 'coverage' or 'speed'."""
        return next((p for p in getattr(self, ranking) if p.recipe == recipe), None)


def rank(rows: Sequence[Row]) -> Ranking:
    """Rank rows by quality, coverage and speed, and say what to choose.

    Arguments:
        rows: Evaluations of different recipes on the same data with the same budget, each under
            its own name; `groups.shown` gives them. A row that lacks a score is left out of that
            ranking.
    """
    name, measure = coverage_metric(rows), quality_metric(rows)
    quality = _places([(row, *_score(row, measure)) for row in rows], "lower")
    coverage = _places([(row, *_score(row, name)) for row in rows], "higher")
    speed = _places([(row, *_time(row)) for row in rows], "lower")
    frontier = _frontier(quality, speed)
    choice, verdict = _choose(rows, quality, coverage, speed, name, measure)
    advice = (
        () if choice is None else _advice(rows, choice, quality, coverage, speed, name, measure)
    )
    return Ranking(quality, coverage, speed, frontier, choice, verdict, advice)


def quality_metric(rows: Sequence[Row]) -> str:
    """Return the score by which quality is ranked: 'fd', or 'mmd' where graphs were measured."""
    found = {name for row in rows for name in row.get("metrics", {})}
    return "mmd" if "mmd" in found and "fd" not in found else "fd"


def coverage_metric(rows: Sequence[Row]) -> str:
    """Return the score by which coverage is ranked."""
    has = any(math.isfinite(_score(row, "coverage")[0]) for row in rows)
    return "coverage" if has else "recall"


def _score(row: Row, metric: str) -> tuple[float, float, float]:
    return _score_of(row.get("metrics", {}).get(metric) or {})


def _score_of(found: Row) -> tuple[float, float, float]:
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


def _places(scored: Sequence[tuple[Row, float, float, float]], better: str) -> tuple[Place, ...]:
    found = [
        Place(str(row.get("recipe", "?")), str(row.get("family", "")), 1, False, *values)
        for row, *values in scored
        if math.isfinite(values[0])
    ]
    places = [1 + sum(other.beats(one, better) for other in found) for one in found]
    made = [
        Place(p.recipe, p.family, place, places.count(place) > 1, p.value, p.low, p.high)
        for p, place in zip(found, places, strict=True)
    ]
    sign = 1 if better == "lower" else -1
    return tuple(sorted(made, key=lambda p: (p.place, sign * p.value)))


def _frontier(quality: Sequence[Place], speed: Sequence[Place]) -> tuple[str, ...]:
    seconds = {p.recipe: p.value for p in speed}
    both = [(seconds[p.recipe], p.value, p.recipe) for p in quality if p.recipe in seconds]
    kept = [
        one
        for one in both
        if not any(o[0] <= one[0] and o[1] <= one[1] and o[:2] != one[:2] for o in both)
    ]
    return tuple(recipe for _, _, recipe in sorted(kept))


def _at(places: Sequence[Place], recipe: str) -> Place | None:
    return next((p for p in places if p.recipe == recipe), None)


def _choose(
    rows: Sequence[Row],
    quality: Sequence[Place],
    coverage: Sequence[Place],
    speed: Sequence[Place],
    name: str,
    measure: str,
) -> tuple[str | None, str]:
    if not rows:
        return None, "Nothing was measured, so there is nothing to choose."
    if not quality:
        return _without_quality(coverage, speed, name, measure)
    reached = floor(rows, measure)
    real = "" if reached is None else f", where real data reach {brief(reached)}"
    first = [p for p in quality if p.place == 1]

    def order(p: Place) -> tuple[float, float, float]:
        c, s = _at(coverage, p.recipe), _at(speed, p.recipe)
        return (c.place if c else math.inf, s.place if s else math.inf, p.value)

    best = min(first, key=order)
    if len(rows) == 1:
        return best.recipe, (
            f"Only {best.recipe} was measured: {measure} {_interval(best)}{real}. "
            "A choice needs a second recipe."
        )
    if len(first) == 1:
        also = _also(best, coverage, speed, name)
        return best.recipe, (
            f"Choose {best.recipe}: its samples lie nearest to the data "
            f"({measure} {brief(best.value)}{real}){also}."
        )
    others = [p.recipe for p in first if p is not best]
    more = "seeds" if any(found_in(row, measure).get("spread") for row in rows) else "samples"
    return best.recipe, _tie(best, others, coverage, speed, name, measure, more)


def _also(best: Place, coverage: Sequence[Place], speed: Sequence[Place], name: str) -> str:
    c, s = _at(coverage, best.recipe), _at(speed, best.recipe)
    parts = []
    if c and c.place == 1 and len(coverage) > 1:
        much = "as much of them as any" if c.tied else "the most of them"
        parts.append(f"it covers {much} ({name} {brief(c.value)})")
    if s and s.place == 1 and len(speed) > 1:
        fast = "none samples faster" if s.tied else "it samples fastest"
        parts.append(f"{fast} ({duration(s.value)} each)")
    return "".join(f", and {part}" for part in parts)


def _tie(
    best: Place,
    others: Sequence[str],
    coverage: Sequence[Place],
    speed: Sequence[Place],
    name: str,
    measure: str,
    more: str,
) -> str:
    start = f"its quality is a tie with that of {joined(others)} ({measure} {brief(best.value)})"
    for places, better, write in (
        (coverage, "higher", lambda p: f"{name} {brief(p.value)}"),
        (speed, "lower", lambda p: f"{duration(p.value)} a sample"),
    ):
        own = _at(places, best.recipe)
        rivals = [p for p in places if p.recipe in others]
        if own and rivals and all(own.place < p.place for p in rivals):
            than = joined([f"{write(p)} for {p.recipe}" for p in rivals])
            reason = "it covers more of the data" if better == "higher" else "it samples faster"
            return f"Choose {best.recipe}: {start}, and {reason} ({write(own)}, against {than})."
    every = joined([best.recipe, *others])
    return (
        f"{_upper(every)} cannot be told apart by quality "
        f"({measure} {_interval(best)} for {best.recipe}), nor by coverage and speed together: "
        f"choose {joined([best.recipe, *others], 'or')}, or measure with more {more}."
    )


def _without_quality(
    coverage: Sequence[Place], speed: Sequence[Place], name: str, measure: str
) -> tuple[str | None, str]:
    if coverage:
        best = coverage[0]
        return best.recipe, (
            f"Choose {best.recipe} for its coverage ({name} {brief(best.value)}); "
            f"no recipe has an {measure} here, so quality is not ranked."
        )
    if speed:
        best = speed[0]
        return best.recipe, (
            f"{best.recipe} samples fastest ({duration(best.value)} each), but neither quality "
            "nor coverage was measured, so there is no ground to choose on."
        )
    return None, "No recipe has a score that can be ranked, so there is nothing to choose."


def _advice(
    rows: Sequence[Row],
    choice: str,
    quality: Sequence[Place],
    coverage: Sequence[Place],
    speed: Sequence[Place],
    name: str,
    measure: str,
) -> tuple[str, ...]:
    return tuple(
        sentence
        for sentence in (
            _faster(choice, quality, speed, measure),
            _wider(choice, coverage, name),
            _likeliest(rows),
            _beaten(quality, coverage, speed),
            _trivial(rows, quality, measure),
            _copies(rows),
            _missing(rows, quality, measure),
            over_seeds(rows),
        )
        if sentence
    )


def _faster(choice: str, quality: Sequence[Place], speed: Sequence[Place], measure: str) -> str:
    own = _at(speed, choice)
    if own is None:
        return ""
    fast = {p.recipe: p for p in speed if p.value * FASTER <= own.value}
    rivals = [p for p in quality if p.recipe in fast]
    if not rivals:
        return ""
    rival = min(rivals, key=lambda p: p.value)
    seconds = fast[rival.recipe].value
    times = own.value / seconds
    return (
        f"Take {rival.recipe} when {duration(own.value)} a sample is too long: it needs "
        f"{duration(seconds)}, {brief(round(times, 0 if times >= 10 else 1))} times less, "
        f"at {measure} {brief(rival.value)}."
    )


def _likeliest(rows: Sequence[Row]) -> str:
    """Say to which models unseen data are most probable, where two or more know."""
    places = _places([(row, *_score_of(found_in(row, "likelihood"))) for row in rows], "higher")
    first = [p.recipe for p in places if p.place == 1]
    if len(places) < 2:
        return ""
    how = {str(row.get("recipe", "?")): found_in(row, "likelihood") for row in rows}
    told = [f"{name} ({_nats(how[name])})" for name in first]
    alike = ", which their intervals do not tell apart" if len(first) > 1 else ""
    return f"Unseen data are most probable to {joined(told)}{alike}."


def _nats(found: Row) -> str:
    sign = "≥ " if "bound" in str(found.get("by", "")) else ""
    return f"{sign}{score('likelihood', found.get('value'))} nats, {found.get('by') or 'exact'}"


def _wider(choice: str, coverage: Sequence[Place], name: str) -> str:
    own = _at(coverage, choice)
    if own is None or own.place == 1:
        return ""
    rival = coverage[0]
    return (
        f"Take {rival.recipe} when nothing may be left out: {name} {brief(rival.value)} "
        f"against {brief(own.value)}."
    )


def _beaten(quality: Sequence[Place], coverage: Sequence[Place], speed: Sequence[Place]) -> str:
    def worse(recipe: str, rival: str) -> bool:
        for places, better in ((quality, "lower"), (coverage, "higher"), (speed, "lower")):
            one, other = _at(places, recipe), _at(places, rival)
            if one is None or other is None or not other.beats(one, better):
                return False
        return True

    names = [p.recipe for p in quality]
    beaten: dict[str, list[str]] = {}
    for one in names:
        rival = next((r for r in names if worse(one, r)), None)
        if rival is not None:
            beaten.setdefault(rival, []).append(one)
    return " ".join(
        f"{_upper(joined(poor))} {'is' if len(poor) == 1 else 'are'} beaten by {rival} "
        "in all three."
        for rival, poor in beaten.items()
    )


def _upper(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _trivial(rows: Sequence[Row], quality: Sequence[Place], measure: str) -> str:
    """Name the recipes that do no better than a baseline that has learned nothing."""
    marks = baselines(rows, measure)
    if not marks:
        return ""
    name, value = min(marks.items(), key=lambda item: item[1])
    poor = [p.recipe for p in quality if p.value >= value]
    if not poor:
        return ""
    one = joined(poor)
    return (
        f"Mind that {one} {'does' if len(poor) == 1 else 'do'} no better than the trivial "
        f"baseline ‘{name}’ ({measure} {brief(value)})."
    )


def _copies(rows: Sequence[Row]) -> str:
    """Name the recipes whose samples lie suspiciously near to the training data."""
    near = [
        f"{row.get('recipe', '?')} ({brief(ratio[0])})"
        for row in rows
        if (ratio := _score(row, "nearest_train_ratio"))[0] < COPYING
    ]
    if not near:
        return ""
    return (
        f"Mind copies: samples of {joined(near)} lie much nearer to the training data than unseen "
        "data do; look at the nearest training examples."
    )


def _missing(rows: Sequence[Row], quality: Sequence[Place], measure: str) -> str:
    ranked = {p.recipe for p in quality}
    absent = [str(row.get("recipe", "?")) for row in rows if row.get("recipe") not in ranked]
    if not absent or not ranked:
        return ""
    return (
        f"{joined(absent)} has no {measure} and is not ranked by quality."
        if len(absent) == 1
        else (f"{joined(absent)} have no {measure} and are not ranked by quality.")
    )


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


def _interval(place: Place) -> str:
    if place.low == place.high:
        return brief(place.value)
    return f"{brief(place.value)}, between {brief(place.low)} and {brief(place.high)}"
