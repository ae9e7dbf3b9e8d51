"""Lists, fetches or checks data."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from trilemma.cli.arguments import add_reading, add_size
from trilemma.cli.command import Command, Parser

__all__ = ["COMMAND"]


def arguments(parser: Parser) -> None:
    """Add what may be asked."""
    parser.add_argument("action", choices=("list", "fetch", "check"))
    parser.add_argument("name", nargs="?", metavar="NAME_OR_PATH")
    add_size(parser)
    add_reading(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE.png", help="where the contact sheet goes"
    )


def run(options: argparse.Namespace) -> int:
    """List, fetch or check data; 1 if what was checked cannot be used."""
    from trilemma.core.errors import BadInput, attempted

    if options.action == "list":
        list_data(options)
        return 0
    if options.name is None:
        raise BadInput(f"'trilemma data {options.action}' needs a name or a path.")
    from trilemma.api.display import counting, say, warn
    from trilemma.cli.terminal import as_json, out
    from trilemma.data import check as data_check
    from trilemma.data import oracles, sources
    from trilemma.data.location import unprefixed
    from trilemma.report import drawing

    if options.action == "fetch":
        say(f"fetching {options.name} …")
        is_oracles = options.name == oracles.NAME
        with counting("converting") as progress:
            path = oracles.fetch() if is_oracles else sources.fetch(options.name, progress)
        if options.json:
            as_json({"name": options.name, "path": str(path)})
        else:
            out(path)
        return 0
    source = sources.declared(
        options.name, radius=options.ego_radius, columns=options.columns, target=options.target
    )
    with counting("reading") as progress:
        report = data_check.check(source, size=options.size, progress=progress)
    if options.json:
        as_json(report.to_json())
    else:
        for line in report.lines():
            out(line)
    if report.sheet is not None and len(report.sheet):
        name = Path(unprefixed(options.name)).name or "data"
        sheet = options.out or Path(f"{name}-sheet.png")
        picture = attempted(
            partial(drawing.contact_sheet, report),
            lambda reason: warn(f"there is no contact sheet: {reason}."),
        )
        if picture is not None:
            drawing.save_picture(picture, sheet)
            say(f"contact sheet: {sheet}")
    return 0 if report.holds else 1


def list_data(options: argparse.Namespace) -> None:
    """List the data sets by name, and which of them are here."""
    from trilemma.cli.terminal import as_json, table
    from trilemma.data import oracles, sources

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


COMMAND = Command(
    summary="data sets: list, fetch, check",
    order=3,
    arguments=arguments,
    run=run,
)
