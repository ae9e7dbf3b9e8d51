"""Who is first in quality, in coverage and in speed, what to choose, and when to choose otherwise.

Ranks are spans (`ranks`); what is chosen, and where nothing is, stands in `verdict`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trilemma.comparison.groups import over_seeds
from trilemma.comparison.ranks import (
    Rank,
    baselines,
    coverage_metric,
    likelihood_ranks,
    quality_metric,
    score_ranks,
    speed_ranks,
)
from trilemma.comparison.row import Row
from trilemma.comparison.verdict import choose, is_ranked, is_trained, unranked_words
from trilemma.core.words import brief, duration, joined
from trilemma.metrics.likelihood import LIKELIEST
from trilemma.metrics.metric import LIKELIHOOD, REWARD
from trilemma.metrics.registry import quantity, ranking
from trilemma.metrics.score import Score

__all__ = ["Ranking", "Task", "rank", "tasks"]

FASTER = 3.0
"""A faster recipe is worth a sentence from this factor on."""


@dataclass(frozen=True)
class Task:
    """A reward, and who reached most of it: compared with nothing but itself."""

    reward: str
    measure: str
    """The score of what was reached; "" where none was measured."""
    rows: tuple[Row, ...]
    ranks: tuple[Rank, ...]

    @property
    def words(self) -> str:
        """Say who reached what, and what others reach who have not learnt."""
        if not self.ranks:
            return f"By the reward ‘{self.reward}’ nothing was measured."
        results = [f"{p.span}: {p.recipe} {brief(p.value)}" for p in self.ranks]
        baseline_values = baselines(self.rows, self.measure)
        baseline_text = joined(
            [f"{name} {brief(value)}" for name, value in baseline_values.items()]
        )
        baseline_clause = f", beside {baseline_text}" if baseline_text else ""
        return (
            f"By the reward ‘{self.reward}’ ({self.measure}): {joined(results)}{baseline_clause}."
        )

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "reward": self.reward,
            "metric": self.measure,
            "places": [
                {"recipe": p.recipe, "place": p.span, "value": p.value} for p in self.ranks
            ],
        }


@dataclass(frozen=True)
class Ranking:
    """The three rankings, what to choose, and why."""

    quality: tuple[Rank, ...]
    coverage: tuple[Rank, ...]
    speed: tuple[Rank, ...]
    frontier: tuple[str, ...]
    """Recipes that no other beats in both quality and speed, from fast to slow."""
    choice: str | None
    verdict: str
    """What to choose, and why; or that nothing is chosen."""
    why_not: str | None
    """Why there is no choice."""
    advice: tuple[str, ...]
    """When to choose otherwise, and what to mind; a sentence each."""
    tasks: tuple[Task, ...] = ()
    """Of the rows that were trained for a reward: one a reward."""

    @property
    def words(self) -> str:
        """Return the verdict and the advice in one paragraph."""
        return " ".join((self.verdict, *self.advice))

    def rank_of(self, ranking: str, recipe: str) -> Rank | None:
        """Find a recipe in 'quality', 'coverage' or 'speed'."""
        return next((p for p in getattr(self, ranking) if p.recipe == recipe), None)


def rank(rows: Sequence[Row]) -> Ranking:
    """Rank rows by quality, coverage and speed, and say what to choose.

    Arguments:
        rows: Evaluations of different recipes on the same data with the same budget, each under
            its own name. A row that lacks a score is left out of that ranking, and one that was
            not trained for long enough out of all. Rows that were trained for a reward leave the
            data on purpose: they are ranked by what they reached of it, and by nothing else.
    """
    ranked = [row for row in rows if is_ranked(row, rows)]
    name, measure = coverage_metric(ranked), quality_metric(ranked)
    quality = score_ranks(ranked, measure, "lower")
    coverage = score_ranks(ranked, name, "higher")
    speed = speed_ranks(ranked)
    choice, verdict, why_not = choose(rows, quality, coverage, speed, name, measure)
    without_reward = [row for row in rows if not row.of.reward]
    rewarded = tasks(rows)
    advice = (
        *_advice(without_reward, ranked, choice, quality, coverage, speed, name, measure),
        *(task.words for task in rewarded),
    )
    return Ranking(
        quality,
        coverage,
        speed,
        _frontier(quality, speed),
        choice,
        verdict,
        why_not,
        advice,
        rewarded,
    )


def tasks(rows: Sequence[Row]) -> tuple[Task, ...]:
    """Rank the rows of each reward by what they reached of it."""
    by_reward: dict[str, list[Row]] = {}
    for row in rows:
        if row.of.reward:
            by_reward.setdefault(row.of.reward, []).append(row)
    ranked_tasks = []
    for reward, reward_rows in by_reward.items():
        measure = next(
            (m for m in ranking(REWARD) if any(row.score(m) for row in reward_rows)), ""
        )
        trained_rows = [row for row in reward_rows if is_trained(row, rows)]
        ranks = score_ranks(trained_rows, measure, quantity(measure).better) if measure else ()
        ranked_tasks.append(Task(reward, measure, tuple(reward_rows), ranks))
    return tuple(ranked_tasks)


def _frontier(quality: Sequence[Rank], speed: Sequence[Rank]) -> tuple[str, ...]:
    seconds = {p.recipe: p.value for p in speed}
    points = [(seconds[p.recipe], p.value, p.recipe) for p in quality if p.recipe in seconds]
    frontier = [
        point
        for point in points
        if not any(o[0] <= point[0] and o[1] <= point[1] and o[:2] != point[:2] for o in points)
    ]
    return tuple(recipe for _, _, recipe in sorted(frontier))


def _rank_of(ranks: Sequence[Rank], recipe: str) -> Rank | None:
    return next((p for p in ranks if p.recipe == recipe), None)


def _advice(
    rows: Sequence[Row],
    ranked: Sequence[Row],
    choice: str | None,
    quality: Sequence[Rank],
    coverage: Sequence[Rank],
    speed: Sequence[Rank],
    name: str,
    measure: str,
) -> tuple[str, ...]:
    otherwise = (
        ()
        if choice is None
        else (
            _faster(choice, quality, speed, measure),
            _wider(choice, coverage, name),
        )
    )
    always = (
        _likeliest(ranked),
        _beaten(quality, coverage, speed),
        _trivial(rows, quality, measure),
        _copies(rows),
        _missing(rows, measure),
        *unranked_words(rows),
        over_seeds(rows),
    )
    return tuple(sentence for sentence in (*otherwise, *always) if sentence)


def _faster(choice: str, quality: Sequence[Rank], speed: Sequence[Rank], measure: str) -> str:
    own_rank = _rank_of(speed, choice)
    if own_rank is None:
        return ""
    faster = {p.recipe: p for p in speed if p.value * FASTER <= own_rank.value}
    rivals = [p for p in quality if p.recipe in faster]
    if not rivals:
        return ""
    rival = min(rivals, key=lambda p: p.value)
    seconds = faster[rival.recipe].value
    speedup = own_rank.value / seconds
    return (
        f"Take {rival.recipe} when {duration(own_rank.value)} a sample is too long: it needs "
        f"{duration(seconds)}, {brief(round(speedup, 0 if speedup >= 10 else 1))} times less, "
        f"at {measure} {brief(rival.value)}."
    )


def _likeliest(rows: Sequence[Row]) -> str:
    """Say to which models unseen data are most probable, where two or more know.

    Of a model that is known by a bound alone the truth may lie higher: such are named apart,
    unless their bounds are as high as the best.
    """
    ranks = likelihood_ranks(rows)
    if len(ranks) < 2:
        return ""
    scores = {row.name: score for row in rows if (score := row.score(LIKELIHOOD))}
    best = max(ranks, key=lambda p: p.value)
    likeliest = [p.recipe for p in ranks if scores[p.recipe].high >= best.low]
    bound_only = [p.recipe for p in ranks if p.best == 1 and p.recipe not in likeliest]
    phrases = [f"{name} ({_nats(scores[name])})" for name in likeliest]
    tie_note = ", which their intervals do not tell apart" if len(likeliest) > 1 else ""
    bound_note = f"; of {joined(bound_only)} a bound alone is known, and the truth may lie higher"
    return (
        f"Unseen data are most probable to {joined(phrases)}{tie_note}"
        f"{bound_note if bound_only else ''}."
    )


def _nats(score: Score) -> str:
    prefix = "≥ " if score.is_bound else ""
    return f"{prefix}{LIKELIEST.written(score.value)} nats, {score.by or 'exact'}"


def _wider(choice: str, coverage: Sequence[Rank], name: str) -> str:
    own_rank = _rank_of(coverage, choice)
    if own_rank is None or own_rank.best == 1:
        return ""
    rival = coverage[0]
    return (
        f"Take {rival.recipe} when nothing may be left out: {name} {brief(rival.value)} "
        f"against {brief(own_rank.value)}."
    )


def _beaten(quality: Sequence[Rank], coverage: Sequence[Rank], speed: Sequence[Rank]) -> str:
    def worse(recipe: str, rival: str) -> bool:
        for ranks, better in ((quality, "lower"), (coverage, "higher"), (speed, "lower")):
            candidate, rival_rank = _rank_of(ranks, recipe), _rank_of(ranks, rival)
            if candidate is None or rival_rank is None or not rival_rank.beats(candidate, better):
                return False
        return True

    names = [p.recipe for p in quality]
    beaten: dict[str, list[str]] = {}
    for candidate in names:
        rival = next((r for r in names if worse(candidate, r)), None)
        if rival is not None:
            beaten.setdefault(rival, []).append(candidate)
    return " ".join(
        f"Beaten by {rival} in quality, coverage and speed: {joined(losers)}."
        for rival, losers in beaten.items()
    )


def _trivial(rows: Sequence[Row], quality: Sequence[Rank], measure: str) -> str:
    """Name the recipes that do no better than a baseline that has learned nothing."""
    baseline_values = baselines(rows, measure)
    if not baseline_values:
        return ""
    name, value = min(baseline_values.items(), key=lambda item: item[1])
    below_baseline = [p.recipe for p in quality if p.value >= value]
    if not below_baseline:
        return ""
    listing = joined(below_baseline)
    return (
        f"Mind that {listing} {'does' if len(below_baseline) == 1 else 'do'} no better than the "
        f"trivial baseline ‘{name}’ ({measure} {brief(value)})."
    )


def _copies(rows: Sequence[Row]) -> str:
    """Name the recipes of whose samples more are training examples than chance makes."""
    phrases = [
        f"{100 * score.value:.2g} % of {row.name}"
        for row in rows
        if (score := row.score("copies")) is not None and score.low > 0
    ]
    if not phrases:
        return ""
    return (
        f"Mind copies: of the samples, {joined(phrases)} are training examples again, beyond what "
        "unseen data repeat; they are shown beside their originals."
    )


def _missing(rows: Sequence[Row], measure: str) -> str:
    """Name the rows without the score that ranks."""
    absent = [row.name for row in rows if row.score(measure) is None]
    if not absent or len(rows) < 2:
        return ""
    is_single = len(absent) == 1
    return (
        f"{joined(absent)} {'has' if is_single else 'have'} no {measure} and "
        f"{'is' if is_single else 'are'} not ranked by quality."
    )
