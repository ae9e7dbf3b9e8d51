"""JSON: node-link data, as networkx and d3 have it, one or a list; Cytoscape's elements."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trilemma.data.plain_graph import Fault, Plain, Unreadable, first_line, named, text_of

NO_GRAPH = "it is no node-link data, with 'nodes' and 'edges'"


def node_links(path: Path) -> Iterator[Plain | Fault]:
    """Read one graph, or a list of graphs."""
    try:
        document = json.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is cut short or damaged ({first_line(error)})") from None
    graphs = document if isinstance(document, list) else [document]
    for number, one in enumerate(graphs, 1):
        try:
            yield _graph(one)
        except Unreadable as error:
            if not isinstance(document, list):
                raise
            yield Fault(f"graph {number}", str(error))


def _graph(document: object) -> Plain:
    if not isinstance(document, dict):
        raise Unreadable(NO_GRAPH)
    spelt: Callable[[Any], str] = json.dumps  # ids may be lists, which have no hash
    if isinstance(elements := document.get("elements"), dict):
        spelt = str  # an edge may name by a number what a node names by its digits
        nodes, edges = (_data(elements.get(key, [])) for key in ("nodes", "edges"))
    else:
        nodes = document.get("nodes")
        edges = document.get("edges", document.get("links"))
    if not (isinstance(nodes, list) and isinstance(edges, list)):
        raise Unreadable(NO_GRAPH)
    if not all(isinstance(one, dict) for one in [*nodes, *edges]):
        raise Unreadable(NO_GRAPH)
    if not all("source" in edge and "target" in edge for edge in edges):
        raise Unreadable("an edge has no source or no target")
    return named(
        # Where there are no ids, edges count from 0.
        [spelt(node.get("id", number)) for number, node in enumerate(nodes)],
        [(spelt(edge["source"]), spelt(edge["target"])) for edge in edges],
        is_directed=document.get("directed") is True,
        is_weighted=any("weight" in edge for edge in edges),
    )


def _data(elements: object) -> list[Any]:
    """Return the `data` of Cytoscape's elements."""
    if not isinstance(elements, list):
        raise Unreadable(NO_GRAPH)
    return [one.get("data") if isinstance(one, dict) else one for one in elements]


READERS = {".json": node_links, ".cyjs": node_links}
