"""GML, as networkx, igraph, Gephi and the collections of published networks write it.

Nodes are known by their `id`; labels, which many files lack, repeat or spell in other scripts, are
not looked at, nor is any other attribute but `directed`, and an edge's `weight` or `value`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from trilemma.data.plain_graph import Fault, Plain, Unreadable, named

TOKEN = re.compile(r'"[^"]*"|\[|\]|[^\s\[\]"]+')
Entry: TypeAlias = "tuple[str, str | list[Entry]]"


def gml(path: Path) -> Iterator[Plain | Fault]:
    """Read the graphs of a file, one after another."""
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    graphs = [value for key, value in _entries(text) if key == "graph" and isinstance(value, list)]
    if not graphs:
        raise Unreadable("it has no graph [ … ]")
    for number, one in enumerate(graphs, 1):
        try:
            yield _graph(one)
        except Unreadable as error:
            if len(graphs) == 1:
                raise
            yield Fault(f"graph {number}", str(error))


def _entries(text: str) -> list[Entry]:
    """Return keys with their values: words, or lists of the same."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    top: list[Entry] = []
    open_lists, key = [top], ""
    for token in TOKEN.findall("\n".join(lines)):
        if token == "]":
            if key or len(open_lists) == 1:
                raise Unreadable(f"it is cut short or damaged (']' after '{key or 'the end'}')")
            open_lists.pop()
        elif not key:
            if not re.fullmatch(r"[A-Za-z_]\S*", token):
                raise Unreadable(f"it is cut short or damaged ('{token[:20]}' where a key begins)")
            key = token
        elif token == "[":
            inner: list[Entry] = []
            open_lists[-1].append((key, inner))
            open_lists.append(inner)
            key = ""
        else:
            open_lists[-1].append((key, token.strip('"')))
            key = ""
    if key or len(open_lists) > 1:
        raise Unreadable("it is cut short or damaged (a list that does not end)")
    return top


def _graph(entries: list[Entry]) -> Plain:
    nodes = [dict(value) for key, value in entries if key == "node" and isinstance(value, list)]
    edges = [dict(value) for key, value in entries if key == "edge" and isinstance(value, list)]
    for kind, values, required in (
        ("node", nodes, ("id",)),
        ("edge", edges, ("source", "target")),
    ):
        for number, one in enumerate(values, 1):
            for word in required:
                if not isinstance(one.get(word), str):
                    raise Unreadable(f"{kind} {number} has no {word}")
    return named(
        [str(node["id"]) for node in nodes],
        [(str(edge["source"]), str(edge["target"])) for edge in edges],
        is_directed=dict(entries).get("directed") == "1",
        is_weighted=any("weight" in edge or "value" in edge for edge in edges),
    )


READERS = {".gml": gml}
