"""Lists recipes, data, metrics or laws."""

from __future__ import annotations

import argparse

from trilemma.commands.data import EXAMPLES, list_data
from trilemma.core.model import capabilities
from trilemma.data import sources
from trilemma.laws.book import library_laws, timed
from trilemma.metrics.registry import metrics
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.runs import untrained
from trilemma.terminal import as_json, table

__all__ = ["run"]

TOLD_IN_JSON = ("unit", "failure", "estimand")
"""What is said of a metric in JSON, and has no room in the terminal's table."""


def run(options: argparse.Namespace) -> None:
    """List recipes, data, metrics or laws, a line each."""
    what = options.what
    if what == "data":
        return list_data(options)
    if what == "recipes":
        small = {
            kind: sources.load(name).viewed((kind,)).domain for kind, name in EXAMPLES.items()
        }
        rows = [
            {
                "name": name,
                "family": kind.family,
                "capabilities": list(capabilities(untrained(kind(), small[kind.kinds[0]], 0))),
                "fits": list(kind.kinds),
                "reference": kind.reference,
            }
            for name, kind in CATALOG.items()
        ]
    elif what == "metrics":
        rows = [
            {
                "name": one.name,
                "kinds": list(one.kinds),
                "better": one.better,
                "ranks": one.ranks,
                "unit": one.unit,
                "meaning": one.meaning,
                "failure": one.failure,
                "estimand": one.estimand,
            }
            for one in metrics()
        ]
    else:
        rows = [{"name": law.name, "source": law.source} for law, _ in timed(library_laws())]
    if options.json:
        as_json({what: rows})
    else:
        columns = [name for name in rows[0] if name not in TOLD_IN_JSON]
        cells = [[_cell(row[name]) for name in columns] for row in rows]
        table(what, columns, cells)
    return None


def _cell(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
