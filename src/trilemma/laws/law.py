"""A law: one identity of the lecture, checked by computing both sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Check", "Law", "at_most", "equal"]


@dataclass(frozen=True)
class Law:
    """What was measured, what it should have been, and how near is near enough."""

    name: str
    """A sentence's worth: what equals what."""
    source: str
    """Where it stands: the lecture's section, and the paper's equation."""
    measured: float
    expected: float
    tolerance: float
    relation: str = "="
    """'=' measured within tolerance of expected; '<=' at most expected + tolerance."""

    @property
    def holds(self) -> bool:
        """Tell whether the law holds; a measurement that is no number never does."""
        gap = self.measured - self.expected
        return gap <= self.tolerance if self.relation == "<=" else abs(gap) <= self.tolerance


Check = Callable[[], Sequence[Law]]
"""A check computes one law or several of a kind, from fixed seeds, in float64 where it can."""


def equal(name: str, source: str, measured: float, expected: float, tolerance: float) -> Law:
    """State that two numbers are the same."""
    return Law(name, source, float(measured), float(expected), tolerance)


def at_most(name: str, source: str, measured: float, limit: float, tolerance: float = 0.0) -> Law:
    """State that a number does not exceed a limit."""
    return Law(name, source, float(measured), float(limit), tolerance, "<=")
