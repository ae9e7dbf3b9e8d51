"""Shows a recipe's fields, parameters, and what a step costs."""

from __future__ import annotations

import argparse
from pathlib import Path

from trilemma.cli.command import Command, Parser

__all__ = ["COMMAND"]


def arguments(parser: Parser) -> None:
    """Add what may be asked."""
    parser.add_argument("recipe")
    parser.add_argument("--data", metavar="NAME_OR_PATH", help="default: digits, or two-moons")
    parser.add_argument(
        "--plots", type=Path, metavar="DIR", help="draw what belongs to the recipe"
    )


def run(options: argparse.Namespace) -> None:
    """Show a recipe's fields, parameters, and what a step costs."""
    from trilemma.recipes.catalog import recipe_class

    kind = recipe_class(options.recipe)
    from trilemma.cli.terminal import as_json, out, table
    from trilemma.core.model import capabilities
    from trilemma.data import sources
    from trilemma.data.examples import EXAMPLES
    from trilemma.data.location import NAMED
    from trilemma.recipes.cost import cost_of_a_step
    from trilemma.recipes.fields import fields
    from trilemma.recipes.runs import untrained

    if options.plots:
        from trilemma.report import drawing

        paths = drawing.plots(kind, options.plots)
        if options.json:
            as_json({"name": kind.name, "plots": [str(path) for path in paths]})
        else:
            for path in paths:
                out(path)
        return
    recipe = kind()
    source = f"{NAMED}{EXAMPLES[kind.kinds[0]]}" if options.data is None else options.data
    source = sources.declared(source, radius=None, columns=None)
    data_set = recipe.data_for(sources.load(source))
    cost = cost_of_a_step(recipe, data_set)
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


COMMAND = Command(
    summary="a recipe's fields, size and cost",
    order=2,
    arguments=arguments,
    run=run,
)
