"""A graph as a file tells it: a number of nodes, a list of edges, and what was left out of it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Fault", "Plain", "Unreadable", "first_line", "named", "of_network", "plain", "text_of"]


class Unreadable(Exception):
    """A file, or a graph in it, cannot be used; says why."""


@dataclass(frozen=True)
class Fault:
    """A part of a file that cannot be used, beside others that can."""

    location: str
    """Where in the file, such as 'line 3'."""
    reason: str


@dataclass(frozen=True)
class Plain:
    """A graph as a list of edges, and what was left out of it."""

    nodes: int
    edges: np.ndarray
    """[E, 2] int64, each edge once, no self-loops."""
    loops: int = 0
    parallel: int = 0
    is_directed: bool = False
    is_weighted: bool = False


def plain(
    nodes: int,
    pairs: Iterable[Sequence[int]],
    *,
    is_directed: bool = False,
    is_weighted: bool = False,
) -> Plain:
    """Make a graph of pairs of nodes 0 … nodes - 1; loops and repetitions are counted.

    The two directions of an edge are one edge and no repetition: many files list both.

    >>> one = plain(3, [(0, 1), (1, 0), (0, 1), (2, 2)])
    >>> one.edges.tolist(), one.loops, one.parallel
    ([[0, 1]], 1, 1)
    """
    ends = np.asarray(list(pairs), dtype=np.int64).reshape(-1, 2)
    loops = ends[:, 0] == ends[:, 1]
    ends = ends[~loops]
    # A pair is one number, for rows take numpy ten times as long to sort.
    unique_edges = np.unique(ends.min(axis=1) * nodes + ends.max(axis=1))
    repeated = len(ends) - len(np.unique(ends[:, 0] * nodes + ends[:, 1]))
    unique_ends = np.stack(np.divmod(unique_edges, max(1, nodes)), axis=1)
    return Plain(nodes, unique_ends, int(loops.sum()), repeated, is_directed, is_weighted)


def named(
    names: Sequence[Hashable],
    pairs: Iterable[tuple[Hashable, Hashable]],
    *,
    is_directed: bool = False,
    is_weighted: bool = False,
) -> Plain:
    """Make a graph of nodes with names, and pairs of these.

    Raises:
        Unreadable: There are no nodes, two have one name, or an edge ends where there is none.
    """
    index = {name: i for i, name in enumerate(names)}
    if not names:
        raise Unreadable("an empty graph")
    if len(index) < len(names):
        twice = next(name for i, name in enumerate(names) if index[name] != i)
        raise Unreadable(f"two nodes have the id {_quoted(twice)}")
    try:
        ends = [(index[a], index[b]) for a, b in pairs]
    except KeyError as error:
        name = error.args[0]
        raise Unreadable(f"an edge ends at node {_quoted(name)}, which is not there") from None
    return plain(len(index), ends, is_directed=is_directed, is_weighted=is_weighted)


def of_network(network: Any) -> Plain:  # noqa: ANN401
    """Take a networkx graph of any kind.

    Raises:
        Unreadable: It has no nodes.
    """
    edges = list(network.edges(data=True))
    return named(
        list(network),
        [(a, b) for a, b, _ in edges],
        is_directed=network.is_directed(),
        is_weighted=any("weight" in attributes for *_, attributes in edges),
    )


def text_of(path: Path) -> str:
    """Return the text of a file: UTF-8, with or without its mark.

    Raises:
        Unreadable: It is no text.
    """
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise Unreadable("it is no text in UTF-8") from None


def first_line(error: Exception) -> str:
    """Return the first words of an error, without its full stop."""
    return ((str(error).splitlines() or [type(error).__name__])[0][:80]).rstrip(".")


def _quoted(name: Hashable) -> str:
    return f"'{str(name)[:40]}'"
