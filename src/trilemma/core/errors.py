"""What can go wrong that is not a defect of the program, each with its exit status.

A message is one sentence or two: what was given, what was wanted, what to try.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = [
    "BadInput",
    "Diverged",
    "Interrupted",
    "RanAway",
    "attempted",
    "nearest",
    "reason_of",
]

T = TypeVar("T")


class BadInput(Exception):
    """The user asked for something that cannot be done; exit status 2."""

    status = 2


class Diverged(Exception):
    """Training left the finite numbers and did not come back; exit status 3."""

    status = 3


class RanAway(Exception):
    """Samples left the numbers for which the model can be inverted; exit status 3."""

    status = 3


class Interrupted(Exception):
    """A signal asked for an orderly end, and everything is saved; exit status 128 + signal."""

    def __init__(self, signal: int, message: str) -> None:
        """Keep the number of the signal for the exit status."""
        super().__init__(message)
        self.status = 128 + signal


def nearest(kind: str, name: str, choices: Iterable[str]) -> BadInput:
    """Make the error for an unknown name: it names the nearest of the choices.

    >>> str(nearest("recipe", "dppm", ["vae", "ddpm"]))
    "unknown recipe 'dppm'; did you mean 'ddpm'? Known: ddpm, vae."
    """
    names = sorted(choices)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    return BadInput(f"unknown {kind} '{name}'{hint} Known: {', '.join(names)}.")


def reason_of(error: Exception) -> str:
    r"""Return what went wrong in a line: our own sentence, or the kind of error and its message.

    >>> reason_of(BadInput("too large.")), reason_of(ValueError("no\nway")), reason_of(KeyError())
    ('too large', 'ValueError: no', 'KeyError')
    """
    lines = str(error).strip().splitlines() or [""]
    if isinstance(error, BadInput | Diverged | RanAway):
        return lines[0].rstrip(".")
    return f"{type(error).__name__}: {lines[0]}".rstrip(": ")


def attempted(make: Callable[[], T], missing: Callable[[str], T]) -> T:
    """Return what is made or, where that fails, what stands in its place.

    For pictures and pages: what shows a piece of work costs its own place, and never the work. An
    end that a signal has asked for is passed on.

    Arguments:
        make: Makes it.
        missing: Makes what stands there instead, given the reason.

    >>> attempted(lambda: 1 / 0, lambda reason: f"not drawn ({reason})")
    'not drawn (ZeroDivisionError: division by zero)'
    """
    try:
        return make()
    except Interrupted:
        raise
    except Exception as error:
        return missing(reason_of(error))
