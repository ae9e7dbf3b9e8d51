"""Taking turns: each side once a round, and what is kept is the ratio within a round.

A machine drifts by a quarter in minutes, so that one side after another lies. Sides that are
timed within seconds of each other, in an order that rotates, share the drift, and the median of
the rounds' ratios is what is believed. Absolute seconds are kept for the record only.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Ratio", "by_turns", "ratio", "repeated"]

Once = Callable[[], float]
"""Do the work once and return the seconds that it took."""


@dataclass(frozen=True)
class Ratio:
    """How many times faster `ours` is than `peer`; above 1 is faster."""

    peer: str
    ours: str
    median: float
    low: float
    """First quartile of the rounds."""
    high: float
    """Third quartile."""
    least: float
    most: float
    rounds: int

    def __str__(self) -> str:
        """Say it in a cell of a table."""
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f}, {self.rounds} rounds)"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def repeated(work: Callable[[], Any], times: int) -> Once:
    """Make a side out of work that is done several times; returns the seconds of one."""

    def once() -> float:
        start = time.perf_counter()
        for _ in range(times):
            work()
        return (time.perf_counter() - start) / times

    return once


def by_turns(sides: Mapping[str, Once], rounds: int, *, warmup: int = 1) -> dict[str, list[float]]:
    """Run every side once a round, the first of a round the last of the next.

    Arguments:
        sides: By name.
        rounds: Rounds that are kept.
        warmup: Rounds before them that are not.
    """
    names, seconds = list(sides), {name: [] for name in sides}
    for turn in range(-warmup, rounds):
        for name in names:
            gc.collect()
            took = sides[name]()
            if turn >= 0:
                seconds[name].append(took)
        names.append(names.pop(0))
        print(f"\rround {max(turn + 1, 0)} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], *, peer: str, ours: str) -> Ratio:
    """Compare two sides round by round."""
    result = sorted(p / o for p, o in zip(seconds[peer], seconds[ours], strict=True))
    low, _, high = statistics.quantiles(result, n=4) if len(result) > 1 else result * 3
    return Ratio(
        peer, ours, statistics.median(result), low, high, result[0], result[-1], len(result)
    )
