r"""Which graphs are the same but for the order of their nodes: decided exactly, within a budget.

Three steps, each of which sees only what the one before left open:

1. Equal matrices in canonical order (`maths.graphs.canonical`) are the same graph; different
   hashes of stable colours are different graphs. This settles nearly all but regular graphs.
2. Each node v in turn is *individualised*: it gets a colour of its own, and colours are refined to
   stability. With h(G, v) the hash of these colours,

       invariant(G) = sum_v f(h(G, v))        modulo 2^64

   is the same for graphs that are the same. It sees triangles, squares and distances of regular
   graphs, and tells all but few of them apart.
3. Where it is equal, too, nodes of the one graph are individualised one after another until all
   colours differ, and the other is searched, with backtracking, for nodes whose individualisation
   gives the same hashes. If phi maps the one graph to the other, the images of the nodes under phi
   are among those searched. So a search that ends without equal matrices proves that the
   graphs differ, and equal matrices prove that they are the same: both are exact.

A search takes time exponential in the number of nodes for some strongly regular graphs and those
of Cai, Fürer and Immerman. It ends after a number of individualisations, and the pair is counted
as undecided: never as the same.

References:
    | Practical graph isomorphism (McKay, 1981): individualisation and refinement
    | An optimal lower bound on the number of variables for graph identification (Cai, Fürer &
      Immerman, 1992)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from trilemma.maths.graphs.canonical import (
    canonical,
    edge_ends,
    first_tied,
    hash_of,
    refined,
    stable_colours,
)
from trilemma.maths.graphs.weisfeiler_lehman import SECOND, mixed

__all__ = ["IsomorphismClasses"]

BUDGET = 4096
"""Individualisations that deciding a graph takes at most."""
TOTAL = 2**16
"""Individualisations of all searches together at most."""
AT_ONCE = 2**16
"""Colours and ends of edges that are refined at once."""

Check = Callable[[], None]


class IsomorphismClasses:
    """Numbers graphs by isomorphism class: 0, 1, 2, … in the order in which classes appear.

    Arguments:
        budget: Individualisations that deciding one graph takes at most; a comparison with one
            class takes at most half of what is left of them.
        total: Individualisations of all searches at most, after which pairs are undecided.
    """

    def __init__(self, budget: int = BUDGET, total: int = TOTAL) -> None:
        self.budget, self._remaining, self.count, self._undecided = budget, total, 0, 0
        self._by_form: dict[tuple[int, bytes], int] = {}
        self._by_colours: dict[int, list[_Member]] = {}

    @property
    def undecided(self) -> int:
        """Return the number of pairs of classes that may be one, and were counted as two."""
        return self._undecided

    def of(self, x: UInt8[Tensor, "B N N"], check: Check | None = None) -> list[int]:
        """Return the class of each graph; graphs that are the same have the same.

        Arguments:
            x: Graphs whose nodes come first; the diagonal tells which are there.
            check: Called many times a second; raises to stop.

        >>> path = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 1, 1]], dtype=torch.uint8)
        >>> IsomorphismClasses().of(torch.stack([path, torch.ones_like(path), path.flip(0, 1)]))
        [0, 1, 0]
        """
        check = check or _go_on
        x = x.cpu()
        order, hashes = canonical(x, check)
        classes = []
        for graph, permutation, graph_hash in zip(x, order, hashes.tolist(), strict=True):
            check()
            n = int(graph.diagonal().sum())
            ordered = graph[permutation[:n]][:, permutation[:n]]
            form = n, ordered.triu(1).nonzero().short().numpy().tobytes()
            if form not in self._by_form:
                self._by_form[form] = self._class_of(_Member(ordered.clone()), graph_hash, check)
            classes.append(self._by_form[form])
        return classes

    def _class_of(self, member: _Member, colours: int, check: Check) -> int:
        """Return the class of a form that was not seen before."""
        alike = self._by_colours.setdefault(colours, [])
        remaining, open_pairs = min(self.budget, self._remaining), 0
        for candidate in alike:
            if member.invariant(self.budget, check) != candidate.invariant(self.budget, check):
                continue
            search = _Search(candidate, member, remaining // 2, check)
            same = search.run()
            remaining, self._remaining = remaining - search.spent, self._remaining - search.spent
            if same:
                return candidate.number
            open_pairs += same is None
        member.number = self.count
        alike.append(member)
        self.count, self._undecided = self.count + 1, self._undecided + open_pairs
        return member.number


def _go_on() -> None:
    """Check nothing."""


@dataclass
class _Member:
    """A graph, and what is known of it: computed when it is first needed."""

    x: UInt8[Tensor, "n n"]
    number: int = -1
    """Its class."""
    _invariant: int | None = None
    _colour: Tensor | None = None
    _path: list[tuple[Tensor, int]] = field(default_factory=list)

    @cached_property
    def ends(self) -> tuple[Tensor, Tensor]:
        """Return both ends of all edges, each twice."""
        return edge_ends(self.x[None])[1:]

    def colour(self) -> Int[Tensor, " n"]:
        """Return stable colours, nodes with the same neighbours being told apart."""
        if self._colour is None:
            self._colour = stable_colours(self.x[None])[0]
        return self._colour

    def individualised(
        self, colour: Int[Tensor, " n"], nodes: Int[Tensor, " c"], check: Check
    ) -> Iterator[tuple[Int[Tensor, "c n"], Int[Tensor, " c"]]]:
        """Yield, part by part, the stable colours once a node has its own, and their hashes."""
        first, second = self.ends
        for chunk in nodes.split(max(1, AT_ONCE // (len(colour) + len(first) + 1))):
            check()
            rows = torch.arange(len(chunk))
            colours = colour.repeat(len(chunk), 1)
            colours[rows, chunk] = mixed(colours[rows, chunk] + SECOND)
            shift = (rows * len(colour))[:, None]
            colours = refined(colours, (first + shift).flatten(), (second + shift).flatten())
            yield colours, hash_of(colours)

    def invariant(self, budget: int, check: Check) -> int:
        """Return the invariant of step 2; 0 for graphs of more nodes than the budget."""
        if self._invariant is None:
            self._invariant, nodes = 0, torch.arange(len(self.x))
            if len(nodes) <= budget:
                parts = self.individualised(self.colour(), nodes, check)
                total = torch.cat([torch.zeros(1).long(), *(mixed(h) for _, h in parts)]).sum()
                self._invariant = int(total)
        return self._invariant

    def path(self, check: Check) -> list[tuple[Tensor, int]]:
        """Return colours and hash after 0, 1, 2, … individualisations, until all differ."""
        if not self._path:
            colour = self.colour()
            path = [(colour, int(hash_of(colour[None])))]
            while len(colour.unique()) < len(colour):
                ((colours, hashes),) = self.individualised(colour, first_tied(colour[None]), check)
                colour = colours[0]
                path.append((colour, int(hashes)))
            self._path = path
        return self._path


class _Search:
    """Searches the target for the nodes that the source's individualised ones can be mapped to.

    Arguments:
        source: The graph whose path is followed.
        target: The graph that is searched.
        budget: Individualisations at most.
        check: Called before each part; raises to stop.
    """

    def __init__(self, source: _Member, target: _Member, budget: int, check: Check) -> None:
        self.source, self.target, self.budget, self.check = source, target, budget, check
        self.path = source.path(check)
        self.spent = 0

    def run(self) -> bool | None:
        """Return whether the graphs are the same; None where the budget does not tell."""
        colour = self.target.colour()
        if len(colour) != len(self.path[0][0]) or int(hash_of(colour[None])) != self.path[0][1]:
            return False
        if len(self.path) == 1:
            return self._same_matrix(colour)
        levels = [self._children(colour, 0)]
        while levels:
            child = next(levels[-1], None)
            if child is None:
                levels.pop()
            elif len(levels) == len(self.path) - 1:
                if self._same_matrix(child):
                    return True
            else:
                levels.append(self._children(child, len(levels)))
            if self.spent > self.budget:
                return None
        return False

    def _children(self, colour: Tensor, level: int) -> Iterator[Tensor]:
        """Yield colours after an individualisation that have the hash of the path's."""
        path_colour = self.path[level][0]
        node = first_tied(path_colour[None])
        candidates = (colour == path_colour[node]).nonzero()[:, 0]
        for colours, hashes in self.target.individualised(colour, candidates, self.check):
            self.spent += len(colours)
            if self.spent > self.budget:
                return
            yield from colours[hashes == self.path[level + 1][1]]

    def _same_matrix(self, colour: Tensor) -> bool:
        """Compare the matrices with their nodes in the order of colours, which all differ."""
        a, b = self.path[-1][0].argsort(), colour.argsort()
        return torch.equal(self.source.x[a][:, a], self.target.x[b][:, b])
