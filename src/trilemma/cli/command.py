"""What a command is, and how a mistake in its options becomes one sentence.

Nothing heavy is imported here, nor at the head of any command's file: help and mistakes are
answered at once, and a command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from trilemma.recipes.fields import Field

__all__ = ["Command", "Parser", "UsageError"]


class UsageError(Exception):
    """The command line itself cannot be read."""

    status = 2


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, raised instead of printed."""

    def error(self, message: str) -> NoReturn:
        """Say what was wrong, what may have been meant, and where help is."""
        if (
            match := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        ) is not None:
            value, choices = match[1], re.findall(r"'(.*?)'", match[2])
            close_matches = difflib.get_close_matches(value, choices, n=1, cutoff=0.4)
            suggestion = (
                f"did you mean '{close_matches[0]}'?"
                if close_matches
                else f"known: {', '.join(choices)}"
            )
            raise UsageError(
                f"unknown {message.split(':')[0].split()[-1].lower()} '{value}'; {suggestion}"
            )
        raise UsageError(f"{message}; see '{self.prog} --help'.")


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: declared as `COMMAND` in the file of its name, which is all that it takes."""

    summary: str
    """Half a sentence for the help."""
    order: int
    """Where it stands in the help; the order in which people need them."""
    arguments: Callable[[Parser], None]
    """Adds what may be asked."""
    run: Callable[[argparse.Namespace], int | None]
    """Does it, and returns the exit status; None is 0."""
    has_fields: bool = False
    """Whether options that it does not know are fields of a recipe, kept in `options.fields`."""
    fields: Callable[[argparse.Namespace], tuple[str, list[Field]]] | None = None
    """Title and fields that its help lists besides, where a recipe or a run is named."""
