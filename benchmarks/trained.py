"""Trained runs that a benchmark is given, and the data that they learned from."""

from __future__ import annotations

from pathlib import Path

from trilemma.core.errors import BadInput
from trilemma.data.dataset import DataSet
from trilemma.recipes.runs import load

__all__ = ["trained_alike"]


def trained_alike(names: str) -> tuple[list[Path], DataSet]:
    """Return the folders of runs on the same data, and the data.

    Arguments:
        names: The folders, with commas.

    Raises:
        BadInput: None was given, or the first is no run.
    """
    paths = [Path(name) for name in names.split(",") if name]
    if not paths:
        raise BadInput("no run was given; give --runs and folders of trained ones.")
    return paths, load(paths[0], warn=print).data()
