"""An orderly end: the first signal asks for it, the second does not wait.

>>> import os
>>> with listening() as stop:
...     os.kill(os.getpid(), signal.SIGTERM)
...     stop.signal == signal.SIGTERM
True
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from trilemma.core.session import Stop

__all__ = ["listening"]


@contextmanager
def listening(patience: float = 0.0) -> Iterator[Stop]:
    """Catch SIGINT and SIGTERM: the first sets the flag that it yields, a second exits at once.

    Arguments:
        patience: Seconds within which a second signal counts as the first one's echo. Under
            torchrun a Ctrl-C arrives twice, from the terminal and from the launcher.

    Yields:
        The flag. Outside the main thread, where signals cannot be caught, it is never set.
    """
    stop = Stop()

    def heard(number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if stop.signal and now - stop.when >= patience:
            os._exit(128 + number)
        if not stop.signal:
            stop.signal, stop.when = number, now

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous_handlers = {n: signal.signal(n, heard) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)
