"""A law: one identity of the lecture, checked by computing both sides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from typing import Any

from trilemma.registry import Registry

__all__ = ["Check", "Computation", "Law", "at_most", "equal", "has_laws", "states"]


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


Computation = Callable[[], Sequence[Law]]
"""Computes one law or several of a kind, from fixed seeds, in float64 where it can."""


class Check:
    """A declared computation of laws: its title and its sources are known before it is run.

    Arguments:
        compute: The computation; the first paragraph of its docstring is the title.
        sources: Where its laws stand: the lecture's sections, the papers' equations.
    """

    __name__: str

    def __init__(self, compute: Computation, sources: Sequence[str]) -> None:
        update_wrapper(self, compute)
        self.compute, self.sources = compute, tuple(sources)

    @property
    def title(self) -> str:
        """Return what it does: the first paragraph of its docstring."""
        paragraph = (self.__doc__ or self.__name__).strip().split("\n\n")[0]
        return " ".join(paragraph.split()).rstrip(".")

    @property
    def file(self) -> str:
        """Return the name of its file, without the ending."""
        return self.compute.__module__.rpartition(".")[2]

    def __call__(self) -> Sequence[Law]:
        """Compute the laws."""
        return self.compute()


def states(*sources: str) -> Callable[[Computation], Check]:
    """Declare a computation of laws, with the sources in which they stand.

    >>> @states("lecture §1")
    ... def sums() -> Sequence[Law]:
    ...     '''Add ones.'''
    ...     return [equal("1 + 1 = 2", "lecture §1", 1 + 1, 2, 0)]
    >>> sums.title, sums.sources, sums()[0].holds
    ('Add ones', ('lecture §1',), True)
    """
    return lambda compute: Check(compute, sources)


def equal(name: str, source: str, measured: float, expected: float, tolerance: float) -> Law:
    """State that two numbers are the same."""
    return Law(name, source, float(measured), float(expected), tolerance)


def at_most(name: str, source: str, measured: float, limit: float, tolerance: float = 0.0) -> Law:
    """State that a number does not exceed a limit."""
    return Law(name, source, float(measured), float(limit), tolerance, "<=")


def has_laws(
    registry: Registry[Any], sources: Collection[str], page: str, source: str
) -> list[Law]:
    """State of each entry of a registry that a page has its laws; what has none fails by its name.

    Arguments:
        registry: The entries.
        sources: Names of those whose laws the page states.
        page: The page, from the package's folder on.
        source: Where the laws come from.
    """
    return [
        equal(f"{name}: its laws are written in {page}", source, 1, 1, 0)
        if name in sources
        else equal(f"{registry.where(name)} has no law; write it in {page}", source, 0, 1, 0)
        for name in registry
    ]
