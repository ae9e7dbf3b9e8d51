"""A reward that is a Python function of one's own, and rewards that are asked in processes.

python(FILE.py:NAME)    NAME of that file: a list of SMILES to as many numbers, higher is better
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from trilemma.core.errors import BadInput
from trilemma.data.chemistry import chemistry

__all__ = ["own"]

Score = Callable[[Sequence[Any]], list[float]]
"""Molecules of RDKit to numbers."""
SHARES = 4
"""Parts a process into which molecules are cut, so that none waits long for another."""


def own(text: str) -> Score:
    """Return a function of a file as a reward.

    Arguments:
        text: FILE.py:NAME, and perhaps a number of processes.

    Raises:
        BadInput: There is no such file or function, or the file cannot be run.
    """
    words, _, count = text.partition(",")
    filename, separator, name = words.strip("'\" ").rpartition(":")
    path = Path(filename).expanduser()
    if not separator or path.suffix != ".py":
        raise BadInput(f"python({text}) was given; write python(FILE.py:NAME).")
    if count.strip() and not count.strip().isdecimal():
        raise BadInput(f"python({text}): '{count.strip()}' is no number of processes.")
    if not path.is_file():
        raise BadInput(f"python({text}): there is no file '{path}'.")
    spec = importlib.util.spec_from_file_location(f"own_reward_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise BadInput(
            f"python({text}): '{path}' cannot be run: {type(error).__name__}: {error}."
        ) from None
    function = getattr(module, name, None)
    if not callable(function):
        raise BadInput(f"python({text}): '{path}' has no function '{name}'.")
    reward_function: Callable[[list[str]], Any] = function

    def of(mols: Sequence[Any]) -> list[float]:
        answers = reward_function([chemistry().MolToSmiles(mol) for mol in mols])
        return [float(value) for value in answers]

    return WorkerPool(words, int(count)) if count.strip() and int(count) else of


class WorkerPool:
    """Asks a function in processes, each of which reads it once.

    Arguments:
        text: FILE.py:NAME.
        workers: How many processes.
    """

    def __init__(self, text: str, workers: int) -> None:
        self._text, self._workers = text, workers
        self._pool: ProcessPoolExecutor | None = None

    def __call__(self, mols: Sequence[Any]) -> list[float]:
        """Return what each molecule is worth, in their order."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._workers, get_context("spawn"), initializer=_begin, initargs=(self._text,)
            )
        size = max(1, -(-len(mols) // (SHARES * self._workers)))
        parts = [mols[i : i + size] for i in range(0, len(mols), size)]
        return [value for part in self._pool.map(_ask, parts) for value in part]


_reward: Score | None = None
"""Of a process of the pool."""


def _begin(text: str) -> None:
    global _reward
    _reward = own(text)


def _ask(mols: Sequence[Any]) -> list[float]:
    assert _reward is not None
    return _reward(mols)
