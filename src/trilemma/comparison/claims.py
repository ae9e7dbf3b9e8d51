"""Who works on what: claims, by which several processes share one comparison without a server.

A claim is a file `claims/NAME.G.json`. The one with the highest generation G holds; a process has
generation G if it *created* the file (O_CREAT | O_EXCL, which succeeds for exactly one process,
on network file systems too). Nothing is locked, renamed or removed, so that a killed process keeps
nothing and an old claim cannot come back:

    line 1    the owner: host, process, token, threads, cores, processor, device, time
    line 2    how it ended: 'done', 'failed' (with the reason), 'stopped' or 'taken over'

Generation G + 1 may be created when G has ended, but not where it failed; or when it is *stale*:
its heartbeat, the time of the file, which a thread of the owner renews every `BEAT` seconds, has
not changed for `STALE` seconds of the observer's own clock, since the clocks of two machines need
not agree; or it has missed `MISSED` beats, and its owner ran on this machine and is dead. (Both,
for machines that are copies of one another may take each other's process numbers for their own.)

An owner looks at its claim before all that it writes, and stops where generation G + 1 exists.

A claim is made only while its threads are free: the threads of all claims on a machine whose cores
overlap do not exceed these cores, and an accelerator has one claim. Claims are counted again after
one was made, so that of two made at once at least one is given back.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from trilemma.comparison.worker import Worker
from trilemma.core.errors import BadInput
from trilemma.core.words import duration
from trilemma.training.checkpoint import unwritable

__all__ = ["BEAT", "STALE", "Claim", "ClaimLost", "Claims", "Status"]

BEAT = 5.0
"""Seconds between two heartbeats."""
STALE = 60.0
"""Seconds without a heartbeat after which another process may take over."""
MISSED = 2
"""Beats that a process which is dead to all appearances must have missed besides."""


class ClaimLost(BadInput):
    """Another process took the claim over, so that this one may write nothing more."""


@dataclass(frozen=True)
class Ending:
    """How a claim ended."""

    how: str
    """'done', 'failed', 'stopped' or 'taken over'."""
    reason: str = ""
    """Why it failed."""


@dataclass(frozen=True)
class Status:
    """Where a claim stands, as this process sees it."""

    generation: int = 0
    """How many claims of this name there have been."""
    owner: Worker | None = None
    """Of the last one, if it says."""
    ending: Ending | None = None
    """How the last one ended, if it did."""
    silence: float = 0.0
    """Seconds for which its heartbeat has not changed while this process looked."""
    is_stale: bool = False

    @property
    def is_free(self) -> bool:
        """Tell whether the name may be claimed."""
        if self.failure is not None:
            return False
        return self.generation == 0 or self.ending is not None or self.is_stale

    @property
    def failure(self) -> str | None:
        """Return why the last owner could not finish and nobody can, if it said so."""
        ended = self.ending
        return ended.reason if ended is not None and ended.how == "failed" else None


class Claims:
    """The claims of one comparison.

    Arguments:
        folder: Where they lie; made with the first claim.
        worker: This process.
        beat: Seconds between heartbeats.
        stale: Seconds without one after which a claim may be taken over.
        clock: Tells seconds; the observer's.
    """

    def __init__(
        self,
        folder: Path,
        worker: Worker,
        *,
        beat: float = BEAT,
        stale: float = STALE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.worker = folder, worker
        self.beat, self.stale, self.clock = beat, stale, clock
        self._observed: dict[Path, tuple[tuple[int, int], float]] = {}

    def status(self, *names: str) -> dict[str, Status]:
        """Look where claims stand.

        Raises:
            BadInput: The folder cannot be read.
        """
        generations = self._generations()
        return {name: self._status(name, generations.get(name, 0)) for name in names}

    def take(self, name: str) -> Claim | None:
        """Claim a name, or return None where another process has it.

        Raises:
            BadInput: The claim cannot be written.
        """
        status = self.status(name)[name]
        if not status.is_free:
            return None
        path = self.path(name, status.generation + 1)
        text = json.dumps({**asdict(self.worker), "time": round(time.time(), 3)}) + "\n"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            with os.fdopen(handle, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            if self.folder.is_dir():
                return None
            raise BadInput(
                f"{self.folder} is a file; move it away, or give another --out."
            ) from None
        except OSError as error:
            raise unwritable(path, error) from error
        previous = None
        if status.generation and status.ending is None:
            previous = status.owner
            self.note(name, status.generation, "taken over", by=self.worker.token)
        return Claim(self, name, status.generation + 1, previous)

    def crowd(self, names: Sequence[str]) -> list[Worker]:
        """Return the workers beside which this one has no free cores; none where it has.

        Arguments:
            names: Claims that need cores.
        """
        own_worker = self.worker
        neighbours = [
            status.owner
            for status in self.status(*names).values()
            if not status.is_free
            and status.owner is not None
            and status.owner.token != own_worker.token
            and status.owner.shares_machine(own_worker)
        ]
        rivals = [w for w in neighbours if w.device == own_worker.device != "cpu"]
        if rivals:
            return rivals
        sharing = [w for w in neighbours if set(w.cores) & set(own_worker.cores)]
        cores = set(own_worker.cores).union(*(w.cores for w in sharing))
        needed = own_worker.cores_needed + sum(w.cores_needed for w in sharing)
        return sharing if needed > len(cores) else []

    def owners(self, name: str, before: int) -> list[Worker]:
        """Return who had the claims of a name before a generation."""
        workers = [Worker.from_json(self._lines(self.path(name, g))[0]) for g in range(1, before)]
        return [owner for owner in workers if owner is not None]

    def path(self, name: str, generation: int) -> Path:
        """Return the file of a claim."""
        return self.folder / f"{name}.{generation}.json"

    def note(self, name: str, generation: int, ended: str, **values: Any) -> None:  # noqa: ANN401
        """Write into a claim how it ended; where that fails, its silence will tell."""
        line = json.dumps({"ended": ended, "time": round(time.time(), 3), **values}) + "\n"
        with contextlib.suppress(OSError):
            handle = os.open(self.path(name, generation), os.O_WRONLY | os.O_APPEND)
            with os.fdopen(handle, "w") as file:
                file.write(line)

    def ending(self, name: str, generation: int) -> Ending | None:
        """Return how a claim ended, if it did."""
        lines = self._lines(self.path(name, generation))
        if len(lines) < 2:
            return None
        return Ending(str(lines[1].get("ended", "")), str(lines[1].get("reason", "")))

    def _status(self, name: str, generation: int) -> Status:
        if generation == 0:
            return Status()
        path = self.path(name, generation)
        owner = Worker.from_json(self._lines(path)[0])
        silence, age = self._heartbeat(path)
        is_dead = owner is not None and self.worker.is_known_dead(owner)
        return Status(
            generation,
            owner,
            self.ending(name, generation),
            silence,
            silence > self.stale or (is_dead and max(silence, age) > MISSED * self.beat),
        )

    def _heartbeat(self, path: Path) -> tuple[float, float]:
        """Return the seconds for which a heartbeat has not changed.

        Returns:
            Under this process's eyes, and by this machine's clock.
        """
        now = self.clock()
        try:
            handle = os.open(path, os.O_RDONLY)  # opening asks the server, not the client's cache
            with os.fdopen(handle) as file:
                stat = os.fstat(file.fileno())
        except OSError:
            return 0.0, 0.0
        beat = (stat.st_mtime_ns, stat.st_size)
        last_beat, since = self._observed.get(path, (None, now))
        if last_beat != beat:
            self._observed[path] = beat, now
            since = now
        return now - since, time.time() - stat.st_mtime

    def _generations(self) -> dict[str, int]:
        """Return the last generation of each name that was ever claimed."""
        last: dict[str, int] = {}
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise BadInput(
                f"{self.folder} cannot be read: {error.strerror}; give another --out."
            ) from error
        for filename in names:
            name, _, suffix = filename.partition(".")
            number = suffix.removesuffix(".json")
            if number.isdecimal():
                last[name] = max(last.get(name, 0), int(number))
        return last

    @staticmethod
    def _lines(path: Path) -> list[dict[str, Any]]:
        """Return the objects of a file's lines, at least one; empty where a line is none."""
        try:
            text = path.read_text(errors="replace")
        except OSError:
            text = ""
        return [_object(line) for line in text.splitlines() or [""]]


