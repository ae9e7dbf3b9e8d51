r"""How long to train: a number of steps, or minutes that become one.

Steps are shared among the stages by their shares. Minutes are minutes of training (see
`stopwatch`), shared when each stage begins, from what is left; its first steps are measured, and

    steps = done + time left for the stage / time of a step

is planned and recorded. From then on the stage is a run by steps, whose cosine ends there. The
plan is corrected by the steps of late when a quarter, half, three quarters and nine tenths of the
time have passed, and where the steps run out before the time does; should the machine have slowed
down since, the stage stops at 1.1 of its time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from statistics import median
from typing import Any

from trilemma.core.errors import BadInput

__all__ = ["Budget", "StepPace", "TrainingPlan", "is_mark"]

MEASURED = 0.05
"""Share of a stage's time after which its steps are planned."""
FEWEST = 10
"""Steps measured at least; the first, which warms the machine up, is not among them."""
CORRECTED = (0.25, 0.5, 0.75, 0.9)
"""Shares of a stage's time at which its plan is corrected."""
RECENT = 0.1
"""Share of a stage's time whose steps say how long a step takes now."""
SPARE = 0.02
"""Share of a stage's time for which nothing is planned anew where the steps have run out."""
ENOUGH = 0.05
"""Share of a stream's own budget by which it is known how long the rest will take."""
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
        stage_steps = [max(1, math.floor(self.steps * share / sum(shares))) for share in shares]
        largest = max(range(len(shares)), key=lambda i: shares[i])
        stage_steps[largest] = max(1, stage_steps[largest] + self.steps - sum(stage_steps))
        return stage_steps


