"""A user's own graphs, from files or one by one; what cannot be used is counted and named.

The forms are those of `graph_formats`. What these can say and a graph here cannot is said:
directions and weights are left out, self-loops dropped, parallel edges taken for one. A graph that
cannot be used costs its own place, not the file's, and a file not the folder's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trilemma.core import words
from trilemma.core.errors import BadInput
from trilemma.core.graph import graph
from trilemma.data.below import OWN, paths_below
from trilemma.data.graph_formats import FORMS
from trilemma.data.graph_formats.edge_lists import edge_list
from trilemma.data.images import SUFFIXES
from trilemma.data.pictures import Progress, printable
from trilemma.data.plain_graph import Fault, Plain, Unreadable, of_network

__all__ = [
    "LARGEST",
    "GraphContents",
    "dense",
    "is_graphs",
    "of_networks",
    "read",
    "read_graphs",
    "usable",
]

LARGEST = 2000
"""Nodes of a graph at most: its matrix has their square."""


@dataclass
class GraphContents:
    """What a file or a folder holds."""

    graphs: list[Plain] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    files: int = 0
    unreadable: dict[str, list[str]] = field(default_factory=dict)
    """Files, or places in files, by reason."""

    def lacks(self, name: str, reason: str) -> None:
        """Note that something cannot be used, and why."""
        self.unreadable.setdefault(printable(reason), []).append(name)

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
        return words.left_out(self.unreadable)


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
    suffix_counts = Counter(p.suffix.lower() for p in paths_below(path))
    image_count = sum(suffix_counts[suffix] for suffix in SUFFIXES)
    graph_count = sum(suffix_counts[suffix] for suffix in FORMS if suffix != ".json")
    if image_count and graph_count:
        raise BadInput(
            f"'{printable(path.resolve().name)}' holds {image_count} images and {graph_count} "
            "files of graphs; give a folder that holds one of the two."
        )
    return bool(graph_count or (suffix_counts[".json"] and not image_count))


def read_graphs(path: Path, progress: Progress | None = None) -> GraphContents:
    """Read all graphs of a file, or of the files in a folder and below it.

    Raises:
        BadInput: It is one file, and that cannot be used.
    """
    files: Sequence[Path] = [path]
    own: list[str] = []
    if path.is_dir():
        files = [p for p in paths_below(path, own) if p.suffix.lower() in FORMS]
    contents = GraphContents(files=len(files))
    for folder in own:
        contents.lacks(printable(folder), OWN)
    for processed, file in enumerate(files, 1):
        name = printable(str(file.relative_to(path)) if path.is_dir() else file.name)
        try:
            _read_file(file, name, contents)
        except Unreadable as error:
            if not path.is_dir():
                raise BadInput(f"'{name}' cannot be used: {printable(str(error))}.") from None
            contents.lacks(name, str(error))
        if progress is not None:
            progress(processed, len(files))
    return contents


def _read_file(file: Path, name: str, contents: GraphContents) -> None:
    """Add a file's graphs, and what of it cannot be used.

    Raises:
        Unreadable: There is no graph in it.
    """
    faults: list[Fault] = []
    first = len(contents.graphs)
    try:
        for one in FORMS.get(file.suffix.lower(), edge_list)(file):
            if isinstance(one, Fault):
                faults.append(one)
            else:
                number = len(contents.graphs) - first
                contents.graphs.append(one)
                contents.names.append(f"{name} {number + 1}" if number else name)
    except OSError as error:
        raise Unreadable(f"it cannot be read ({type(error).__name__})") from None
    if len(contents.graphs) == first and len(faults) < 2:
        raise Unreadable(
            f"{faults[0].location}: {faults[0].reason}" if faults else "an empty graph"
        )
    for fault in faults:
        contents.lacks(f"{name} {fault.location}", fault.reason)


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


def of_networks(networks: Sequence[Any], name: str) -> GraphContents:
    """Take networkx graphs of any kind.

    Raises:
        BadInput: One is empty, a single node, or too large.
    """
    contents = GraphContents()
    for number, network in enumerate(networks, 1):
        try:
            one = of_network(network)
        except Unreadable as error:
            raise BadInput(f"graph {number} of '{name}' cannot be used: {error}.") from None
        if reason := _useless(one):
            raise BadInput(f"graph {number} of '{name}' cannot be used: {reason}.")
        contents.graphs.append(one)
    return contents


def usable(contents: GraphContents) -> GraphContents:
    """Leave out graphs of which no model learns: single nodes, and too large for a matrix."""
    usable_contents = GraphContents(files=contents.files)
    usable_contents.unreadable = {
        reason: list(names) for reason, names in contents.unreadable.items()
    }
    for name, one in zip(contents.names, contents.graphs, strict=True):
        if reason := _useless(one):
            usable_contents.lacks(name, reason)
        else:
            usable_contents.graphs.append(one)
            usable_contents.names.append(name)
    return usable_contents


def _useless(one: Plain) -> str:
    if one.nodes < 2:
        return "a single node"
    if one.nodes > LARGEST:
        return (
            f"more than {LARGEST:,} nodes, whose neighbourhoods could be taken by --ego-radius R"
        )
    return ""
