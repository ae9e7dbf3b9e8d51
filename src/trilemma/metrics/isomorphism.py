"""Which graphs are the same but for the order of their nodes: by a hash, then exactly.

Graphs of different colour hashes (`maths.refinement`) differ. Those of equal hashes are compared
exactly by networkx's VF2++ (Jüttner & Madarasi, "VF2++ - An improved subgraph isomorphism
algorithm", 2018), each with one of each kind found before.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from trilemma.core.graph import edges, sizes
from trilemma.maths.refinement import colour_hash

__all__ = ["Kinds"]


class Kinds:
    """Gives graphs numbers: the same number to those that are the same but for their order."""

    def __init__(self) -> None:
        self.count = 0
        self._known: dict[int, list[tuple[int, Any]]] = {}

    def of(self, x: Tensor) -> list[int]:
        """Return the kind of each graph, [B, N, N], new ones being counted on.

        >>> from trilemma.core.graph import graph, stacked
        >>> path, star = graph(3, [(0, 1), (1, 2)]), graph(3, [(2, 0), (2, 1)])
        >>> Kinds().of(stacked([path, graph(3, [(0, 1)]), star]))
        [0, 1, 0]
        """
        return [self._kind(h, one) for h, one in zip(colour_hash(x).tolist(), x, strict=True)]

    def _kind(self, colour: int, x: Tensor) -> int:
        import networkx

        network = _network(x)
        alike = self._known.setdefault(colour, [])
        for kind, other in alike:
            if networkx.vf2pp_is_isomorphic(network, other):
                return kind
        alike.append((self.count, network))
        self.count += 1
        return self.count - 1


def _network(x: Tensor) -> Any:  # noqa: ANN401
    import networkx

    network = networkx.empty_graph(int(sizes(x)))
    network.add_edges_from(edges(x).tolist())
    return network
