"""Lines of edges, as SNAP, networkx, igraph (NCOL) and Cytoscape (SIF) write them; MatrixMarket.

.edges .edgelist .ncol   a line an edge: two nodes, perhaps a weight; # and % begin comments
.mtx                     a square matrix in the form of MatrixMarket, known by its first line
                         under any of these suffixes
.sif                     a line a node, a kind of edge, and the nodes that it leads to
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trilemma.data.plain_graph import Fault, Plain, Unreadable, first_line, named, plain, text_of

MATRIX = "%%MatrixMarket"
NUMBER = re.compile(r"[-+]?\d{1,18}")
SEPARATOR, COMMENT = re.compile(r"[\s,;]+"), re.compile(r"[#%]")


def edge_list(path: Path) -> Iterator[Plain | Fault]:
    """Read a line an edge; all nodes are numbers, or names without spaces."""
    text = text_of(path)
    if text.startswith(MATRIX):
        yield _matrix(path)
        return
    pairs, weighted = [], 0
    for number, line in enumerate(text.splitlines(), 1):
        words = SEPARATOR.split(COMMENT.split(line, maxsplit=1)[0].strip())
        if words == [""]:
            continue
        if len(words) < 2:
            raise Unreadable(f"line {number} has one node, and an edge has two")
        pairs.append((number, words[0], words[1]))
        # What networkx writes without attributes is an empty dictionary.
        weighted += len(words) > 2 and words[2] != "{}"
    if len(pairs) > 1 and not _numbered(pairs[0]) and all(map(_numbered, pairs[1:])):
        yield Fault(f"line {pairs[0][0]}", "a heading")
        del pairs[0]
    if not pairs:
        raise Unreadable("an empty graph")
    names = dict.fromkeys(name for _, *ends in pairs for name in ends)
    if all(map(_numbered, pairs)):
        yield named(
            sorted({int(name) for name in names}),
            [(int(a), int(b)) for _, a, b in pairs],
            is_weighted=weighted > 0,
        )
        return
    yield named(list(names), [(a, b) for _, a, b in pairs], is_weighted=weighted > 0)


def _numbered(pair: tuple[int, str, str]) -> bool:
    return all(NUMBER.fullmatch(word) for word in pair[1:])


def _matrix(path: Path) -> Plain:
    """Read a matrix in the form of MatrixMarket, of which what is stored is an edge."""
    from scipy.io import mmread
    from scipy.sparse import coo_array

    heading = text_of(path).splitlines()[0].lower().split()
    try:
        matrix: Any = coo_array(mmread(path))
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        raise Unreadable(f"it is cut short or damaged ({first_line(error)})") from None
    rows, columns = matrix.shape
    if rows != columns:
        raise Unreadable(f"its matrix has {rows:,} rows and {columns:,} columns, not as many")
    return plain(
        rows,
        zip(matrix.row.tolist(), matrix.col.tolist(), strict=True),
        is_directed="general" in heading,
        is_weighted="pattern" not in heading,
    )


def matrix_market(path: Path) -> Iterator[Plain | Fault]:
    """Read a square matrix in the form of MatrixMarket."""
    if not text_of(path).startswith(MATRIX):
        raise Unreadable(f"its first line does not begin with {MATRIX}")
    yield _matrix(path)


def simple_interactions(path: Path) -> Iterator[Plain | Fault]:
    """Read Cytoscape's lines: a node, a kind of edge, nodes; a node alone has no edge."""
    names: dict[str, None] = {}
    pairs = []
    for number, line in enumerate(text_of(path).splitlines(), 1):
        words = line.strip().split("\t") if "\t" in line else line.split()
        if not line.strip():
            continue
        if len(words) == 2:
            raise Unreadable(f"line {number} has a node and a kind of edge, and no other node")
        source, *targets = [words[0], *words[2:]]
        names |= dict.fromkeys([source, *targets])
        pairs += [(source, target) for target in targets]
    yield named(list(names), pairs)


READERS = {
    ".edges": edge_list,
    ".edgelist": edge_list,
    ".ncol": edge_list,
    ".mtx": matrix_market,
    ".sif": simple_interactions,
}
