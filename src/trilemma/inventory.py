"""What there is: recipes, data, metrics, laws, and the machine itself.

These commands look and tell; none of them trains or measures a model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trilemma import drawing
from trilemma.core.errors import BadInput
from trilemma.core.model import capabilities
from trilemma.data import check as data_check
from trilemma.data import oracles, sources
from trilemma.doctor import examine
from trilemma.laws.book import library_laws, timed
from trilemma.metrics.registry import metrics
from trilemma.recipes.catalog import CATALOG, named
from trilemma.recipes.fields import fields
from trilemma.recipes.runs import untrained
from trilemma.terminal import as_json, counting, out, say, table, warn

__all__ = ["run"]

EXAMPLES = {
    "image": "digits",
    "points": "two-moons",
    "graph": "community-small",
    "molecule": "qm9-small",
}
"""A small data set of each kind."""


TOLD_IN_JSON = ("unit", "failure", "estimand")
"""What is said of a metric in JSON, and has no room in the terminal's table."""


def run(options: argparse.Namespace) -> int:
    """Carry out one command and return its exit status."""
    verb = {"list": list_things, "show": show, "data": data, "doctor": doctor}[options.verb]
    return verb(options) or 0


def list_things(options: argparse.Namespace) -> None:
    """List recipes, data, metrics or laws, a line each."""
    what = options.what
    if what == "data":
        return list_data(options)
    if what == "recipes":
        small = {kind: sources.load(name).domain for kind, name in EXAMPLES.items()}
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


def list_data(options: argparse.Namespace) -> None:
    """List the data sets by name, and which of them are here."""
    rows = [
        {
            "name": name,
            "kind": source.kind,
            "here": sources.available(name),
            "description": source.description,
            "licence": source.licence,
            "get": source.how,
        }
        for name, source in sources.NAMES.items()
    ]
    rows.append(
        {
            "name": oracles.NAME,
            "kind": "rewards",
            "here": all(map(oracles.available, oracles.ORACLES)),
            "description": f"classifiers of activity: {', '.join(oracles.ORACLES)}",
            "licence": "MIT",
            "get": oracles.HOW,
        }
    )
    if options.json:
        as_json({"data": rows})
    else:
        table(
            "data: a name below, or a path of your own",
            ["name", "kind", "here", "description", "licence", "how to get it"],
            [
                [*list(r.values())[:2], "yes" if r["here"] else "no", *list(r.values())[3:]]
                for r in rows
            ],
        )


def show(options: argparse.Namespace) -> None:
    """Show a recipe's fields, parameters, and what a step costs."""
    kind = named(options.recipe)
    if options.plots:
        for path in drawing.plots(kind, options.plots):
            out(path)
        return
    data_set = sources.load(options.data or EXAMPLES[kind.kinds[0]])
    recipe = kind()
    cost = drawing.cost_of_a_step(recipe, data_set)
    info = {
        "name": kind.name,
        "family": kind.family,
        "reference": kind.reference,
        "fits": list(kind.kinds),
        "capabilities": list(capabilities(untrained(recipe, data_set.domain, 0))),
        "data": data_set.name,
        **cost,
        "fields": [field.to_json() for field in fields(kind)],
    }
    if options.json:
        as_json(info)
        return
    out(f"{kind.name} · {kind.family} · {kind.reference}")
    out(
        f"on {data_set.name}: {cost['parameters']:,} parameters, "
        f"{cost['flops_per_step'] / 1e9:.3g} GFLOP a step of {recipe.batch_for(data_set.domain)}; "
        f"can {', '.join(info['capabilities'])}"
    )
    table(
        "",
        ["field", "type", "default", "meaning"],
        [
            [f"--{f.name}", "|".join(map(str, f.choices)) or f.type.__name__, f.default, f.meaning]
            for f in fields(kind)
        ],
    )


def data(options: argparse.Namespace) -> int:
    """List, fetch or check data; 1 if what was checked cannot be used."""
    if options.action == "list":
        list_data(options)
        return 0
    if options.name is None:
        raise BadInput(f"'trilemma data {options.action}' needs a name or a path.")
    if options.action == "fetch":
        say(f"fetching {options.name} …")
        is_oracles = options.name == oracles.NAME
        with counting("converting") as progress:
            path = oracles.fetch() if is_oracles else sources.fetch(options.name, progress)
        out(path)
        return 0
    options.name = sources.with_radius(options.name, options.ego_radius)
    wanted = sources.with_columns(options.name, options.columns)
    with counting("reading") as progress:
        report = data_check.check(wanted, size=options.size, progress=progress)
    if options.json:
        as_json(report.to_json())
    else:
        for line in report.lines():
            out(line)
    if report.sheet is not None and len(report.sheet):
        sheet = options.out or Path(f"{Path(options.name).name or 'data'}-sheet.png")
        drawing.save_picture(drawing.contact_sheet(report), sheet)
        say(f"contact sheet: {sheet}")
    return 0 if report.holds else 1


def doctor(options: argparse.Namespace) -> int:
    """Tell what is here, how fast it is, what is broken and what to do."""
    found = examine()
    if options.json:
        as_json(found)
    else:
        table("doctor", ["what", "found"], [[k, v] for k, v in found["facts"].items()])
        for problem in found["problems"]:
            warn(problem)
        if not found["problems"]:
            out("nothing is broken.")
    return 0
