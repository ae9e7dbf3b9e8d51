r"""When previews are drawn, so that none ever eats the time of a run.

They are wanted at steps 0, 1, 2, 5, 10, 20, 50, …, and stand outside the training clock. With T
seconds of training done, T' at the last preview, and C a credit of ten seconds, or of a twentieth
of the seconds asked for where that is less, a preview that is expected to take E seconds is drawn
where

    E <= (T - T') / 20        or        E + what previews took beyond their twentieth <= C

and waits for a later step where not. So all of them together take no more than T / 20 + C. The
first ones, of hardly trained weights, share the credit evenly, so that each is soon there; the
last one is drawn in any case, and is to take no more than five seconds or a twentieth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from trilemma.core.model import Model
from trilemma.training.budget import is_mark

__all__ = ["Allowance", "Marked", "Moment", "Preview", "TimedPreview"]

SHARE = 1 / 20
"""Of the training since the last preview, for the next."""
CREDIT = 10.0
"""Seconds that all previews of a run together may take beyond their share."""
FIRST = (0, 1, 2, 5)
"""Steps of the first previews."""
LAST = 5.0
"""Seconds that the last preview of a stage may take beyond its share."""

Preview = Callable[[Model, int], Mapping[str, Any] | None]
"""Draws and keeps samples: of a model in evaluation mode with averaged weights, at a step.

It may return measurements, for the event; of these, 'alarms' are troubles: sentences by kind."""


@dataclass(frozen=True)
class Moment:
    """A point in a training at which something may be drawn."""

    step: int
    """Steps done, over all stages."""
    trained: float
    """Seconds of training so far."""
    budget_seconds: float | None = None
    """Seconds of training in the budget; None for a budget of steps."""
    is_end: bool = False
    """Whether a stage has ended here."""


@runtime_checkable
class TimedPreview(Protocol):
    """A preview that decides when it is called."""

    def due(self, moment: Moment) -> bool:
        """Tell whether it wants to be called now; it is asked once a step, and at the end."""
        ...


class Allowance:
    """The seconds that previews may take."""

    def __init__(self) -> None:
        self.overdrawn = 0.0
        """Seconds that previews took beyond their share."""
        self._since: float | None = None

    def seconds(self, moment: Moment) -> float:
        """Return the most that a preview may take now.

        >>> round(Allowance().seconds(Moment(step=10, trained=0.0, budget_seconds=60.0)), 6)
        3.0
        """
        credit = (
            CREDIT if moment.budget_seconds is None else min(CREDIT, SHARE * moment.budget_seconds)
        )
        remaining = max(0.0, credit - self.overdrawn)
        if moment.is_end:
            remaining = max(remaining, LAST)
        elif moment.step <= FIRST[-1]:
            remaining /= sum(step >= moment.step for step in FIRST)
        return max(self._share(moment), remaining)

    def pay(self, moment: Moment, took: float) -> None:
        """Record what a preview took."""
        if not moment.is_end:
            self.overdrawn += max(0.0, took - self._share(moment))
        self._since = moment.trained

    def _share(self, moment: Moment) -> float:
        if self._since is None:  # of what earlier processes trained nothing is left over
            self._since = moment.trained
        return SHARE * (moment.trained - self._since)


class Marked:
    """Makes a plain preview a timed one: at its marks, as soon as the time is enough for it.

    Arguments:
        preview: Draws.
        clock: Tells seconds.
    """

    def __init__(self, preview: Preview, clock: Callable[[], float]) -> None:
        self._preview, self._clock = preview, clock
        self._allowance = Allowance()
        self._cost, self._is_waiting, self._last = 0.0, False, -1
        self._moment: Moment | None = None

    def due(self, moment: Moment) -> bool:
        """Tell whether it is drawn now: the first and the last in any case."""
        self._moment, step = moment, moment.step
        if moment.is_end:
            return step != self._last
        self._is_waiting |= is_mark(step)
        is_affordable = self._cost <= self._allowance.seconds(moment)
        return self._is_waiting and (step <= FIRST[-1] or is_affordable)

    def __call__(self, model: Model, step: int) -> Mapping[str, Any] | None:
        """Draw, and remember what it took."""
        start = self._clock()
        try:
            return self._preview(model, step)
        finally:
            self._cost, self._is_waiting, self._last = self._clock() - start, False, step
            if self._moment is not None:
                self._allowance.pay(self._moment, self._cost)
