"""What the commands do: a file each, of the command's name, with `run(options) -> status | None`.

Results go to stdout; what people watch, to stderr.
"""

from __future__ import annotations

import argparse
import importlib

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Carry out one command and return its exit status."""
    # No command waits for what another one imports.
    command = importlib.import_module(f"trilemma.commands.{options.verb}")
    return command.run(options) or 0
