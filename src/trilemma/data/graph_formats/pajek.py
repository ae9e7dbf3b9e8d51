"""Pajek's .net, which igraph, Gephi and networkx write too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trilemma.data.plain_graph import Fault, Plain, Unreadable, plain

NODES, EDGES = "*vertices", ("*edges", "*arcs")
LISTS = ("*edgeslist", "*arcslist")


def pajek(path: Path) -> Iterator[Plain | Fault]:
    """Read one graph: its nodes are numbers from 1, whatever their names."""
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    section, count, pairs = "", 0, []
    is_directed = is_weighted = False
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("%"):
            continue
        if words[0].startswith("*"):
            section = words[0].lower()
            if section == NODES and len(words) > 1 and words[1].isdecimal():
                count = int(words[1])
            is_directed |= section.startswith("*arcs")
        elif section in EDGES + LISTS:
            targets = words[1:2] if section in EDGES else words[1:]
            is_weighted |= section in EDGES and words[2:3] not in ([], ["1"], ["1.0"])
            pairs += [(_row(words[0], count, number), _row(w, count, number)) for w in targets]
    if not count:
        raise Unreadable("it has no line '*Vertices N' with nodes")
    yield plain(count, pairs, is_directed=is_directed, is_weighted=is_weighted)


def _row(word: str, count: int, number: int) -> int:
    if not (word.isdecimal() and 1 <= int(word) <= count):
        raise Unreadable(f"line {number} names node '{word[:20]}', and there are 1 … {count}")
    return int(word) - 1


READERS = {".net": pajek}
