"""Graphs in files: the forms that `graph_files` reads.

A list of edges knows no node without one; where there is such a node, GraphML, GML, JSON or graph6
is wanted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.graph import adjacency, edges, sizes

__all__ = ["MANY", "SINGLE", "check_form", "network", "write"]

SINGLE = (".edges", ".edgelist", ".graphml", ".gml")
"""Forms of a file that holds one graph."""
MANY = (".g6", ".json")
"""Forms of a file that holds any number of graphs."""


def network(x: Tensor) -> Any:  # noqa: ANN401
    """Return one graph as networkx's."""
    import networkx

    nx_graph = networkx.empty_graph(int(sizes(x)))
    nx_graph.add_edges_from(edges(x).tolist())
    return nx_graph


def check_form(form: str, name: str, count: int) -> None:
    """Refuse a form that cannot hold so many graphs.

    Arguments:
        form: Suffix of the file.
        name: Name of the file.
        count: How many graphs.

    Raises:
        BadInput: It holds one, and several are asked for.
    """
    if form in SINGLE and count != 1:
        raise BadInput(
            f"'{name}' is a {form} file, which holds one graph, and {count} were asked for; give "
            "-n 1, a .g6 or .json file, or a name without suffix for a folder with a file each."
        )


def write(x: Tensor, path: Path, form: str) -> None:
    """Write graphs to a file.

    Arguments:
        x: [B, N, N].
        path: Where.
        form: One of `SINGLE` or `MANY`.

    Raises:
        BadInput: The form cannot hold so many graphs, or not a node without an edge.
    """
    import networkx

    check_form(form, path.name, len(x))
    graphs = [network(one) for one in x]
    if form == ".g6":
        lines = [networkx.to_graph6_bytes(one, header=False) for one in graphs]
        path.write_bytes(b"".join(lines))
    elif form == ".json":
        path.write_text(json.dumps([networkx.node_link_data(g, edges="edges") for g in graphs]))
    elif form == ".graphml":
        networkx.write_graphml(graphs[0], path)
    elif form == ".gml":
        networkx.write_gml(graphs[0], path)
    else:
        n = int(sizes(x[0]))
        if bool((adjacency(x[0])[:n].sum(1) == 0).any()):
            raise BadInput(
                f"the graph has a node without an edge, which a {form} file cannot hold; use "
                ".graphml, .gml, .json or .g6."
            )
        path.write_text("".join(f"{a} {b}\n" for a, b in edges(x[0]).tolist()))
