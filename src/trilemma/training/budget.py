r"""How long to train: a number of steps, or minutes that become one.

Steps are shared among the stages by their shares. Minutes are shared when each stage begins, from
what is left; its first steps are measured, and

    steps = done + (time left for the stage - saves and previews to come) / time of a step

is planned and recorded. From then on the stage is a run by steps, whose cosine ends there; should
the machine have slowed down since, it stops at 1.1 of its time.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from trilemma.core.errors import BadInput

__all__ = ["Budget", "Plan", "is_mark", "marks_between"]

MEASURED = 0.05
"""Share of a stage's time after which its steps are planned."""
FEWEST = 10
"""Steps measured at least; the first, which warms the machine up, is not among them."""
MARGIN = 0.95
"""Share of a stage's time that is planned for: machines slow down more than they speed up."""
OVERTIME = 1.1
"""How much more time than asked for a slower machine may take."""
MARKS = tuple(m * 10**e for e in range(9) for m in (1, 2, 5))


@dataclass(frozen=True)
class Budget:
    """What the user gives: steps in all, or minutes from now on; one of the two.

    >>> Budget(steps=10).split([2.0, 1.0, 0.01])
    [6, 3, 1]
    """

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is no budget."""
        if (self.steps is None) == (self.minutes is None):
            raise BadInput("give either --steps or --minutes, not both.")
        if self.steps is not None and self.steps < 1:
            raise BadInput(f"--steps {self.steps} was given; training takes at least 1 step.")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise BadInput(f"--minutes {self.minutes:g} was given; it must be more than 0.")

    def split(self, shares: Sequence[float]) -> list[int]:
        """Share the steps out, at least one each."""
        assert self.steps is not None
        whole = [max(1, math.floor(self.steps * share / sum(shares))) for share in shares]
        largest = max(range(len(shares)), key=lambda i: shares[i])
        whole[largest] = max(1, whole[largest] + self.steps - sum(whole))
        return whole


@dataclass
class Plan:
    """Where a run stands among its stages, and what it still means to do; kept in checkpoints."""

    steps: list[int | None]
    """Steps of each stage, once they are planned."""
    shares: list[float]
    limit: float | None = None
    """Seconds of the budget, if it is one of time."""
    since: float = 0.0
    """The run's clock when the budget was given."""
    stage: int = 0
    done: int = 0
    """Steps done in this stage."""
    before: int = 0
    """Steps done in the stages before."""
    is_complete: bool = False
    """Whether this stage has ended."""
    spent: float = 0.0
    """Seconds that training took, over all processes that took part in turn."""
    began: float = 0.0
    """The run's clock when this stage began."""
    allotted: float = 0.0
    """Seconds of this stage, if the budget is one of time."""
    examples: int = 0
    """Examples that the stages before have drawn."""
    skipped: int = 0
    """Updates that the stages before left out."""

    @classmethod
    def of(cls, budget: Budget, shares: Sequence[float]) -> Plan:
        """Plan a run from its beginning."""
        if budget.steps is not None:
            return cls(list(budget.split(shares)), list(shares))
        assert budget.minutes is not None
        return cls([None] * len(shares), list(shares), limit=60 * budget.minutes)

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Plan:
        """Take what `state` gave."""
        return cls(**{field.name: state[field.name] for field in fields(cls)})

    def state(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @property
    def total(self) -> int:
        """Return the steps done over all stages."""
        return self.before + self.done

    @property
    def target(self) -> int | None:
        """Return the steps of this stage, if they are known."""
        return self.steps[self.stage]

    @property
    def is_last(self) -> bool:
        """Tell whether no stage follows."""
        return self.stage == len(self.steps) - 1

    def extend(self, budget: Budget) -> None:
        """Plan anew from here: steps count from the run's beginning, minutes from now.

        Stages that have ended stay as they are, but for the last, which goes on.

        Raises:
            BadInput: That many steps are done already.
        """
        if budget.steps is None:
            assert budget.minutes is not None
            self.limit, self.since = 60 * budget.minutes, self.spent
            self.steps[self.stage :] = [None] * (len(self.steps) - self.stage)
            if self.is_complete and not self.is_last:
                self.steps[self.stage] = self.done
            else:
                self.begin(self.spent)
            return
        rest = len(self.steps) - self.stage - 1
        if budget.steps <= self.total:
            raise BadInput(
                f"--steps {budget.steps} was given and the run has done {self.total}; "
                "it is the number of steps in all, so give more."
            )
        self.limit = None
        split = budget.split(self.shares)
        self.steps[self.stage :] = [max(split[self.stage], self.done), *split[self.stage + 1 :]]
        if not rest:
            self.steps[self.stage] = budget.steps - self.before
        elif self.is_complete:
            self.steps[self.stage] = self.done

    def begin(self, now: float) -> None:
        """Give the present stage its part of the time that is left."""
        self.began = now
        if self.limit is not None:
            left = max(0.0, self.since + self.limit - now)
            self.allotted = left * self.shares[self.stage] / sum(self.shares[self.stage :])

    def advance(self, examples: int, skipped: int) -> None:
        """Go on to the next stage."""
        self.before, self.done, self.is_complete = self.total, 0, False
        self.examples, self.skipped = self.examples + examples, self.skipped + skipped
        self.stage += 1

    def is_due(self, now: float, measured: int, seconds: float) -> bool:
        """Tell whether the first steps were measured well enough to plan the rest."""
        if self.limit is None or self.target is not None or self.done == 0:
            return False
        enough = measured >= FEWEST and seconds >= MEASURED * self.allotted
        return enough or now - self.began >= 0.3 * self.allotted

    def planned(self, now: float, pace: float, saves: float, preview: float) -> int:
        """Return the number of steps of this stage for which the time will do.

        Arguments:
            now: The run's clock.
            pace: Seconds of a step.
            saves: Share of the time that goes to saving.
            preview: Seconds of a preview.
        """
        left = (self.began + MARGIN * self.allotted - now) * (1 - min(saves, 0.5))
        guess = max(0.0, left / max(pace, 1e-9))
        coming = marks_between(self.total, self.total + int(guess)) + self.is_last
        return self.done + int(max(0.0, left - coming * preview) / max(pace, 1e-9))

    def is_overdue(self, now: float) -> bool:
        """Tell whether the stage has taken a tenth more than its time."""
        return self.limit is not None and now - self.began >= OVERTIME * self.allotted

    def left(self, now: float, pace: float) -> float:
        """Estimate the seconds until the run ends, all stages together."""
        here = (self.target - self.done) * pace if self.target is not None else None
        if self.limit is not None:
            rest = max(0.0, self.since + self.limit - now)
            return here if here is not None and self.is_last else rest
        return ((here or 0) + sum(n or 0 for n in self.steps[self.stage + 1 :]) * pace) or 0.0


def is_mark(step: int) -> bool:
    """Tell whether a preview is made at a step: 0, 1, 2, 5, 10, 20, 50 and so on.

    >>> [step for step in range(101) if is_mark(step)]
    [0, 1, 2, 5, 10, 20, 50, 100]
    """
    return step == 0 or step in MARKS


def marks_between(low: int, high: int) -> int:
    """Count the steps in (low, high] at which a preview is made.

    >>> marks_between(5, 100)
    4
    """
    return bisect.bisect_right(MARKS, high) - bisect.bisect_right(MARKS, low)
