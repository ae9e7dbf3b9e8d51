"""Waiting for other processes: what is waited for is shown, and a signal ends it at once."""

from __future__ import annotations

import contextlib
import random
import time

from trilemma.core.session import Progress, Session, Stop

__all__ = ["POLL", "STOPPED", "Waiting", "pause"]

POLL = 1.0
"""Seconds between two looks at the claims, in the mean."""
REPEATED = 60.0
"""Seconds after which it is said again what is waited for."""
STOPPED = "waiting was stopped; the same command resumes this comparison."


class Waiting:
    """Shows what is waited for: a sentence where it changes, and now and then again.

    Arguments:
        session: Who is told, and what shows that time passes.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._exit_stack = contextlib.ExitStack()
        self._bar: Progress | None = None
        self._last, self._when = "", 0.0

    def tell(self, what: tuple[str, str], total: int) -> None:
        """Show what is waited for.

        Arguments:
            what: By which a change is noticed, and what is said.
            total: How many cells there are.
        """
        short_text, text = what
        now = time.monotonic()
        if short_text != self._last or now - self._when > REPEATED:
            self.session.say(text)
            self._last, self._when = short_text, now
        if self._bar is None:
            self._bar = self._exit_stack.enter_context(self.session.counting("waiting"))
        self._bar("for other processes", 0, total)

    def over(self) -> None:
        """Show that it is over."""
        self._exit_stack.close()
        self._bar, self._last = None, ""

    def __enter__(self) -> Waiting:
        """Begin."""
        return self

    def __exit__(self, *error: object) -> None:
        """End."""
        self.over()


def pause(stop: Stop, seconds: float = POLL) -> None:
    """Wait about so long, never in step with another process, and not after a signal."""
    end = time.monotonic() + seconds * random.uniform(0.5, 1.5)
    while not stop and time.monotonic() < end:
        time.sleep(min(0.1, seconds))