class Claim:
    """A claim that this process has; its heartbeat goes on until it is ended.

    Arguments:
        claims: Those of the comparison.
        name: What is claimed.
        generation: Which claim of this name it is.
        previous: The owner from whom it was taken over, if there was one.
    """

    def __init__(
        self, claims: Claims, name: str, generation: int, previous: Worker | None = None
    ) -> None:
        self.claims, self.name, self.generation = claims, name, generation
        self.previous = previous
        self.path = claims.path(name, generation)
        self._lost = False
        self._verified = claims.clock()
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beats, name=f"claim {name}", daemon=True)
        self._heart.start()

    def check(self) -> None:
        """See that the claim still holds, by its file if the last look was long ago.

        Raises:
            ClaimLost: Another process has taken it over.
        """
        if self.claims.clock() - self._verified > self.claims.beat:
            self.verify()
        self._refuse()

    def verify(self) -> None:
        """See in the files that the claim still holds.

        Raises:
            ClaimLost: Another process has taken it over.
        """
        now, claims = self.claims.clock(), self.claims
        try:
            self.path.stat()
            following = os.path.lexists(claims.path(self.name, self.generation + 1))
            self._lost |= following or claims.ending(self.name, self.generation) is not None
            self._verified = now
        except FileNotFoundError:
            self._lost = True
        except OSError:  # the file server is away; for how long may it be before others took over?
            self._lost |= now - self._verified > claims.stale
        self._refuse()

    @property
    def is_lost(self) -> bool:
        """Tell whether another process is known to have taken it over."""
        return self._lost

    def end(self, how: str = "done", **values: Any) -> None:  # noqa: ANN401
        """End the claim, so that others need not wait for its silence.

        Arguments:
            how: 'done', 'failed' or 'stopped'.
            values: What else there is to be said, such as the 'reason'.
        """
        if self._over.is_set():
            return
        self._over.set()
        self._heart.join()
        if not self._lost:
            self.claims.note(self.name, self.generation, how, **values)

    def __enter__(self) -> Claim:
        """Hold it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        """End it: as done, or as stopped where there was an error."""
        self.end("done" if kind is None else "stopped")

    def _refuse(self) -> None:
        if self._lost:
            next_path = self.claims.path(self.name, self.generation + 1)
            owner = Worker.from_json(self.claims._lines(next_path)[0])
            owner_name = owner.name_for(self.claims.worker) if owner else "another process"
            raise ClaimLost(
                f"{self.name} was taken over by {owner_name}, since this process gave no sign for "
                f"{duration(self.claims.stale)}; it writes nothing more of it."
            )

    def _beats(self) -> None:
        while not self._over.wait(self.claims.beat):
            with contextlib.suppress(OSError):
                os.utime(self.path)
            with contextlib.suppress(ClaimLost):
                self.verify()
            if self._lost:
                return


def _object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
