"""The files below a folder that are somebody's data.

Hidden files and folders are left out, and so are run directories and comparisons, which stand
where their user worked and would teach a model its own samples.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["OWN", "Below", "below", "paths_below"]

OWN = "written by trilemma itself"
"""Why a run or a comparison is left out."""
MARKS = ({"recipe.json", "events.jsonl"}, {"comparison.json", "runs"})
"""What stands together in a folder of a run, and of a comparison."""
IGNORED = "__MACOSX"
"""What an archive made by macOS holds beside its files."""


@dataclass
class Below:
    """What lies below a folder; all names are relative to it."""

    files: list[str] = field(default_factory=list)
    """Sorted."""
    own: list[str] = field(default_factory=list)
    """Folders of runs and of comparisons."""
    forbidden: list[str] = field(default_factory=list)
    """Folders that may not be entered."""
    hidden: int = 0
    """Number of hidden files and folders, which are not looked into."""


def below(folder: Path) -> Below:
    """Look for files at any depth; a link back to a folder in which it lies is not followed."""
    result = Below()
    _walk(folder, "", (), result)
    result.files.sort()
    return result


def paths_below(folder: Path, own: list[str] | None = None) -> Sequence[Path]:
    """Return the paths of the files below a folder, sorted; add what is left out to `own`."""
    listing = below(folder)
    if own is not None:
        own += listing.own
    return [folder / name for name in listing.files]


def _walk(folder: Path, inner: str, above: tuple[tuple[int, int], ...], result: Below) -> None:
    try:
        folder_stat = os.stat(folder / inner)
        identity = (folder_stat.st_dev, folder_stat.st_ino)
        if identity in above:
            return
        entries = list(os.scandir(folder / inner))
    except OSError:
        result.forbidden.append(inner)
        return
    names = {entry.name for entry in entries}
    if inner and any(marks <= names for marks in MARKS):
        result.own.append(f"{inner}/")
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name == IGNORED:
            result.hidden += 1
            continue
        name = f"{inner}/{entry.name}" if inner else entry.name
        if os.path.isdir(entry.path):
            _walk(folder, name, (*above, identity), result)
        else:
            result.files.append(name)
