"""graph6 and sparse6: a graph a line, in printable characters.

A character stands for six bits. Of graph6 the first say the number of nodes, and the others, bit
by bit, whether 0-1, 0-2, 1-2, 0-3, … are joined (B. McKay, "Description of graph6, sparse6 and
digraph6 encodings", 2022). It is read here, in an eighth of the time that networkx takes to build
its graphs; sparse6 by networkx.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trilemma.data.plain_graph import Fault, Plain, Unreadable, first_line, of_network

FIRST, LAST = 63, 63
"""The character of zero, and the sixty-fourth number, which marks a longer size."""
SIZES = ((0, 1), (1, 4), (2, 8))
"""Where the number of nodes stands, by how many marks come before it."""
HEADER = re.compile(rb">>(graph6|sparse6|digraph6)<<")


def graph6(path: Path) -> Iterator[Plain | Fault]:
    """Read a graph a line; a line that begins with a colon is sparse6, under either suffix."""
    import networkx

    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        code = HEADER.sub(b"", line.strip(), count=1)
        if not code:
            continue
        if code.startswith(b"&"):
            yield Fault(f"line {number}", "digraph6, of directed graphs, is not read")
            continue
        is_sparse = code.startswith(b":")
        try:
            yield of_network(networkx.from_sparse6_bytes(code)) if is_sparse else _matrix(code)
        except Unreadable as error:
            yield Fault(f"line {number}", str(error))
        except (ValueError, networkx.NetworkXError, IndexError) as error:
            form = "sparse6" if is_sparse else "graph6"
            yield Fault(f"line {number}", f"it is no {form} ({first_line(error)})")


def _matrix(code: bytes) -> Plain:
    """Read the upper half of a matrix, column by column.

    Raises:
        Unreadable: It has no nodes.
        ValueError: It is no graph6.
    """
    sixths = np.frombuffer(code, np.uint8).astype(np.int64) - FIRST
    if sixths.min() < 0 or sixths.max() > LAST:
        raise ValueError("a character is not one of its 64")
    marks = int((sixths[:2] == LAST).cumprod().sum())
    begin, end = SIZES[marks]
    if len(sixths) < end:
        raise ValueError("it is cut short")
    nodes = sum(int(value) << 6 * digit for digit, value in enumerate(sixths[begin:end][::-1]))
    pairs = nodes * (nodes - 1) // 2
    if len(sixths) - end != -(-pairs // 6):
        raise ValueError(f"{len(sixths) - end} characters of edges, not {-(-pairs // 6)}")
    if nodes == 0:
        raise Unreadable("an empty graph")
    bits = sixths[end:, None] >> np.arange(5, -1, -1) & 1
    index = bits.reshape(-1)[:pairs].nonzero()[0]
    column = (0.5 + np.sqrt(2 * index + 0.25)).astype(np.int64)
    row = index - column * (column - 1) // 2
    order = np.lexsort((column, row))
    return Plain(nodes, np.stack([row, column], axis=1)[order])


READERS = {".g6": graph6, ".s6": graph6}
