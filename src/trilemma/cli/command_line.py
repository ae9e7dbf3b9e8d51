"""The command line: which command is meant, and how an error ends."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from trilemma import __version__
from trilemma.cli import commands as room
from trilemma.cli.command import Command, Parser, UsageError

__all__ = ["commands", "main"]

REPEAT_SECONDS = 1.0
"""Seconds after which an interrupt is repeated."""
REPEATED = getattr(signal, "SIGALRM", None)
"""The signal of the clock that repeats it; None on systems without."""


def commands() -> dict[str, Command]:
    """Return the commands by name, in the order of the help: one of each file in `commands/`.

    Raises:
        TypeError: A file declares none; the sentence names it.
    """
    declared: dict[str, Command] = {}
    for module in pkgutil.iter_modules(room.__path__):
        command = getattr(
            importlib.import_module(f"{room.__name__}.{module.name}"), "COMMAND", None
        )
        if not isinstance(command, Command):
            raise TypeError(f"cli/commands/{module.name}.py declares no COMMAND.")
        declared[module.name] = command
    return dict(sorted(declared.items(), key=lambda item: item[1].order))


def parser(declared: dict[str, Command]) -> Parser:
    """Build the parser of all commands."""
    top = Parser(
        prog="trilemma",
        allow_abbrev=False,
        description="Every family of generative model on your data, under one budget: "
        "quality, coverage and speed.",
    )
    top.add_argument("--version", action="version", version=f"trilemma {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="COMMAND", required=True)
    for name, command in declared.items():
        own = verbs.add_parser(
            name, help=command.summary, description=command.summary, allow_abbrev=False
        )
        own.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.arguments(own)
    return top


def read(argv: Sequence[str], declared: dict[str, Command]) -> argparse.Namespace:
    """Read what was asked; options of a recipe's fields are left in `fields`.

    Raises:
        UsageError: It cannot be read.
    """
    options, extra = parser(declared).parse_known_args(argv)
    if extra and not declared[options.verb].has_fields:
        raise UsageError(
            f"unknown option '{extra[0]}' for {options.verb}; "
            f"see 'trilemma {options.verb} --help'."
        )
    options.fields = extra
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in argv
    with _noting_interrupts() as interrupts:
        try:
            declared = commands()
            options = read(argv, declared)
            status = declared[options.verb].run(options) or 0
            return 130 if interrupts else status
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:
            sys.stderr.close()
            return 141
        except Exception as error:
            if interrupts and not debug:
                return 130
            return _failed(error, debug=debug)


@contextmanager
def _noting_interrupts() -> Iterator[list[int]]:
    """Yield the list of interrupts that came, and repeat one as long as work goes on after it.

    Libraries in C make other errors of some of them, and some that are imported go on without
    what they were about to import.
    """
    interrupts: list[int] = []

    def heard(number: int, _frame: FrameType | None) -> None:
        interrupts.append(number)
        if REPEATED is not None:
            signal.setitimer(signal.ITIMER_REAL, REPEAT_SECONDS, REPEAT_SECONDS)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    numbers = [signal.SIGINT, *([] if REPEATED is None else [REPEATED])]
    previous_handlers = {number: signal.signal(number, heard) for number in numbers}
    try:
        yield interrupts
    finally:
        if REPEATED is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


def _failed(error: Exception, *, debug: bool) -> int:
    """Say a user's mistake in its sentence and return its status; raise anything else."""
    status = getattr(error, "status", None)
    if debug or status is None:
        raise error
    print(f"trilemma: {error}", file=sys.stderr)
    return status
