"""Rewards that are asked in processes: each reads the plug-ins of this one, and is kept.

Molecules are cut in more parts than there are processes, so that none waits long for another.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from typing import Any

from trilemma.plugins import installed, loaded, read

__all__ = ["asked_in_processes"]

SHARES = 4
"""Parts a process into which molecules are cut."""


def asked_in_processes(name: str, module: str, mols: Sequence[Any], processes: int) -> list[float]:
    """Ask a reward in processes.

    Arguments:
        name: Of the reward.
        module: That entered it: of a plug-in it names the file's content.
        mols: Molecules of RDKit.
        processes: How many are asked at once.

    Returns:
        What each molecule is worth, in their order.
    """
    size = max(1, -(-len(mols) // (SHARES * processes)))
    parts = [mols[i : i + size] for i in range(0, len(mols), size)]
    ask = partial(_ask, name)
    return [value for part in _pool(module, processes).map(ask, parts) for value in part]


@cache
def _pool(module: str, processes: int) -> ProcessPoolExecutor:
    """Return the processes in which rewards of a module are asked."""
    files = tuple(one.path for one in loaded() if one.origin == "file")
    return ProcessPoolExecutor(
        processes, get_context("spawn"), initializer=_begin, initargs=(files,)
    )


def _begin(files: Sequence[str]) -> None:
    for file in files:
        read(file)
    installed()


def _ask(name: str, mols: Sequence[Any]) -> list[float]:
    from trilemma.data.rewards import REWARDS

    return [float(value) for value in REWARDS[name].of(mols)]
