"""Lists recipes, data, metrics or laws."""

from __future__ import annotations

import argparse

from trilemma.cli.command import Command, Parser

__all__ = ["COMMAND"]

JSON_ONLY = ("unit", "failure", "estimand")
"""Keys of a metric that are in the JSON and have no room in the terminal's table."""


def arguments(parser: Parser) -> None:
    """Add what may be asked."""
    parser.add_argument(
        "what", nargs="?", choices=("recipes", "data", "metrics", "laws"), default="recipes"
    )


def run(options: argparse.Namespace) -> None:
    """List recipes, data, metrics or laws, a line each."""
    from trilemma.cli.terminal import as_json, table

    what = options.what
    if what == "data":
        from trilemma.cli.commands.data import list_data

        return list_data(options)
    rows = {"recipes": _recipes, "metrics": _metrics, "laws": _laws}[what]()
    if options.json:
        as_json({what: rows})
    else:
        columns = [name for name in rows[0] if name not in JSON_ONLY]
        cells = [[_cell(row[name]) for name in columns] for row in rows]
        table(what, columns, cells)
    return None


# Each list imports what it needs, and waits for nothing else.


def _recipes() -> list[dict[str, object]]:
    from trilemma.core.model import capabilities
    from trilemma.data.examples import EXAMPLE_DOMAINS
    from trilemma.recipes.catalog import CATALOG

    return [
        {
            "name": name,
            "family": kind.family,
            "capabilities": list(capabilities(kind().model(EXAMPLE_DOMAINS[kind.kinds[0]]))),
            "fits": list(kind.kinds),
            "reference": kind.reference,
        }
        for name, kind in CATALOG.items()
    ]


def _metrics() -> list[dict[str, object]]:
    from trilemma.metrics.registry import metrics

    return [
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


def _laws() -> list[dict[str, object]]:
    from trilemma.laws.book import library_laws

    return [
        {"name": f"{check.file}: {check.title}", "source": "; ".join(check.sources)}
        for check in library_laws()
    ]


def _cell(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


COMMAND = Command(
    summary="what there is: recipes, data, metrics or laws",
    order=1,
    arguments=arguments,
    run=run,
)
