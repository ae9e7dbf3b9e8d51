"""Writes the script by which a shell completes commands, options and names."""

from __future__ import annotations

import argparse

from trilemma.cli.command import Command, Parser
from trilemma.cli.completion import SHELLS

__all__ = ["COMMAND"]


def arguments(parser: Parser) -> None:
    """Add what may be asked."""
    parser.add_argument("shell", choices=SHELLS)
    parser.epilog = (
        'bash: eval "$(trilemma completion bash)" in ~/.bashrc, or the script\'s text in a file; '
        "zsh: the same in ~/.zshrc; fish: trilemma completion fish > "
        "~/.config/fish/completions/trilemma.fish."
    )


def run(options: argparse.Namespace) -> None:
    """Write the script on stdout."""
    from trilemma.cli.command_line import commands, parser
    from trilemma.cli.completion import script, words_of
    from trilemma.cli.terminal import as_json, out
    from trilemma.data.sources import NAMES
    from trilemma.recipes.catalog import CATALOG
    from trilemma.recipes.fields import fields

    names = {"recipes": sorted(CATALOG), "data": sorted(NAMES)}
    by_recipe = {name: [field.name for field in fields(kind)] for name, kind in CATALOG.items()}
    text = script(options.shell, words_of(parser(commands()), names, by_recipe))
    if options.json:
        as_json({"shell": options.shell, "script": text})
    else:
        out(text.rstrip())


COMMAND = Command(
    summary="the script by which bash, zsh or fish completes the command line",
    order=12,
    arguments=arguments,
    run=run,
)
