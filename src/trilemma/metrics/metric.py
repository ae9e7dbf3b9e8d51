"""What a metric declares of itself, beside the code that measures it.

A `Quantity` is a number that stands in a table: its name, its label, what it means, which way is
better and how it is written. A `Metric` is a quantity that the judge can measure: it says besides
what it needs, what it ranks, where it fails, and what its interval is meant to hold.

Every module of this room that has metrics keeps them in a tuple `METRICS`, and `metrics.registry`
finds them there; tables, charts, rankings and `trilemma list metrics` read what they declare.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from trilemma.core.words import number
from trilemma.metrics.score import Score

if TYPE_CHECKING:
    from trilemma.metrics.context import Context

__all__ = [
    "COVERAGE",
    "EQUAL",
    "KINDS",
    "LIKELIHOOD",
    "MEMORISED",
    "NEAR_ONE",
    "QUALITY",
    "RARE",
    "REPEATED",
    "REWARD",
    "Better",
    "Memo",
    "Metric",
    "Need",
    "Quantity",
    "Unmeasured",
    "hundredths",
]

Better = Literal["lower", "higher", "one", ""]
"""'one': 1 is the wanted value; '': neither."""
QUALITY, COVERAGE, LIKELIHOOD, REWARD = "quality", "coverage", "likelihood", "reward"
"""What a metric may rank; the first declared that was measured does."""
KINDS = ("image", "points", "graph", "molecule", "conformer", "point-cloud")
MEMORISED = "learned by heart"
"""The section of what asks whether training examples come back, or can be told."""
FRESH = (
    "the expected value of this estimator at this n, over fresh samples and fresh test examples"
)
"""What an interval is meant to hold unless a metric says otherwise."""

RARE = "what is rarer than one in n, where the value is owed to few"
EQUAL = "between equal sets"
NEAR_ONE = "near 0 and 1"
REPEATED = "where kinds are repeated, since samples count as independent"

M = TypeVar("M", bound="Memo")
T = TypeVar("T")


class Unmeasured(Exception):
    """Why a metric has no value: a reason for the table, and no defect."""


@dataclass(eq=False, kw_only=True)
class Memo:
    """Keeps what was made of it, so that several metrics make it once."""

    cache: dict[object, Any] = field(default_factory=dict, init=False, repr=False)

    def once(self: M, make: Callable[[M], T]) -> T:
        """Return `make` of this, made when it is first asked for; what raises is not kept."""
        if make not in self.cache:
            self.cache[make] = make(self)
        return self.cache[make]


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a model must be able to do for a metric."""

    has: Callable[[object], bool]
    absence: str
    """What is said of a model that cannot."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A number that stands in a table."""

    name: str
    """In JSON, and on the command line."""
    label: str
    """At the head of a column."""
    meaning: str
    """A line for a reader who has not met it."""
    better: Better = ""
    unit: str = ""
    write: Callable[[float], str] = number
    """Writes a finite value."""

    def written(self, value: float | None) -> str:
        """Write a value, or a dash where there is none."""
        return "–" if value is None or not math.isfinite(value) else self.write(value)


@dataclass(frozen=True, kw_only=True)
class Metric(Quantity):
    """A quantity that the judge measures."""

    measure: Callable[[Context], Score]
    """Measures one model or its samples; raises `Unmeasured` where it cannot."""
    failure: str
    """Where it is known to mislead, in a sentence."""
    kinds: tuple[str, ...] = KINDS
    """Kinds of data that it is about."""
    needs: Need | None = None
    """What it asks of a model; None: it asks its samples alone."""
    section: str = "quality and coverage"
    """Under which its column stands."""
    ranks: str = ""
    """`QUALITY`, `COVERAGE`, `LIKELIHOOD`, `REWARD` or nothing."""
    second_to: tuple[str, ...] = ()
    """Measures of quality that it may contradict, each of another kind of data."""
    across_kinds: bool = False
    """Whether it asks the same of data of several kinds, such as molecules and molecules in space,
    so that rows of both may stand in one column."""
    variant_of: str = ""
    """The metric whose question it asks again, by another kernel or estimator: for details."""
    least: float = -math.inf
    most: float = math.inf
    """Ends of its range, at which intervals are cut."""
    estimand: str = FRESH
    """What its interval is meant to hold."""
    leaves_out: str = ""
    """What its interval leaves out, where it is known to hold that less often than 92 %."""
    too_wide: str = ""
    """Where its interval is known to hold it more often than 98 %."""

    def finished(self, score: Score) -> Score:
        """Return a score with what is declared: unit, direction, and an interval in its range."""
        direction = "lower" if self.better == "lower" else "higher"
        return self.cut(replace(score, unit=score.unit or self.unit, better=direction))

    def cut(self, score: Score) -> Score:
        """Return a score whose interval ends where the range does."""
        return replace(
            score,
            low=max(score.low, min(self.least, score.value)),
            high=min(score.high, max(self.most, score.value)),
        )


def hundredths(value: float) -> str:
    """Write a value near 1, whose third figure says nothing.

    >>> hundredths(0.98765), hundredths(-0.5)
    ('0.99', '−0.50')
    """
    return f"{value:.2f}".replace("-", "−")
