"""Forms of files that hold graphs, a file a family of forms; all are read into `plain_graph`.

Each file says by `READERS` which suffixes it reads, and by which function: from a path to graphs
and faults, one after another. A file as a whole that cannot be used is an `Unreadable`; a part of
it is a `Fault`, and the others are used. What a form says and a graph here cannot is counted in
the `Plain`: directions, weights, self-loops, parallel edges. Begin with `edge_lists.py`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path

from trilemma.data.plain_graph import Fault, Plain
from trilemma.registry import Registry

__all__ = ["FORMS", "Reader"]

Reader = Callable[[Path], Iterator[Plain | Fault]]

FORMS: Registry[Reader] = Registry("form of a file of graphs")
"""By suffix."""

for module in sorted(one.name for one in pkgutil.iter_modules(__path__)):
    for suffix, reader in importlib.import_module(f"{__name__}.{module}").READERS.items():
        FORMS[suffix] = reader
