"""A user's own graphs: files of edges, GraphML, GML, node-link JSON and graph6, or one by one.

    .edges .edgelist   a graph: a line an edge, two whole numbers, perhaps a weight; # comments
    .graphml .gml      a graph
    .json              a graph as node-link data, or a list of such
    .g6                a graph a line

What these can say and a graph here cannot is said: directions and weights are left out, self-loops
dropped, parallel edges taken for one. What cannot be read is named with its reason.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.graph import graph
from trilemma.data.images import SUFFIXES
from trilemma.data.pictures import Progress, printable

__all__ = [
    "FORMS",
    "LARGEST",
    "GraphContents",
    "Plain",
    "dense",
    "is_graphs",
    "is_seen",
    "of_networks",
    "plain",
    "read",
    "read_graphs",
    "too_large",
]

LARGEST = 2000
"""Nodes of a graph at most: its matrix has their square."""


class Unreadable(Exception):
    """A file holds no graph that can be used; says why."""


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


@dataclass
class GraphContents:
    """What a file or a folder holds."""

    graphs: list[Plain] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    files: int = 0
    unreadable: dict[str, list[str]] = field(default_factory=dict)
    """Files, or places in files, by reason."""

    def notes(self) -> list[str]:
        """Say what was left out of the graphs."""
        sentences = []
        loops = [g.loops for g in self.graphs if g.loops]
        parallel = [g.parallel for g in self.graphs if g.parallel]
        if loops:
            sentences.append(f"self-loops dropped: {sum(loops)} in {_graphs(len(loops))}")
        if parallel:
            sentences.append(
                f"parallel edges taken for one: {sum(parallel)} in {_graphs(len(parallel))}"
            )
        for what, count in (
            ("directed", sum(g.is_directed for g in self.graphs)),
            ("weighted", sum(g.is_weighted for g in self.graphs)),
        ):
            if count:
                sentences.append(f"{what} in the file and taken for un{what}: {_graphs(count)}")
        return sentences + self.left_out()

    def left_out(self) -> list[str]:
        """Say which files could not be used, by reason."""
        sentences = []
        for reason, names in self.unreadable.items():
            examples = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            sentences.append(f"left out, {reason} ({len(names)}): {examples}")
        return sentences


def _graphs(count: int) -> str:
    return f"{count} graph{'s' * (count != 1)}"


def is_graphs(path: Path) -> bool:
    """Tell whether a file, or the files in a folder, are graphs.

    A .json file beside images says something of them, as it does in many albums.

    Raises:
        BadInput: A folder holds images and files that can only be graphs.
    """
    if not path.is_dir():
        return path.suffix.lower() in FORMS
    suffix_counts = Counter(p.suffix.lower() for p in path.rglob("*") if is_seen(p, path))
    image_count = sum(suffix_counts[suffix] for suffix in SUFFIXES)
    graph_count = sum(suffix_counts[suffix] for suffix in FORMS if suffix != ".json")
    if image_count and graph_count:
        raise BadInput(
            f"'{printable(path.resolve().name)}' holds {image_count} images and {graph_count} "
            "files of graphs; give a folder that holds one of the two."
        )
    return bool(graph_count or (suffix_counts[".json"] and not image_count))


def is_seen(path: Path, under: Path) -> bool:
    """Tell whether a path is a file of which no part below a folder is hidden."""
    return path.is_file() and not any(
        part.startswith(".") for part in path.relative_to(under).parts
    )


def read_graphs(path: Path, progress: Progress | None = None) -> GraphContents:
    """Read all graphs of a file, or of the files in a folder and below it.

    Raises:
        BadInput: It is one file, and that cannot be used.
    """
    files = [path]
    if path.is_dir():
        all_files = sorted(p for p in path.rglob("*") if is_seen(p, path))
        files = [p for p in all_files if p.suffix.lower() in FORMS]
    contents = GraphContents(files=len(files))
    for processed, file in enumerate(files, 1):
        name = printable(str(file.relative_to(path)) if path.is_dir() else file.name)
        try:
            for index, one in enumerate(_parsed(file)):
                contents.graphs.append(one)
                contents.names.append(f"{name} {index + 1}" if index else name)
        except Unreadable as error:
            if not path.is_dir():
                raise BadInput(f"'{name}' cannot be used: {error}.") from None
            contents.unreadable.setdefault(str(error), []).append(name)
        if progress is not None:
            progress(processed, len(files))
    return contents


def read(path: Path) -> Plain:
    """Read a file that holds one graph.

    Raises:
        BadInput: There is no such file, or it holds none or several.
    """
    if not path.is_file():
        raise BadInput(f"there is no file '{printable(str(path))}' with a graph.")
    if path.suffix.lower() not in FORMS:
        raise BadInput(
            f"'{printable(path.name)}' is no file of a graph; give one of {', '.join(FORMS)}."
        )
    graphs = read_graphs(path).graphs
    if len(graphs) != 1:
        raise BadInput(f"'{printable(path.name)}' holds {len(graphs)} graphs, and one was wanted.")
    return graphs[0]


def dense(one: Plain, limit: int | None = None) -> Tensor:
    """Return a graph as a matrix (`core.graph`)."""
    return graph(one.nodes, torch.from_numpy(one.edges), limit)


def plain(
    nodes: int,
    pairs: Iterable[Sequence[int]],
    *,
    is_directed: bool = False,
    is_weighted: bool = False,
) -> Plain:
    """Make a graph of pairs of nodes 0 … nodes - 1; loops and repetitions are counted.

    Of a directed graph the two directions of an edge are one edge and no repetition.

    >>> one = plain(3, [(0, 1), (1, 0), (2, 2)])
    >>> one.edges.tolist(), one.loops, one.parallel
    ([[0, 1]], 1, 1)
    """
    ends = np.asarray(list(pairs), dtype=np.int64).reshape(-1, 2)
    loops = ends[:, 0] == ends[:, 1]
    ends = ends[~loops]
    unique_edges = np.unique(np.sort(ends, axis=1), axis=0)
    repeated = len(np.unique(ends, axis=0)) if is_directed else len(unique_edges)
    return Plain(
        nodes, unique_edges, int(loops.sum()), len(ends) - repeated, is_directed, is_weighted
    )


def of_network(network: Any) -> Plain:  # noqa: ANN401
    """Take a networkx graph of any kind.

    Raises:
        Unreadable: It has fewer than two nodes.
    """
    if len(network) < 2:
        raise Unreadable("an empty graph" if not len(network) else "a single node")
    node_index = {node: i for i, node in enumerate(network)}
    edges = list(network.edges(data=True))
    return plain(
        len(node_index),
        ((node_index[a], node_index[b]) for a, b, _ in edges),
        is_directed=network.is_directed(),
        is_weighted=any("weight" in attributes for *_, attributes in edges),
    )


def of_networks(networks: Sequence[Any], name: str) -> GraphContents:
    """Take networkx graphs of any kind.

    Raises:
        BadInput: One is empty, a single node, or too large.
    """
    contents = GraphContents()
    for number, network in enumerate(networks, 1):
        try:
            contents.graphs.append(of_network(network))
        except Unreadable as error:
            raise BadInput(f"graph {number} of '{name}' cannot be used: {error}.") from None
    if problem := too_large(contents.graphs):
        raise BadInput(f"'{name}': {problem}")
    return contents


def _parsed(path: Path) -> list[Plain]:
    try:
        graphs = FORMS[path.suffix.lower()](path)
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"it cannot be read ({type(error).__name__})") from None
    if not graphs:
        raise Unreadable("an empty graph")
    return graphs


def _edges(path: Path) -> list[Plain]:
    """Read a line an edge."""
    pairs, weights = [], 0
    for number, line in enumerate(path.read_text("utf-8-sig").splitlines(), 1):
        words = re.split(r"[\s,;]+", re.split(r"[#%]", line, maxsplit=1)[0].strip())
        if words == [""]:
            continue
        if len(words) < 2:
            raise Unreadable(f"line {number} has one number, and an edge has two")
        if not all(re.fullmatch(r"-?\d{1,18}", word) for word in words[:2]):
            raise Unreadable(
                f"line {number} names its nodes '{printable(' '.join(words[:2]))}', and whole "
                "numbers were wanted"
            )
        pairs.append((int(words[0]), int(words[1])))
        weights += len(words) > 2
    if not pairs:
        return []
    names, ends = np.unique(np.array(pairs, dtype=np.int64), return_inverse=True)
    if len(names) < 2:
        raise Unreadable("a single node")
    return [plain(len(names), ends.reshape(-1, 2), is_weighted=weights > 0)]


def _networks(reads: str) -> Callable[[Path], list[Plain]]:
    """Return what reads one graph by a function of networkx."""

    def parse(path: Path) -> list[Plain]:
        import networkx

        try:
            if reads == "read_graphml":
                # The reader alone gives all graphs of a file; the function knows old headers.
                networks = list(networkx.GraphMLReader()(path=path))
                return [of_network(one) for one in networks or [networkx.read_graphml(path)]]
            return [of_network(getattr(networkx, reads)(path))]
        except (Unreadable, OSError):
            raise
        except Exception as error:
            # Parsers of markup raise whatever comes; the file is at fault, and says so.
            raise Unreadable(f"it is cut short or damaged ({_first_line(error)})") from None

    return parse


def _json(path: Path) -> list[Plain]:
    import networkx

    try:
        document = json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is cut short or damaged ({_first_line(error)})") from None
    graphs = []
    for number, one in enumerate(document if isinstance(document, list) else [document], 1):
        try:
            key = "edges" if "edges" in one else "links"
            graphs.append(of_network(networkx.node_link_graph(one, edges=key)))
        except (KeyError, TypeError, ValueError, AttributeError, networkx.NetworkXError) as error:
            raise Unreadable(
                f"graph {number} is no node-link data, with 'nodes' and 'edges' "
                f"({_first_line(error)})"
            ) from None
    return graphs


def _graph6(path: Path) -> list[Plain]:
    import networkx

    graphs = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        line = line.strip().removeprefix(b">>graph6<<")
        if not line:
            continue
        try:
            graphs.append(of_network(networkx.from_graph6_bytes(line)))
        except (ValueError, networkx.NetworkXError, IndexError) as error:
            raise Unreadable(f"line {number} is no graph6 ({_first_line(error)})") from None
    return graphs


def _first_line(error: Exception) -> str:
    """Return the first words of an error, without its full stop."""
    return printable((str(error).splitlines() or [type(error).__name__])[0][:80]).rstrip(".")


FORMS: dict[str, Callable[[Path], list[Plain]]] = {
    ".edges": _edges,
    ".edgelist": _edges,
    ".graphml": _networks("read_graphml"),
    ".gml": _networks("read_gml"),
    ".json": _json,
    ".g6": _graph6,
}


def too_large(graphs: Sequence[Plain]) -> str:
    """Say that a graph is too large for its matrix; nothing where none is."""
    most = max((g.nodes for g in graphs), default=0)
    if most <= LARGEST:
        return ""
    counts = Counter(g.nodes > LARGEST for g in graphs)
    return (
        f"{_graphs(counts[True])} of {len(graphs)} has more than {LARGEST:,} nodes (the largest "
        f"{most:,}); leave such out, or take neighbourhoods by --ego-radius R."
    )
