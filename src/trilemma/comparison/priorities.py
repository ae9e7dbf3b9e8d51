"""What to choose by a reader's own priorities among quality, coverage and speed.

By priorities that sum to one, a recipe's cost is the number of recipes that are certainly better
than it in each of the three, weighed by them; the least cost is the answer. Certainly is what it
is in `ranks`, and by quality what a choice needs (`verdict`): single runs count as less certain.
So by quality alone the answer is the verdict's, by coverage or speed alone those who rank first,
and a recipe that is certainly worse than another in all three is never the answer. What forbids
the verdict to choose a recipe forbids it here; several of the same cost are a tie, and all named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

from trilemma.comparison.ranking import rank
from trilemma.comparison.ranks import Rank, coverage_metric, quality_metric
from trilemma.comparison.row import Row
from trilemma.comparison.verdict import is_ranked, objection, too_little, widened
from trilemma.core.words import joined

__all__ = ["AXES", "STEPS", "Answer", "Priorities", "priorities"]

AXES = ("quality", "coverage", "speed")
"""What can be weighed."""
STEPS = 5
"""Weights of an axis: 0 to `STEPS` - 1."""


@dataclass(frozen=True)
class Answer:
    """What some priorities lead to."""

    recipes: tuple[str, ...]
    """The one that is chosen; of a tie all; none where nothing is chosen."""
    words: str
    """A sentence."""


@dataclass(frozen=True)
class Priorities:
    """The answers to all weights of a grid."""

    answers: tuple[Answer, ...]
    """Each once."""
    grid: tuple[int, ...]
    """[STEPS ** 3], places in `answers`: quality weighs the first digit to base STEPS."""
    available: tuple[str, ...]
    """Of `AXES`, those by which something is ranked."""

    def answer(self, quality: int, coverage: int, speed: int) -> Answer:
        """Return the answer to weights, each of 0 to `STEPS` - 1."""
        return self.answers[self.grid[(quality * STEPS + coverage) * STEPS + speed]]


def priorities(rows: Sequence[Row]) -> Priorities:
    """Work the answers out for every weighing of quality, coverage and speed.

    Arguments:
        rows: As `ranking.rank` takes them.
    """
    ranking = rank(rows)
    ranked = [row for row in rows if is_ranked(row, rows)]
    measure = quality_metric(ranked)
    quality = widened(rows, ranking.quality, measure)
    better_counts = [_counts_better(ranks) for ranks in (quality, ranking.coverage, ranking.speed)]
    if not ranking.quality or too_little(rows, ranking.quality):
        none = Answer((), ranking.verdict)
        return Priorities((none,), (0,) * STEPS**3, ())
    names = (measure, coverage_metric(ranked), "time")
    objections = {
        p.recipe: objection(rows, ranking.quality, p.recipe, measure) for p in ranking.quality
    }
    answers: dict[Answer, int] = {}
    grid = []
    for weights in product(range(STEPS), repeat=len(AXES)):
        answer = _answer(weights, better_counts, objections, names)
        grid.append(answers.setdefault(answer, len(answers)))
    available = tuple(axis for axis, ranks in zip(AXES, better_counts, strict=True) if ranks)
    return Priorities(tuple(answers), tuple(grid), available)


def _counts_better(ranks: Sequence[Rank]) -> dict[str, int]:
    """Return, by recipe, how many are certainly better."""
    return {p.recipe: p.best - 1 for p in ranks}


def _answer(
    weights: Sequence[int],
    better_counts: Sequence[dict[str, int]],
    objections: dict[str, str],
    names: Sequence[str],
) -> Answer:
    pairs = zip(weights, better_counts, strict=True)
    weighed = [(weight, by_recipe) for weight, by_recipe in pairs if weight and by_recipe]
    if not weighed:
        return Answer((), "Nothing is weighed: give one of the three some weight.")
    total = sum(weight for weight, _ in weighed)
    common = set.intersection(*(set(by_recipe) for _, by_recipe in weighed))
    costs = {
        name: Fraction(sum(weight * by_recipe[name] for weight, by_recipe in weighed), total)
        for name in weighed[0][1]
        if name in common
    }
    if not costs:
        return Answer((), "No recipe was measured in all that is weighed.")
    least = min(costs.values())
    best = tuple(name for name, cost in costs.items() if cost == least)
    if len(best) > 1:
        doubts = [name for name in best if objections.get(name)]
        doubt = f" The verdict would choose none of {joined(doubts)}." if doubts else ""
        return Answer(best, f"A tie: {joined(list(best))}.{doubt}")
    name = min(best)
    reason = objections.get(name, f"{name} has no {names[0]}, and nothing is chosen without one")
    if reason:
        return Answer((), f"No choice is made: {reason}.")
    return Answer(best, f"Choose {name}: {_why(name, better_counts)}.")


def _why(name: str, better_counts: Sequence[dict[str, int]]) -> str:
    """Say how many are certainly better in each."""
    phrases = []
    for axis, by_recipe in zip(AXES, better_counts, strict=True):
        if name in by_recipe:
            n = by_recipe[name]
            phrases.append(f"in {axis} {n or 'none'} of {len(by_recipe) - 1}")
    return f"certainly better than it are {joined(phrases)}"
