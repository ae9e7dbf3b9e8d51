"""Puts a plug-in through the contract."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from trilemma.cli.command import Command, Parser

__all__ = ["COMMAND"]


def arguments(parser: Parser) -> None:
    """Add what may be asked."""
    parser.add_argument("file", metavar="FILE.py", help="the plug-in")


def run(options: argparse.Namespace) -> int:
    """Check every entry of a plug-in; 1 if a check does not hold."""
    from trilemma.plugins import read

    plugin = read(options.file)
    from trilemma.api.display import say
    from trilemma.api.plugin_checks import check_plugin
    from trilemma.cli.terminal import as_json, table

    checks = []
    for check in check_plugin(plugin):
        checks.append(check)
        if not options.json:
            say(f"{'✓' if check.holds else '✗'} {check.entry}: {check.name}")
    holds = all(check.holds for check in checks)
    if options.json:
        as_json(
            {
                "plugin": plugin.name,
                "sha256": plugin.sha256,
                "holds": holds,
                "checks": [asdict(check) for check in checks],
            }
        )
    else:
        table(
            f"{plugin.name}: {sum(check.holds for check in checks)} of {len(checks)} checks hold",
            ["", "entry", "check", "what was seen"],
            [["✓" if c.holds else "✗", c.entry, c.name, c.measured] for c in checks],
        )
    return 0 if holds else 1


COMMAND = Command(
    summary="put a plug-in through the contract: what of it holds, what fails and why",
    order=11,
    arguments=arguments,
    run=run,
)
