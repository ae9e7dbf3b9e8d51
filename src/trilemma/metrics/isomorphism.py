"""Which graphs are the same but for the order of their nodes: by a hash, then exactly.

Graphs whose refined colours differ (`maths.canonical`) differ. Graphs that are equal matrices in
canonical order are the same. What neither settles is compared exactly by networkx's VF2++, with
one of each kind found before.

Reference:
    VF2++ - An improved subgraph isomorphism algorithm (Jüttner & Madarasi, 2018)
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from trilemma.core.graph import edges, reordered, sizes
from trilemma.maths.canonical import canonical

__all__ = ["Kinds"]


class Kinds:
    """Gives graphs numbers: the same number to those that are the same but for their order."""

    def __init__(self) -> None:
        self.count = 0
        self._by_form: dict[tuple[int, bytes], int] = {}
        self._alike: dict[int, list[tuple[int, Tensor]]] = {}

    def of(self, x: Tensor) -> list[int]:
        """Return the kind of each graph, [B, N, N], new ones being counted on.

        >>> from trilemma.core.graph import graph, stacked
        >>> path, star = graph(3, [(0, 1), (1, 2)]), graph(3, [(2, 0), (2, 1)])
        >>> Kinds().of(stacked([path, graph(3, [(0, 1)]), star]))
        [0, 1, 0]
        """
        order, hashes = canonical(x)
        ordered = reordered(x, order)
        return [self._kind(h, one) for h, one in zip(hashes.tolist(), ordered, strict=True)]

    def _kind(self, colours: int, x: Tensor) -> int:
        form = int(sizes(x)), edges(x).short().numpy().tobytes()
        if form not in self._by_form:
            self._by_form[form] = self._found(colours, x)
        return self._by_form[form]

    def _found(self, colours: int, x: Tensor) -> int:
        """Return the kind of a form that was not seen before."""
        alike = self._alike.setdefault(colours, [])
        for kind, other in alike:
            if _same(x, other):
                return kind
        alike.append((self.count, x.clone()))
        self.count += 1
        return self.count - 1


def _same(x: Tensor, y: Tensor) -> bool:
    """Compare two graphs exactly."""
    import networkx

    return networkx.vf2pp_is_isomorphic(_network(x), _network(y))


def _network(x: Tensor) -> Any:  # noqa: ANN401
    import networkx

    network = networkx.empty_graph(int(sizes(x)))
    network.add_edges_from(edges(x).tolist())
    return network
