r"""Whether a training went on for long enough, by a stated rule on its events.

With k updates made and K wanted, a run is

    warming up    if k < K
    falling       if the loss of a stage still fell over the last third of its updates
    settled       otherwise

The logged losses l_1 … l_n of that third are smoothed by the line of least squares; F is how far
it falls from its one end to the other, s the standard error of F by what the line leaves over, L
the mean loss of that third and L' that of the third before. The loss still fell where

    F > 2 s        and        F > 0.02 max(|L|, L' - L)

so that it fell beyond its noise, and by a fiftieth of what it is, or of what it has lost since,
for a loss near zero. Where a stage has several objectives its players' losses say nothing of how
well they play, and a third with fewer than eight losses shows nothing beyond its noise: of such
stages only the number of updates is asked.

The learning rate falls to almost nothing by the end of a run, and losses level with it: a run that
has settled has settled under its own schedule, and may still reach more with a longer one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from trilemma.core.event import Event

__all__ = ["State", "still_falls", "training_state"]

State = Literal["settled", "falling", "warming up"]

RELATIVE = 0.02
"""Part of itself that a loss falls by over the last third, at least, where it still falls."""
ERRORS = 2.0
"""Standard errors that this fall exceeds: to warn for nothing costs less than not to warn."""
FEWEST = 8
"""Losses that are needed to tell."""


def training_state(events: Sequence[Event], target_updates: int) -> State:
    """Return the state in which a training ended.

    Arguments:
        events: Of the run, in order; see `Run.events`.
        target_updates: K, the updates at which it is ranked; see `recipes.recipe.updates_wanted`.

    >>> events = [Event("step", k, "model", {"vae/loss": 1 / k}) for k in range(1, 300)]
    >>> training_state(events, target_updates=500), training_state(events, target_updates=200)
    ('warming up', 'falling')
    """
    steps = [event for event in events if event.kind == "step"]
    if max((event.step for event in steps), default=0) < target_updates:
        return "warming up"
    stages = dict.fromkeys(event.stage for event in steps)
    curves = (_curve([e for e in steps if e.stage == stage]) for stage in stages)
    return "falling" if any(still_falls(*curve) for curve in curves) else "settled"


def still_falls(steps: Sequence[float], losses: Sequence[float]) -> bool:
    """Tell whether a loss still fell over the last third of the steps.

    >>> still_falls(range(30), [30.0 - k for k in range(30)]), still_falls(range(30), [1.0] * 30)
    (True, False)
    """
    if not steps:
        return False
    first, last = steps[0], steps[-1]
    late, middle = (first + share * (last - first) for share in (2 / 3, 1 / 3))
    last_third = [(k, loss) for k, loss in zip(steps, losses, strict=True) if k >= late]
    middle_third = [loss for k, loss in zip(steps, losses, strict=True) if middle <= k < late]
    if len(last_third) < FEWEST:
        return False
    fall, error = _fall([k for k, _ in last_third], [loss for _, loss in last_third])
    level = sum(loss for _, loss in last_third) / len(last_third)
    earlier_fall = sum(middle_third) / len(middle_third) - level if middle_third else 0.0
    return fall > ERRORS * error and fall > RELATIVE * max(abs(level), earlier_fall)


def _curve(events: Sequence[Event]) -> tuple[list[float], list[float]]:
    """Return steps and losses of a stage with one objective; nothing of one with several."""
    names = {name for event in events for name in event.values if name.endswith("/loss")}
    if len(names) != 1:
        return [], []
    (name,) = names
    points = [(e.step, loss) for e in events if (loss := e.number(name)) is not None]
    return [k for k, _ in points], [loss for _, loss in points]


def _fall(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Return how far the line of least squares falls over x, and the standard error of that."""
    n, mean_x, mean_y = len(x), sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    residual_sum = sum((b - mean_y - slope * (a - mean_x)) ** 2 for a, b in zip(x, y, strict=True))
    x_range = x[-1] - x[0]
    return -slope * x_range, x_range * math.sqrt(residual_sum / (n - 2) / spread)
