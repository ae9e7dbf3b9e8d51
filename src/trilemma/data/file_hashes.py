"""Hashes of what stands in files, of which only those are read that may have changed.

As git does it, an index keeps beside the hash of a file what the system tells of it without
reading: size, time of change, time of status, inode and device. Where all of them are what they
were, so is the hash.

What is promised: a file whose contents differ is noticed though its size and its time of change
are put back, since no program sets back the time of status. It is not noticed where a whole file
system is put back as it was, byte for byte, or where the system keeps no time of status, as
Windows. A file that was changed within `SETTLED` seconds before it was read is read again the next
time: a clock may be too coarse to tell two changes apart.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from trilemma.data import cache

__all__ = ["FileHashes"]

FORM = 1
"""Number of this kind of index; one of another is not used."""
SETTLED = 1.0
"""Seconds."""
AT_ONCE = 1 << 20
"""Bytes that are read at once."""
UNREADABLE = "unreadable"
"""What stands for the contents of a file that cannot be read."""


class FileHashes:
    """The index of a folder; called with a file's name, it returns the hash of its contents.

    Arguments:
        folder: Where the files lie.
        path: The file of the index; one that is absent or damaged is made anew.
    """

    def __init__(self, folder: Path, path: Path) -> None:
        self.folder, self.path = folder, path
        cached = cache.read(path)
        facts = cached[1] if cached is not None and cached[1].get("form") == FORM else {}
        self.recorded: Mapping[str, list[Any]] = facts.get("files", {})
        self.caches: dict[str, str] = facts.get("caches", {})
        """Names of what is cached of the files, by a word of the caller's."""
        self.current: dict[str, list[Any]] = {}
        self._recorded_caches = dict(self.caches)

    def __call__(self, name: str) -> str:
        """Return the hash of a file's contents; several threads may ask at once."""
        try:
            file_stat = os.stat(self.folder / name)
            if not stat.S_ISREG(file_stat.st_mode):
                return UNREADABLE
            state = [
                file_stat.st_size,
                file_stat.st_mtime_ns,
                file_stat.st_ctime_ns,
                file_stat.st_ino,
                file_stat.st_dev,
            ]
            *recorded_state, digest = self.recorded.get(name, [""])
            if recorded_state != state:
                digest = _digest(self.folder / name)
        except OSError:
            return UNREADABLE
        latest = max(file_stat.st_mtime_ns, file_stat.st_ctime_ns)
        if recorded_state == state or time.time_ns() - latest > SETTLED * 1e9:
            self.current[name] = [*state, digest]
        return digest

    def save(self) -> None:
        """Keep the index of the files that were asked for; one that cannot be written costs time.

        It is left as it is where nothing has changed.
        """
        if self.current != self.recorded or self.caches != self._recorded_caches:
            with suppress(OSError):
                cache.write(
                    self.path, {}, {"form": FORM, "files": self.current, "caches": self.caches}
                )


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(AT_ONCE):
            digest.update(block)
    return digest.hexdigest()
