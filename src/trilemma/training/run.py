"""The run directory: the interface between the command line, a web page and people.

    recipe.json        name, fields, version, seed, data fingerprint     written once
    environment.json   versions, processor, precision                    written once
    events.jsonl       what happened, a JSON object a line               only added to
    samples/           previews on the way, and frames of a game in the plane
    game.gif           its film
    checkpoints/       step_N/, two kept                                 see `checkpoint`
    latest             the name of the newest checkpoint
    lock               present while a process trains here

A new run never overwrites an old one, and two processes cannot train in one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.event import Event
from trilemma.training.checkpoint import (
    Checkpoint,
    Damaged,
    list_checkpoints,
    read,
    sync_folder,
    unwritable,
    write,
    write_file,
)
from trilemma.training.exported import is_exported, read_exported
from trilemma.training.record import read_json, read_record

__all__ = ["InUse", "Run", "refuse_difference", "started", "unused"]

QUIET = 600.0
"""Seconds without an event after which a lock from another machine is taken for stale."""


class InUse(BadInput):
    """Another process trains in a run directory."""


class Run:
    """A run directory that exists.

    Arguments:
        path: The directory; use `Run.create` or `Run.open`.
        recipe: What `recipe.json` holds.
        environment: What `environment.json` holds.
    """

    def __init__(
        self, path: Path, recipe: Mapping[str, Any], environment: Mapping[str, Any]
    ) -> None:
        self.path, self.recipe, self.environment = path, recipe, environment
        self.verify: Callable[[], None] | None = None
        """Called before anything is written; raises where this process may not."""
        self._latest_folder: Path | None = None
        self._locked = 0

    @classmethod
    def create(
        cls, path: Path | str, recipe: Mapping[str, Any], environment: Mapping[str, Any]
    ) -> Run:
        """Make a new run directory, whole or not at all.

        Arguments:
            path: Where; nothing may be there.
            recipe: What is trained on what: at least 'name'.
            environment: Where it is trained.

        Raises:
            BadInput: Something is there already, or the place may not be written.
        """
        path = Path(path)
        exists_error = BadInput(
            f"{path} exists already, and a new run never overwrites an old one; "
            "give another --run, or resume it by 'trilemma resume'."
        )
        if os.path.lexists(path):
            raise exists_error
        partial_path = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(partial_path, ignore_errors=True)
            partial_path.mkdir()
            for folder in ("samples", "checkpoints"):
                (partial_path / folder).mkdir()
            write_file(partial_path / "environment.json", _text(environment))
            write_file(partial_path / "events.jsonl", b"")
            write_file(partial_path / "recipe.json", _text(recipe))
            sync_folder(partial_path)
            os.rename(partial_path, path)
            sync_folder(path.parent)
        except OSError as error:
            shutil.rmtree(partial_path, ignore_errors=True)
            raise exists_error if path.is_dir() else unwritable(path, error) from error
        return cls.open(path)

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Open a run directory, or a folder of exported weights.

        Raises:
            BadInput: There is none, or it is not one.
        """
        path = Path(path)
        recipe = read_record(path)
        environment = path / "environment.json"
        if is_exported(recipe):
            return cls(path, recipe, recipe.get("environment", {}))
        return cls(path, recipe, read_json(environment) if os.path.exists(environment) else {})

    def resumable(self) -> Run:
        """Return this run, if it holds a state of training that can go on.

        Raises:
            BadInput: It is a folder of exported weights.
        """
        if is_exported(self.recipe):
            raise BadInput(
                f"{self.path} holds exported weights and no state of training, so that it cannot "
                f"be resumed; begin a new run from them: 'trilemma train {self.recipe['name']} "
                f"--from {self.path} --data …'."
            )
        return self

    @contextmanager
    def lock(self) -> Iterator[str | None]:
        """Keep other processes from training here; clear away what a crash left.

        Yields:
            A sentence for the user where the lock of a process that is gone was taken over.

        Raises:
            InUse: Another process trains here; says which.
            BadInput: The lock cannot be written.
        """
        if self._locked:
            yield None
            return
        handle, note = self._take()
        self._locked = 1
        try:
            self._clear()
            yield note
        finally:
            self._locked = 0
            self._release(handle)

    def unlock(self, pid: int, host: str) -> None:
        """Remove the lock of a process that is known to have ended or to have lost its claim.

        Arguments:
            pid: The process.
            host: The machine that it ran on: another than this one, where the kernel knows.
        """
        path = self.path / "lock"
        if host == socket.gethostname() or not path.exists():
            return
        handle = os.open(path, os.O_RDONLY)
        holder = _holder(handle)
        os.close(handle)
        if (holder.get("pid"), holder.get("host")) == (pid, host):
            path.unlink(missing_ok=True)

    def event(self, kind: str, **values: Any) -> None:  # noqa: ANN401
        """Add a line to `events.jsonl`, in one write.

        Raises:
            BadInput: The disk is full, or may not be written.
        """
        line = json.dumps({"kind": kind, "time": round(time.time(), 3), **_plain(values)}) + "\n"
        path = self.path / "events.jsonl"
        try:
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                self._verify()  # as late as can be: a process may be stopped anywhere
                if os.write(handle, line.encode()) < len(line.encode()):
                    raise OSError(28, "there is no space left on the device")
            finally:
                os.close(handle)
        except OSError as error:
            raise unwritable(path, error) from error

    def events(self, *, superseded: bool = False) -> list[Event]:
        """Return what happened, in order; a line that a crash cut off is left out.

        Arguments:
            superseded: Whether to tell also of steps that a resume went back behind and did anew.
        """
        happened: list[Event] = []
        path = self.path / "events.jsonl"
        for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
            try:
                plain = json.loads(line)
            except ValueError:
                continue
            if not isinstance(plain, dict):
                continue
            event = Event.from_json(plain)
            if event.kind == "resumed" and not superseded:
                happened = [e for e in happened if e.step <= event.step]
            happened.append(event)
        return happened

    def save(
        self, step: int, stage: str, weights: Mapping[str, Tensor], state: Mapping[str, Any]
    ) -> Path:
        """Write a checkpoint, point `latest` at it, and keep it and the one before.

        Raises:
            Diverged: A weight is not finite.
            BadInput: It could not be written; the checkpoints before are intact.
        """
        checkpoints = self.path / "checkpoints"
        folder = checkpoints / f"step_{step}"
        previous = self._latest_folder
        if previous in (None, folder):
            previous = next((p for p in list_checkpoints(checkpoints) if p != folder), None)
        self._verify()
        write(folder, {"step": step, "stage": stage, **self._identity()}, weights, state)
        self._verify()
        try:
            write_file(self.path / "latest.tmp", f"{folder.name}\n".encode())
            os.replace(self.path / "latest.tmp", self.path / "latest")
            sync_folder(self.path)
        except OSError as error:
            raise unwritable(self.path / "latest", error, f"{folder} is whole") from error
        for stale in checkpoints.iterdir():
            if stale not in (folder, previous):
                shutil.rmtree(stale, ignore_errors=True)
        self._latest_folder = folder
        return folder

    def checkpoint(self, warn: Callable[[str], None], *, with_state: bool = True) -> Checkpoint:
        """Read the newest checkpoint that is whole.

        Arguments:
            warn: Called, with a sentence, for each newer one that is not.
            with_state: Whether to take the training state too; sampling needs the weights alone.

        Raises:
            BadInput: There is none.
        """
        if is_exported(self.recipe):
            return read_exported(self.path, self.recipe)
        damage = []
        for folder in list_checkpoints(self.path / "checkpoints"):
            try:
                checkpoint = read(folder, self._identity(), with_state=with_state)
            except Damaged as error:
                if folder.exists():  # else the process that trains here has just let it go
                    damage.append(str(error))
                continue
            for problem in damage:
                warn(f"{problem}; taking the checkpoint of step {checkpoint.step} instead.")
            self._latest_folder = folder
            return checkpoint
        if damage:
            raise BadInput(
                f"{self.path} has no checkpoint that is whole: {'; '.join(damage)}. "
                "Restore it from a copy, or train anew."
            )
        raise BadInput(f"{self.path} has no checkpoint yet; train it first.")

    @property
    def is_untouched(self) -> bool:
        """Tell whether no checkpoint was ever written here, so that nothing can be lost."""
        return (
            not list_checkpoints(self.path / "checkpoints")
            and not (self.path / "latest").exists()
            and not any(event.kind == "checkpoint" for event in self.events())
        )

    def _identity(self) -> dict[str, str]:
        """Return what tells this run's checkpoints from any other's."""
        canonical = json.dumps(_plain(self.recipe), sort_keys=True)
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:16]
        return {"recipe": self.recipe["name"], "run": digest}

    def _verify(self) -> None:
        if self.verify is not None:
            self.verify()

    def _release(self, handle: int) -> None:
        """Remove the lock, unless it is another process's by now."""
        path = self.path / "lock"
        try:
            if os.fstat(handle).st_ino == os.stat(path).st_ino:
                path.unlink()
        except FileNotFoundError:
            pass
        finally:
            os.close(handle)

    def _take(self) -> tuple[int, str | None]:
        path = self.path / "lock"
        while True:
            try:
                handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as error:
                raise unwritable(path, error) from error
            holder = _holder(handle)
            locks = True
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                raise self._busy(holder) from None
            except OSError:  # a file system without locks: the holder's start must tell
                locks = False
            # Another process may have ended, and removed the file, since it was opened.
            try:
                if os.fstat(handle).st_ino == os.stat(path).st_ino:
                    break
            except FileNotFoundError:
                pass
            os.close(handle)
        note, holder = None, _holder(handle)
        if holder:
            if not self._is_gone(holder, locks=locks):
                os.close(handle)
                raise self._busy(holder)
            note = f"process {holder.get('pid')}, which held {self.path}, is gone; taking over."
        pid = os.getpid()
        os.ftruncate(handle, 0)
        os.pwrite(
            handle, _text({"pid": pid, "host": socket.gethostname(), "started": started(pid)}), 0
        )
        return handle, note

    def _is_gone(self, holder: Mapping[str, Any], *, locks: bool) -> bool:
        """Tell whether a holder no longer runs, though its lock file is here."""
        if holder.get("host") == socket.gethostname():
            # The kernel drops a process's lock when it ends, and this one was free.
            return locks or started(holder.get("pid", 0)) != holder.get("started")
        try:
            quiet = time.time() - (self.path / "events.jsonl").stat().st_mtime
        except OSError:
            return True
        return quiet > QUIET

    def _busy(self, holder: Mapping[str, Any]) -> InUse:
        holder_name = f"process {holder.get('pid', '?')}"
        if holder.get("host") not in (None, socket.gethostname()):
            holder_name += f" on {holder['host']}"
        return InUse(
            f"{self.path} is in use by {holder_name}; wait until it ends, or stop it with SIGTERM "
            f"(if it is gone, remove {self.path / 'lock'})."
        )

    def _clear(self) -> None:
        """Remove unfinished checkpoints and the last line of the log if it was cut off."""
        for unfinished in (self.path / "checkpoints").glob("*.tmp"):
            shutil.rmtree(unfinished, ignore_errors=True)
        log = self.path / "events.jsonl"
        if log.exists():
            data = log.read_bytes()
            if data and not data.endswith(b"\n"):
                os.truncate(log, data.rfind(b"\n") + 1)


