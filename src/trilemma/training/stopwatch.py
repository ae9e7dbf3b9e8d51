"""Where a run's seconds go: to training, to what stands beside it, or to neither.

Minutes asked for are minutes of training: of updates, of their data and of the bookkeeping of the
plan. Previews, looks of a watched run and saved checkpoints are clocked beside, and the seconds in
which the caller has the events count for nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

__all__ = ["Stopwatch"]


class Stopwatch:
    """Adds up seconds by activity: 'training', 'preview', 'save'.

    Arguments:
        clock: Tells seconds.

    >>> ticks = iter(range(10))
    >>> watch = Stopwatch(lambda: float(next(ticks)))
    >>> with watch.on("training"):
    ...     pass
    >>> watch.seconds["training"], watch.wall
    (1.0, 3.0)
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.seconds = {"training": 0.0, "preview": 0.0, "save": 0.0}
        self._start = clock()
        self._earlier = 0.0

    @contextmanager
    def on(self, activity: str) -> Iterator[None]:
        """Count what is done within for an activity."""
        start = self.clock()
        try:
            yield
        finally:
            self.seconds[activity] += self.clock() - start

    @property
    def training(self) -> float:
        """Return the seconds of training, over all processes in turn."""
        return self.seconds["training"]

    @property
    def wall(self) -> float:
        """Return all seconds since the run began, but for those between its processes."""
        return self._earlier + self.clock() - self._start

    def overhead(self) -> dict[str, float]:
        """Return the seconds of previews and saves, and the wall clock, for a checkpoint."""
        return {k: self.seconds[k] for k in ("preview", "save")} | {"wall": self.wall}

    def resume(self, training: float, overhead: Mapping[str, float]) -> None:
        """Go on from the seconds that a checkpoint recorded."""
        self.seconds |= {k: overhead.get(k, 0.0) for k in ("preview", "save")}
        self.seconds["training"] = training
        self._earlier = overhead.get("wall", 0.0)
