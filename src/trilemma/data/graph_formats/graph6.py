"""graph6 and sparse6: a graph a line, in printable characters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from trilemma.data.plain_graph import Fault, Plain, Unreadable, first_line, of_network

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
        form = "sparse6" if code.startswith(b":") else "graph6"
        try:
            yield of_network(getattr(networkx, f"from_{form}_bytes")(code))
        except Unreadable as error:
            yield Fault(f"line {number}", str(error))
        except (ValueError, networkx.NetworkXError, IndexError) as error:
            yield Fault(f"line {number}", f"it is no {form} ({first_line(error)})")


READERS = {".g6": graph6, ".s6": graph6}