def refuse_difference(recorded: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
    """See that a run goes on as what it began.

    Arguments:
        recorded: What the run holds: recipe, fields, data, seed.
        requested: What it is to go on with; fields that it does not give are not compared.

    Raises:
        BadInput: They differ; each field is shown as `recorded → asked`.

    >>> refuse_difference({"name": "vae", "seed": 0}, {"seed": 1})
    Traceback (most recent call last):
    trilemma.core.errors.BadInput: a run goes on only as what it began; it differs in seed: 0 → 1.
    """
    recorded_values, requested_values = _flat(recorded), _flat(requested)
    differing = [
        f"{name}: {json.dumps(recorded_values.get(name))} → {json.dumps(value)}"
        for name, value in requested_values.items()
        if recorded_values.get(name) != value
    ]
    if differing:
        raise BadInput(
            f"a run goes on only as what it began; it differs in {', '.join(differing)}."
        )


def unused(root: Path | str, stem: str) -> Path:
    """Return the first of `root/stem-001`, `-002`, … that does not exist."""
    number = 1
    while os.path.lexists(path := Path(root) / f"{stem}-{number:03d}"):
        number += 1
    return path


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat


def _text(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(_plain(value), indent=1, ensure_ascii=False) + "\n").encode()


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Return what JSON can say; numbers that are not finite become words."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return str(value) if isinstance(value, Path) else value


def _holder(handle: int) -> dict[str, Any]:
    try:
        holder = json.loads(os.pread(handle, 4096, 0) or b"{}")
    except ValueError:
        return {"pid": "?"}
    return holder if isinstance(holder, dict) else {}


def started(pid: int) -> int:
    """Return when a process started, in the kernel's ticks since boot.

    Returns:
        0 where the kernel does not say, and of a process that has ended, waited for or not.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if state[0] in "ZX" else int(state[19])
    except (OSError, ValueError, IndexError):
        return 0