@dataclass
class TrainingPlan:
    """Where a run stands among its stages, and what it still means to do; kept in checkpoints."""

    steps: list[int | None]
    """Steps of each stage, once they are planned."""
    shares: list[float]
    limit: float | None = None
    """Seconds of training of the budget, if it is one of time."""
    since: float = 0.0
    """The training clock when the budget was given."""
    stage: int = 0
    steps_done: int = 0
    """Steps done in this stage."""
    before: int = 0
    """Steps done in the stages before."""
    is_complete: bool = False
    """Whether this stage has ended."""
    spent: float = 0.0
    """Seconds of training, over all processes that took part in turn."""
    overhead: dict[str, float] = field(default_factory=dict)
    """Seconds of previews and saves, and of the wall clock."""
    began: float = 0.0
    """The training clock when this stage began."""
    allotted: float = 0.0
    """Seconds of this stage, if the budget is one of time."""
    examples: int = 0
    """Examples that the stages before have drawn."""
    skipped: int = 0
    """Updates that the stages before left out."""
    corrections: int = 0
    """How many of the shares at which the plan is corrected have passed."""

    @classmethod
    def of(cls, budget: Budget, shares: Sequence[float]) -> TrainingPlan:
        """Plan a run from its beginning."""
        if budget.steps is not None:
            return cls(list(budget.split(shares)), list(shares))
        assert budget.minutes is not None
        return cls([None] * len(shares), list(shares), limit=60 * budget.minutes)

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> TrainingPlan:
        """Take what `state` gave."""
        field_names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in state.items() if name in field_names})

    def state(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @property
    def total(self) -> int:
        """Return the steps done over all stages."""
        return self.before + self.steps_done

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
                self.steps[self.stage] = self.steps_done
            else:
                self.begin(self.spent)
            return
        later_stages = len(self.steps) - self.stage - 1
        if budget.steps <= self.total:
            raise BadInput(
                f"--steps {budget.steps} was given and the run has done {self.total}; "
                "it is the number of steps in all, so give more."
            )
        self.limit = None
        split = budget.split(self.shares)
        self.steps[self.stage :] = [
            max(split[self.stage], self.steps_done),
            *split[self.stage + 1 :],
        ]
        if not later_stages:
            self.steps[self.stage] = budget.steps - self.before
        elif self.is_complete:
            self.steps[self.stage] = self.steps_done

    def begin(self, now: float) -> None:
        """Give the present stage its part of the time that is left."""
        self.began, self.corrections = now, 0
        if self.limit is not None:
            remaining = max(0.0, self.since + self.limit - now)
            self.allotted = remaining * self.shares[self.stage] / sum(self.shares[self.stage :])

    def advance(self, examples: int, skipped: int) -> None:
        """Go on to the next stage."""
        self.before, self.steps_done, self.is_complete = self.total, 0, False
        self.examples, self.skipped = self.examples + examples, self.skipped + skipped
        self.stage += 1

    def is_due(self, now: float, pace: StepPace) -> bool:
        """Tell whether to plan: the first steps are measured, or it is time for a correction."""
        if self.limit is None or not pace.mean:
            return False
        if self.target is not None:
            is_short = (
                self.steps_done >= self.target
                and self._stage_remaining(now) > SPARE * self.allotted
            )
            return pace.count > 0 and (is_short or self._passed(now) > self.corrections)
        enough = pace.count >= FEWEST and pace.seconds >= MEASURED * self.allotted
        return enough or now - self.began >= 0.3 * self.allotted

    def correct(self, now: float, pace: StepPace) -> int:
        """Return the number of steps of this stage for which the time will do.

        The first plan takes the middle of the measured steps, for the first are often slow;
        corrections take the mean of the recent ones, for they are to add up to the time.
        """
        step_seconds = max(pace.middle if self.target is None else pace.mean, 1e-9)
        self.corrections = self._passed(now)
        remaining = self._stage_remaining(now)
        max_steps = (remaining + (OVERTIME - 1) * self.allotted) / step_seconds
        return self.steps_done + max(
            0, min(round(remaining / step_seconds), math.floor(max_steps))
        )

    def is_overdue(self, now: float, step: float = 0.0) -> bool:
        """Tell whether one step more would end when the time, and a tenth more, is over."""
        return self.limit is not None and now + step - self.began >= OVERTIME * self.allotted

    def remaining_seconds(self, now: float, step: float, spent: float = 0.0) -> float:
        """Estimate the seconds of training until the run ends, all stages together.

        Arguments:
            now: The training clock.
            step: Seconds of a step.
            spent: Share that is spent of a budget that the stage's stream has of its own.
        """
        stage_seconds = (self.target - self.steps_done) * step if self.target is not None else None
        if spent > ENOUGH and stage_seconds is not None:
            stage_seconds = min(stage_seconds, (now - self.began) * max(0.0, 1 - spent) / spent)
        if self.limit is not None:
            remaining = max(0.0, self.since + self.limit - now)
            upper_bound = max(0.0, self.since + OVERTIME * self.limit - now)
            return (
                min(stage_seconds, upper_bound)
                if stage_seconds is not None and self.is_last
                else remaining
            )
        return (
            (stage_seconds or 0) + sum(n or 0 for n in self.steps[self.stage + 1 :]) * step
        ) or 0.0

    def _stage_remaining(self, now: float) -> float:
        """Return the seconds that are left for this stage."""
        return max(0.0, self.began + self.allotted - now)

    def _passed(self, now: float) -> int:
        return sum(now - self.began >= share * self.allotted for share in CORRECTED)


class StepPace:
    """How long a step takes, by those of late; the first one warms the machine up.

    Arguments:
        window: Seconds of steps that are looked back at; never fewer than ten steps.

    >>> pace = StepPace(window=1.0)
    >>> for seconds in (9.0, 0.5, 0.25, 0.75):
    ...     pace.add(seconds)
    >>> pace.count, pace.mean, pace.middle
    (3, 0.5, 0.5)
    """

    def __init__(self, window: float) -> None:
        self.window = window
        self.count = -1
        """Steps that were measured, but for the first."""
        self.seconds = 0.0
        """What they took."""
        self._recent: deque[float] = deque()
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Measure one more step."""
        if self.count == 0:
            self._recent.clear()
            self._sum = 0.0
        self.count += 1
        self.seconds += seconds if self.count else 0.0
        self._recent.append(seconds)
        self._sum += seconds
        while len(self._recent) > FEWEST and self._sum - self._recent[0] >= self.window:
            self._sum -= self._recent.popleft()

    @property
    def mean(self) -> float:
        """Return the mean over the recent steps; 0 before the first."""
        return self._sum / len(self._recent) if self._recent else 0.0

    @property
    def middle(self) -> float:
        """Return the median over the recent steps."""
        return median(self._recent)


def is_mark(step: int) -> bool:
    """Tell whether a preview is made at a step: 0, 1, 2, 5, 10, 20, 50 and so on.

    >>> [step for step in range(101) if is_mark(step)]
    [0, 1, 2, 5, 10, 20, 50, 100]
    """
    return step == 0 or step in MARKS
