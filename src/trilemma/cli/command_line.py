"""The command line: which command is meant, and how an error ends."""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
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
from trilemma.plugins import installed
from trilemma.plugins import read as read_plugin

__all__ = ["commands", "main", "parser"]

HELP = {"-h", "--help"}
LONG = 200
"""Characters above which a word that was given is shortened where a sentence repeats it, to…"""
SHORT = 60
GREETING = f"""\
trilemma {__version__}: every family of generative model on your data, under one budget,
measured and checked.

  trilemma compare --data digits            which family is best on your data,
                                            a minute of training each; a page says why
  trilemma train vae --data photos/         train one of them: makes a run directory
  trilemma sample runs/vae-photos-001       draw from what was trained

What there is:  trilemma list · trilemma list data
Help:           trilemma --help · trilemma train --help · trilemma train vae --help"""


class Stopped(Exception):
    """An interrupt ended the work before anything listened to signals."""

    status = 130


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
        declared[module.name.replace("_", "-")] = command
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
        own.add_argument("--json", action="store_true", help="one JSON object on stdout")
        own.add_argument(
            "--plugin",
            action="append",
            default=[],
            metavar="FILE.py",
            help="read a file with recipes, networks, metrics or the like of your own; repeatable",
        )
        own.set_defaults(own=own)
        command.arguments(own)
    return top


def read(argv: Sequence[str], declared: dict[str, Command]) -> argparse.Namespace:
    """Read what was asked, and plug-ins; options of a recipe's fields are left in `fields`.

    Raises:
        UsageError: It cannot be read.
        BadPlugin: A plug-in cannot be.
    """
    options, extra = parser(declared).parse_known_args(argv)
    if extra and not declared[options.verb].has_fields:
        raise UsageError(
            f"unknown option '{extra[0]}' for {options.verb}; "
            f"see 'trilemma {options.verb} --help'."
        )
    for before, word in itertools.pairwise(("trilemma", *argv)):
        if not word.strip() or (word.startswith("--") and word.endswith("=")):
            raise UsageError(
                f"nothing was given after '{before if not word.strip() else word[:-1]}'; "
                "give a value, or leave the option out."
            )
    options.fields = extra
    installed()
    for path in options.plugin:
        read_plugin(path)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in argv
    with _noting_interrupts() as interrupts:
        try:
            status = _run(argv)
            return 130 if interrupts else status
        except KeyboardInterrupt:
            return _failed(Stopped("the work was stopped."), argv) if "--json" in argv else 130
        except BrokenPipeError:
            sys.stderr.close()
            return 141
        except Exception as error:
            if interrupts and not debug:
                return 130
            if debug or getattr(error, "status", None) is None:
                raise
            return _failed(error, argv)


def _run(argv: Sequence[str]) -> int:
    """Greet, help, start other processes that do it, or do it."""
    if not argv:
        print(GREETING)
        return 0
    declared = commands()
    if HELP & set(argv) and _help_with_fields(argv, declared):
        return 0
    options = read(argv, declared)
    if getattr(options, "devices", 1) > 1:
        from trilemma.cli.launching import launch

        return launch(argv, options.devices, options.device)
    return declared[options.verb].run(options) or 0


def _help_with_fields(argv: Sequence[str], declared: dict[str, Command]) -> bool:
    """Print a command's help with the fields of the recipe that is named, where one is.

    Raises:
        BadInput: There is no such recipe, or no such run.
    """
    command = declared.get(argv[0])
    if command is None or command.fields is None:
        return False
    try:
        options = read([word for word in argv if word not in HELP], declared)
    except UsageError:
        return False
    title, fields = command.fields(options)
    own: Parser = options.own
    own.usage = own.format_usage().removeprefix("usage: ").strip() + " [--FIELD VALUE …]"
    group = own.add_argument_group(title)
    for field in fields:
        meaning = f"{field.meaning} [{field.default}]".replace("%", "%%")
        choices = "|".join(map(str, field.choices)) or field.type.__name__.upper()
        group.add_argument(f"--{field.name.replace('_', '-')}", metavar=choices, help=meaning)
    own.print_help()
    return True


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
            if REPEATED not in previous_handlers:
                previous_handlers[REPEATED] = signal.signal(REPEATED, heard)
            signal.setitimer(signal.ITIMER_REAL, REPEAT_SECONDS, REPEAT_SECONDS)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    previous_handlers = {signal.SIGINT: signal.signal(signal.SIGINT, heard)}
    try:
        yield interrupts
    finally:
        if REPEATED is not None and REPEATED in previous_handlers:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


def _failed(error: Exception, argv: Sequence[str]) -> int:
    """Say a user's mistake in its sentence, with --json as an object too, and return its status.

    One of several processes leaves it to the one that started them, which says it once.
    """
    status = getattr(error, "status", 1)
    sentence = _shortened(str(error), argv)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        from trilemma.cli.launching import is_reported

        if is_reported(sentence, status):
            return status
    print(f"trilemma: {sentence}", file=sys.stderr)
    if "--json" in argv:
        from trilemma.cli.terminal import as_json

        as_json({"error": sentence, "status": status})
    return status


def _shortened(sentence: str, argv: Sequence[str]) -> str:
    """Shorten what was given where a sentence repeats all of a long word.

    >>> _shortened("unknown recipe 'aaaaaaa…'.".replace("aaaaaaa…", "a" * 700), ["a" * 700])
    "unknown recipe 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…'."
    """
    parts = {part for word in argv for part in (word, word.partition("=")[2], word.lstrip("-"))}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) > LONG:
            sentence = sentence.replace(part, f"{part[:SHORT]}…")
    return sentence
