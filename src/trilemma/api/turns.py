"""Who works in this process: training and measuring are alone in it, loading waits a moment.

torch's global random numbers belong to the whole process. A training that another thread disturbed
would not be the one that its seed says; so a second one is refused, and never waits unseen.
Sampling takes numbers of its own, and any number of threads may draw from one model at once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from trilemma.core.errors import BadInput

__all__ = ["alone", "briefly"]

_TURN = threading.RLock()
_ACTIVITIES: list[str] = []
"""What the thread whose turn it is does, the last within the ones before."""
PATIENCE = 0.05
"""Seconds between two looks at whether a turn has ended."""


@contextmanager
def alone(activity: str) -> Iterator[None]:
    """Do what no other thread of this process may disturb.

    Raises:
        BadInput: Another thread does such a thing.
    """
    if not _TURN.acquire(blocking=False):
        raise BadInput(_refusal(activity))
    try:
        _ACTIVITIES.append(activity)
        yield
    finally:
        _ACTIVITIES.pop()
        _TURN.release()


@contextmanager
def briefly(activity: str) -> Iterator[None]:
    """Do what takes a moment after others that do: never beside what is done `alone`.

    Raises:
        BadInput: Another thread does something alone.
    """
    while not _TURN.acquire(timeout=PATIENCE):
        if _ACTIVITIES:
            raise BadInput(_refusal(activity))
    try:
        yield
    finally:
        _TURN.release()


def _refusal(activity: str) -> str:
    before = _ACTIVITIES[-1] if _ACTIVITIES else "loading"
    return (
        f"{activity} was asked for while another thread of this process is {before}, and both "
        "would take from the same random numbers; do one after the other, or each in a process "
        "of its own."
    )
