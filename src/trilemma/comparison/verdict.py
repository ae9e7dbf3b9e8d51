"""What to choose, or why nothing is chosen.

A choice is made where the best by quality is certainly better than every other that was trained
for long enough, and than every trivial baseline. It is not made, and the reason is said, where

    there are fewer than `FEWEST_TEST` test examples
    fewer than two rows made enough updates to be judged
    the best is not certainly better than a trivial baseline
    another lies within the noise of a training seed
    more than `COPIED` of the best's samples are training examples again
    two measures of quality contradict each other

One training says little of another with another seed: retraining moves a Fréchet distance about
three times as much as drawing samples again does (arXiv:2606.20536). The intervals here are over
fresh test examples too, and so wider; how much wider they must be was counted (`python -m
benchmarks verdicts`): of orders claimed by intervals 1.5 times as wide 275 of 276 held on fresh
seeds, over eight data sets, where 378 of 390 did as they are. So single runs count as `WIDENED`
times as uncertain where a choice hangs on them, and a verdict says that each was trained once.
Over several seeds intervals are what was measured.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from trilemma.comparison.ranks import Rank, baselines, floor, score_ranks, speeds_compare
from trilemma.comparison.row import Row
from trilemma.core.words import brief, duration, joined
from trilemma.metrics.registry import metrics

__all__ = [
    "choose",
    "is_ranked",
    "is_trained",
    "objection",
    "too_little",
    "unranked_words",
    "widened",
]

FEWEST_TEST = 50
"""Test examples without which nothing is chosen."""
COPIED = 0.05
"""Share of copies, by the lower end of its interval, from which on quality is no merit."""
WIDENED = 1.5
"""How many times as wide intervals of single runs count where a choice hangs on them."""


def is_ranked(row: Row, rows: Sequence[Row]) -> bool:
    """Tell whether a row is ranked: trained for long enough, like the others, to be like the data.

    Arguments:
        row: One of `rows`.
        rows: All that are compared.
    """
    return is_trained(row, rows) and not row.of.reward


def is_trained(row: Row, rows: Sequence[Row]) -> bool:
    """Tell whether a row was trained for long enough, under the same conditions as the others."""
    return not (_is_short(row) or _is_elsewhere(row, rows) or _is_measured_otherwise(row, rows))


def choose(
    rows: Sequence[Row],
    quality: Sequence[Rank],
    coverage: Sequence[Rank],
    speed: Sequence[Rank],
    name: str,
    measure: str,
) -> tuple[str | None, str, str | None]:
    """Choose, or say why not.

    Arguments:
        rows: All that are compared.
        quality: Places of those that are ranked; so coverage and speed.
        coverage: The same by coverage.
        speed: The same by speed.
        name: The score of coverage.
        measure: The score of quality.

    Returns:
        The choice, if there is one; the verdict; why there is no choice.
    """
    if not rows:
        return _none("nothing was measured")
    if not quality:
        return _none(_without_quality(rows, measure))
    best = _best(quality)
    reached = floor(rows, measure)
    real = "" if reached is None else f", where real data reach {brief(reached)}"
    reason = _why_not(rows, quality, best, measure)
    if reason:
        lead = f" The lowest {measure} is that of {best.recipe}, {brief(best.value)}{real}."
        choice, verdict, why = _none(reason)
        return choice, verdict + lead, why
    return (
        best.recipe,
        f"Choose {best.recipe}: its samples lie nearest to the data ({measure} "
        f"{brief(best.value)}{real}){_also(best, coverage, speed, name)}."
        f"{_once_trained(rows, best, measure)}",
        None,
    )


def _none(reason: str) -> tuple[None, str, str]:
    return None, f"No choice is made: {reason}.", f"{reason}."


def _without_quality(rows: Sequence[Row], measure: str) -> str:
    undertrained = [row for row in rows if _is_short(row)]
    if undertrained:
        return _short_words(undertrained)
    if rows and all(row.of.reward for row in rows):
        return "a reward is a task, and is compared with nothing but itself"
    return f"no recipe has an {measure} that could be ranked, so there is no ground to choose on"


def _why_not(rows: Sequence[Row], quality: Sequence[Rank], best: Rank, measure: str) -> str:
    """Return the first reason not to choose; nothing where there is none."""
    reason = too_little(rows, quality)
    if reason:
        return reason
    by_name = {row.name: row for row in rows}
    subject = f"the best, {best.recipe},"
    reason = _not_better_than(rows, best, measure, subject)
    if reason:
        return reason
    tied = [p.recipe for p in quality if p is not best and not _apart(best, p, by_name, measure)]
    if tied:
        return _near_words([best.recipe, *tied], [by_name[n] for n in tied], measure)
    copied = _copied(by_name[best.recipe], subject)
    return copied or _contradiction(rows, quality, best, measure)


def too_little(rows: Sequence[Row], quality: Sequence[Rank]) -> str:
    """Say why nothing can be chosen of these rows by any measure; '' where something can.

    Arguments:
        rows: All that are compared.
        quality: Ranks of those that are ranked; at least one.
    """
    counts = [row.of.test_examples for row in rows if row.of.test_examples is not None]
    small_counts = [count for count in counts if count < FEWEST_TEST]
    if small_counts:
        return (
            f"there are {small_counts[0]} test examples, and fewer than {FEWEST_TEST} cannot tell "
            "models apart; give more data"
        )
    if len(quality) < 2:
        best = _best(quality)
        undertrained = [row for row in rows if _is_short(row)]
        if undertrained:
            return f"only {best.recipe} was trained for long enough; {_short_words(undertrained)}"
        return f"only {best.recipe} was measured, and a choice needs a second recipe"
    return ""


def objection(rows: Sequence[Row], quality: Sequence[Rank], recipe: str, measure: str) -> str:
    """Say why a recipe is chosen for nothing, however it ranks; '' where nothing forbids it.

    Arguments:
        rows: All that are compared.
        quality: Ranks of those that are ranked.
        recipe: One of them.
        measure: The score of quality.
    """
    row = next(row for row in rows if row.name == recipe)
    rank = next((p for p in quality if p.recipe == recipe), None)
    if rank is None:
        return f"{recipe} has no {measure}, and nothing is chosen without one"
    return (
        _not_better_than(rows, rank, measure, recipe)
        or _copied(row, recipe)
        or _contradiction(rows, quality, rank, measure)
    )


def widened(rows: Sequence[Row], quality: Sequence[Rank], measure: str) -> list[Rank]:
    """Return the ranks of quality as a choice needs them: single runs count as less certain."""
    by_name = {row.name: row for row in rows}
    wide = [_widened(p, by_name, measure) for p in quality]
    return [
        replace(
            p,
            best=1 + sum(rival.beats(p, "lower") for rival in wide),
            worst=len(wide) - sum(p.beats(rival, "lower") for rival in wide),
        )
        for p in wide
    ]


def _copied(row: Row, subject: str) -> str:
    copies = row.score("copies")
    if copies is None or not copies.low > COPIED:
        return ""
    return (
        f"{subject} gives training examples back: {copies.value:.0%} of its samples, "
        "beyond what unseen data repeat"
    )


def _best(quality: Sequence[Rank]) -> Rank:
    return min(quality, key=lambda p: (p.best, p.value))


def _not_better_than(rows: Sequence[Row], best: Rank, measure: str, subject: str) -> str:
    for mark, value in sorted(baselines(rows, measure).items(), key=lambda item: item[1]):
        if best.high >= value:
            return (
                f"{subject} is not certainly better than the trivial baseline "
                f"‘{mark}’ ({measure} {brief(best.value)}, up to {brief(best.high)}, against "
                f"{brief(value)})"
            )
    return ""


def _apart(best: Rank, rival: Rank, rows: Mapping[str, Row], measure: str) -> bool:
    """Tell whether two trainings of other seeds would be in the same order, for all we know."""
    return _widened(best, rows, measure).beats(_widened(rival, rows, measure), "lower")


def _widened(rank: Rank, rows: Mapping[str, Row], measure: str) -> Rank:
    row = rows[rank.recipe]
    if row.of.source or _is_over_seeds(row, measure):  # ready samples are not trained again
        return rank
    low = rank.value - WIDENED * (rank.value - rank.low)
    return replace(rank, low=low, high=rank.value + WIDENED * (rank.high - rank.value))


def _is_over_seeds(row: Row, measure: str) -> bool:
    score = row.score(measure)
    return score is not None and score.spread is not None


def _near_words(names: Sequence[str], rivals: Sequence[Row], measure: str) -> str:
    if any(_is_over_seeds(row, measure) for row in rivals):
        return f"{joined(names)} cannot be distinguished by {measure}; measure with more seeds"
    remedy = (
        "measure with --seeds 3"
        if all(row.in_race for row in rivals)
        else "train each with several seeds"
    )
    return f"{joined(names)} lie within the noise of another training seed by {measure}; {remedy}"


def _contradiction(rows: Sequence[Row], quality: Sequence[Rank], best: Rank, measure: str) -> str:
    """Say where another measure of quality certainly prefers another."""
    ranked = {p.recipe for p in quality}
    for secondary in (m for m in metrics() if measure in m.second_to):
        ranks = score_ranks(
            [r for r in rows if r.name in ranked], secondary.name, secondary.better
        )
        own_rank = next((p for p in ranks if p.recipe == best.recipe), None)
        rival = next((p for p in ranks if own_rank and p.beats(own_rank, secondary.better)), None)
        if rival is not None:
            return (
                f"{measure} prefers {best.recipe}, and {secondary.name} {rival.recipe}: the "
                "measures contradict"
            )
    return ""


def _once_trained(rows: Sequence[Row], best: Rank, measure: str) -> str:
    """Say of a choice by single runs what it is worth."""
    row = next(row for row in rows if row.name == best.recipe)
    if row.of.source or _is_over_seeds(row, measure):
        return ""
    remedy = "--seeds 3 is surer" if row.in_race else "several seeds of each would be surer"
    return (
        f" Each was trained once, and another training moves {measure} more than drawing again "
        f"does: {remedy}."
    )


def _also(best: Rank, coverage: Sequence[Rank], speed: Sequence[Rank], name: str) -> str:
    c = next((p for p in coverage if p.recipe == best.recipe), None)
    s = next((p for p in speed if p.recipe == best.recipe), None)
    phrases = []
    if c and c.best == 1 and len(coverage) > 1:
        coverage_phrase = "as much of them as any" if c.tied else "the most of them"
        phrases.append(f"it covers {coverage_phrase} ({name} {brief(c.value)})")
    if s and s.best == 1 and len(speed) > 1:
        speed_phrase = "none samples faster" if s.tied else "it samples fastest"
        phrases.append(f"{speed_phrase} ({duration(s.value)} each)")
    return "".join(f", and {part}" for part in phrases)


# Training


def unranked_words(rows: Sequence[Row]) -> list[str]:
    """Say of which rows the training forbids or weakens a place; a sentence each kind."""
    sentences = []
    undertrained = [row for row in rows if _is_short(row)]
    if undertrained:
        sentences.append(f"Not ranked: {_short_words(undertrained)}.")
    falling = [row.name for row in rows if row.training and row.training.state == "falling"]
    if falling:
        sentences.append(
            f"Still improving when the time was over: {joined(falling)}; more minutes may change "
            "the places."
        )
    elsewhere = [row.name for row in rows if _is_elsewhere(row, rows)]
    if elsewhere:
        sentences.append(
            f"Not ranked: {joined(elsewhere)}, trained with other threads or on another processor "
            "than the rest."
        )
    otherwise = [row for row in rows if _is_measured_otherwise(row, rows)]
    if otherwise:
        phrases = [f"{row.name} ({row.of.n:,} samples, seed {row.of.seed})" for row in otherwise]
        sentences.append(f"Not ranked: {joined(phrases)}, measured otherwise than the rest.")
    if not speeds_compare([row for row in rows if is_ranked(row, rows)]):
        sentences.append(
            "Speed is not ranked: samples were drawn on different processors, or with different "
            "threads."
        )
    return sentences


def _is_short(row: Row) -> bool:
    return row.training is not None and row.training.state == "warming up"


def _short_words(rows: Sequence[Row]) -> str:
    """Say how many updates were made, how many are wanted, and which minutes would do."""
    training_by_name = {row.name: row.training for row in rows if row.training}
    phrases = [
        f"{name} made {t.updates:,} of the {t.wanted:,} updates it takes"
        for name, t in training_by_name.items()
    ]
    minutes = max(t.seconds / 60 * t.wanted / max(t.updates, 1) for t in training_by_name.values())
    return f"{joined(phrases)}; --minutes {_rounded_up(1.1 * minutes):g} would do"


def _rounded_up(minutes: float) -> float:
    """Round up to two figures.

    >>> _rounded_up(0.3456), _rounded_up(12.1)
    (0.35, 13.0)
    """
    if minutes <= 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(minutes)) - 1)
    return round(math.ceil(minutes / unit - 1e-9) * unit, 6)


def _is_elsewhere(row: Row, rows: Sequence[Row]) -> bool:
    """Tell whether a row was trained under other conditions than most."""
    return _is_unlike(_conditions(row), [_conditions(peer) for peer in rows])


def _conditions(row: Row) -> tuple[str, int] | None:
    """Return where a row of a race was trained; of no other run is equal time claimed."""
    training = row.training
    if not (row.in_race and training and training.processor):
        return None
    return training.processor, training.threads


def _is_measured_otherwise(row: Row, rows: Sequence[Row]) -> bool:
    """Tell whether a run that existed was measured by other samples than most."""
    return _is_unlike(_protocol(row), [_protocol(peer) for peer in rows])


def _protocol(row: Row) -> tuple[int, int, str] | None:
    of = row.of
    return None if row.in_race or not of.metrics else (of.n, of.seed, of.extractor)


def _is_unlike(value: tuple | None, values: Sequence[tuple | None]) -> bool:
    """Tell whether a value that is known is another than that of most."""
    return value is not None and value != Counter(filter(None, values)).most_common(1)[0][0]
