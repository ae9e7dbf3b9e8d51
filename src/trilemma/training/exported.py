"""Weights that travel: a folder that is loaded as a run is, without the state of its training.

    model.safetensors   averaged weights and buffers
    recipe.json         the run's record and its environment; size and sha256 of the weights
    README.md           what people should know of it

It is written once, whole or not at all, and the weights are never believed unread.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.training.checkpoint import (
    Checkpoint,
    Damaged,
    parsed_weights,
    serialised,
    sync_folder,
    unwritable,
    verified,
    write_file,
)

__all__ = ["is_exported", "read_exported", "write_exported"]

WEIGHTS = "model.safetensors"


def is_exported(record: Mapping[str, Any]) -> bool:
    """Tell whether a record is that of exported weights, and not of a run that can go on."""
    return "weights" in record


def write_exported(
    path: Path, record: Mapping[str, Any], weights: Mapping[str, Tensor], *, step: int, card: str
) -> None:
    """Write a folder of weights.

    Arguments:
        path: Where; nothing may be there.
        record: The run's, with what else is to travel.
        weights: Averaged weights and buffers of the whole model.
        step: Of the run, whose they are.
        card: What `README.md` says.

    Raises:
        BadInput: Something is there already, or the place may not be written.
    """
    exists_error = BadInput(
        f"{path} exists already, and an export never overwrites anything; give another --out."
    )
    if os.path.lexists(path):
        raise exists_error
    data = serialised(weights)
    entry = {
        "file": WEIGHTS,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "step": step,
    }
    text = json.dumps({**record, "weights": entry}, indent=1, ensure_ascii=False) + "\n"
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        write_file(partial / WEIGHTS, data)
        write_file(partial / "recipe.json", text.encode())
        write_file(partial / "README.md", card.encode())
        sync_folder(partial)
        os.rename(partial, path)
        sync_folder(path.parent)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise exists_error if path.is_dir() else unwritable(path, error) from error


def read_exported(path: Path, record: Mapping[str, Any]) -> Checkpoint:
    """Read the weights of a folder and verify them.

    Arguments:
        path: The folder.
        record: What its `recipe.json` holds.

    Raises:
        BadInput: They are missing, cut short or changed, or the record does not describe them.
    """
    entry = record["weights"]
    try:
        size, digest, step = int(entry["bytes"]), str(entry["sha256"]), int(entry["step"])
    except (TypeError, KeyError, ValueError):
        raise BadInput(
            f"{path / 'recipe.json'} does not say bytes, sha256 and step of its weights; it was "
            "changed; export the run anew."
        ) from None
    try:
        weights = parsed_weights(path / WEIGHTS, verified(path / WEIGHTS, size, digest))
    except Damaged as error:
        raise BadInput(f"{error}; copy the folder again, or export the run anew.") from None
    return Checkpoint(path, step, "", weights, {}, digest)
