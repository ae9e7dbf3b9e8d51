"""XML of nodes and edges: GraphML (networkx, igraph, yEd), GEXF (Gephi), XGMML (Cytoscape).

All three have `node` elements with an `id` and `edge` elements with `source` and `target`, under a
`graph`; attributes, of which files often declare the wrong ones, are looked at only for weights
and directions. Nothing outside the file is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from trilemma.data.plain_graph import Fault, Plain, Unreadable, first_line, named


def markup(path: Path) -> Iterator[Plain | Fault]:
    """Read the graphs of a file, one after another."""
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise Unreadable(f"it is cut short or damaged ({first_line(error)})") from None
    weights = {
        key.get("id")
        for key in _below(root, "key")[0]
        if key.get("attr.name", key.get("id")) == "weight"
    }
    graphs = _outermost(root)
    if not graphs:
        raise Unreadable("it has no graph element")
    for number, one in enumerate(graphs, 1):
        try:
            yield _graph(one, weights | {"weight"})
        except Unreadable as error:
            if len(graphs) == 1:
                raise
            yield Fault(f"graph {number}", str(error))


def _below(element: Element, *tags: str) -> Sequence[list[Element]]:
    """Return the elements of each tag below one, whatever their namespace, itself included."""
    by_tag: dict[str, list[Element]] = {tag: [] for tag in tags}
    for one in element.iter():
        if (tag := one.tag.rpartition("}")[2]) in by_tag:
            by_tag[tag].append(one)
    return list(by_tag.values())


def _outermost(root: Element) -> list[Element]:
    """Return the graphs that lie in no other: a nested one's nodes are the outer one's too."""
    graphs, waiting = [], [root]
    while waiting:
        one = waiting.pop()
        if one.tag.rpartition("}")[2] == "graph":
            graphs.append(one)
        else:
            waiting += reversed(one)
    return graphs


def _graph(graph: Element, weights: set[str | None]) -> Plain:
    nodes, edges, hyperedges = _below(graph, "node", "edge", "hyperedge")
    if hyperedges:
        raise Unreadable("it has edges of more than two nodes")
    for number, node in enumerate(nodes, 1):
        if node.get("id") is None:
            raise Unreadable(f"node {number} has no id")
    pairs = []
    for number, edge in enumerate(edges, 1):
        source, target = edge.get("source"), edge.get("target")
        if source is None or target is None:
            raise Unreadable(f"edge {number} has no source or no target")
        pairs.append((source, target))
    return named(
        [node.get("id") for node in nodes],
        pairs,
        is_directed=any(map(_is_directed, [graph, *edges])),
        is_weighted=any(
            edge.get("weight") is not None
            or any(data.get("key", data.get("name")) in weights for data in edge)
            for edge in edges
        ),
    )


def _is_directed(element: Element) -> bool:
    """Tell whether an edge, or by default every edge of a graph, has a direction."""
    words = (element.get(name) for name in ("edgedefault", "defaultedgetype", "type"))
    return "directed" in words or element.get("directed") in ("1", "true")


READERS = {".graphml": markup, ".gexf": markup, ".xgmml": markup}
