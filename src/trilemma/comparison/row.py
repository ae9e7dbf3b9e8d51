"""What tables, rankings and pages show: a run, or the runs of one label taken together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trilemma.metrics.cost import OF_TRAINING
from trilemma.metrics.evaluation import Evaluation, Training
from trilemma.metrics.metric import LIKELIHOOD
from trilemma.metrics.registry import ranking
from trilemma.metrics.score import Score

__all__ = ["Over", "Row", "each"]


@dataclass(frozen=True, kw_only=True)
class Over:
    """A cost over several runs."""

    mean: float | None
    sd: float | None
    """Sample standard deviation; None where one run has it."""
    n: int
    low: float | None
    """The least of the runs."""
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a comparison."""

    of: Evaluation
    """Of the run; of several, with means in the place of values."""
    seeds: tuple[int, ...] = ()
    """Of the runs that it stands for; none: it is one run."""
    measured: tuple[int, ...] = ()
    """Those of which there is a measurement."""
    costs: Mapping[str, Over] = field(default_factory=dict)
    """Over the runs that it stands for."""
    in_race: bool = True
    """Whether a comparison trained it, for the time of all; a run that existed was not."""

    @property
    def name(self) -> str:
        """Return the name that it goes by: its label, or its recipe."""
        return self.of.label or self.of.recipe

    @property
    def family(self) -> str:
        """Return the family of its recipe."""
        return self.of.family

    @property
    def training(self) -> Training | None:
        """Return what training took."""
        return self.of.training

    def score(self, name: str) -> Score | None:
        """Return the score of a name, if it has one with a value; 'likelihood' is its tightest."""
        metrics = self.of.metrics
        if name == LIKELIHOOD:
            name = next((m for m in ranking(LIKELIHOOD) if m in metrics), "")
        entry = metrics.get(name)
        return entry if entry is not None and math.isfinite(entry.value) else None

    def spent(self, name: str) -> float | None:
        """Return a cost, or what training took, if it was measured."""
        source = self.training if any(q.name == name for q in OF_TRAINING) else self.of.cost
        value = getattr(source, name, None)
        return float(value) if value is not None and math.isfinite(value) else None

    def spent_between(self, name: str) -> tuple[float, float] | None:
        """Return the least and the most that its runs cost."""
        value, over = self.spent(name), self.costs.get(name)
        if over is not None and over.low is not None and over.high is not None:
            return over.low, over.high
        return None if value is None else (value, value)


def each(runs: Sequence[Evaluation], *, in_race: bool = True) -> list[Row]:
    """Return a row for each run."""
    return [Row(of=run, in_race=in_race) for run in runs]
