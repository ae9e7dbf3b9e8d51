"""How a piece of work is done: where, with whom, from which seed, and who may end or watch it.

A `Session` is made where work begins, by a command, a script or a test, and is handed down whole:
no function below takes device, seed, processes, signals and progress one by one.

>>> session = Session(seed=3)
>>> session.device, session.world.size
(device(type='cpu'), 1)
"""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from trilemma.core.errors import Interrupted
from trilemma.core.world import World

__all__ = ["Progress", "Session", "Stop", "ignore", "unseen"]

Progress = Callable[[str, int, int], None]
"""Called with what is being done ('' where the title says it), how much is done, of how much."""


@dataclass
class Stop:
    """Whether a signal has asked for an end, and which."""

    signal: int = 0
    """The signal's number; 0 while none has come."""
    when: float = 0.0
    """When it came, in seconds of the monotonic clock."""

    def __bool__(self) -> bool:
        """Tell whether an end was asked for."""
        return self.signal != 0

    def check(self, message: str) -> None:
        """End here if a signal has asked for it.

        Raises:
            Interrupted: With the signal's name before the message.
        """
        if self.signal:
            raise Interrupted(self.signal, f"{signal.Signals(self.signal).name}: {message}")


def ignore(*_: object) -> None:
    """Do nothing."""


def unseen(_: str) -> AbstractContextManager[Progress]:
    """Show no progress."""
    return nullcontext(ignore)


@dataclass(frozen=True, kw_only=True)
class Session:
    """How a piece of work is done; without arguments: here, on the CPU, from seed 0, unseen."""

    seed: int = 0
    world: World = field(default_factory=World)
    """The processes that share the work, and the device of this one."""
    stop: Stop = field(default_factory=Stop)
    """Whether a signal has asked for an end."""
    interruption: str = "the work was stopped."
    """What is said when a signal ends it: what is lost, and how to go on."""
    guard: Callable[[], None] = ignore
    """Called by `check`: raises to end the work for another reason than a signal."""
    progress: Progress = ignore
    counting: Callable[[str], AbstractContextManager[Progress]] = unseen
    """Makes, under a title, what shows the progress of what is done."""
    say: Callable[[str], None] = ignore
    """Tells people a sentence."""
    warn: Callable[[str], None] = ignore
    """Tells people that something is not as it should be."""
    is_pictured: bool = True
    """Whether training draws samples on its way."""

    @property
    def device(self) -> torch.device:
        """Return where this process computes."""
        return self.world.device

    def check(self) -> None:
        """End the work here if somebody has asked for it: called between parts of all long work.

        Raises:
            Interrupted: A signal came.
        """
        self.stop.check(self.interruption)
        self.guard()

    def report(self, what: str, done: int, total: int) -> None:
        """Tell how much of something is done, or end the work if somebody has asked for it."""
        self.check()
        self.progress(what, done, total)

    @contextmanager
    def counted(self, title: str) -> Iterator[Session]:
        """Yield a copy whose progress is shown under a title."""
        with self.counting(title) as progress:
            yield self.but(progress=progress)

    def but(self, **changes: Any) -> Session:  # noqa: ANN401
        """Return a copy with some of its fields changed."""
        return dataclasses.replace(self, **changes)
