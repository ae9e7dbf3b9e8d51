"""Checkpoints that are whole or absent, and are never believed unread.

Written in this order, so that a crash at any moment leaves the one before it untouched:

    1  a folder `step_N.tmp`
    2  `model.safetensors` (averaged weights and buffers) and `state.pt` (what training needs
       beside them), each flushed to the disk
    3  `manifest.json`: size and sha256 of each, the step, the stage, the run; flushed, last
    4  the folder is flushed, renamed to `step_N`, and its parent flushed

Read in the reverse: without a manifest a folder is no checkpoint; a file that is not what the
manifest says is named. `state.pt` is read with `weights_only=True`: tensors and plain values, and
nothing that a file brings along is executed.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from trilemma.core.errors import BadInput, Diverged

__all__ = [
    "Checkpoint",
    "Damaged",
    "list_checkpoints",
    "parsed_weights",
    "read",
    "serialised",
    "sync_folder",
    "unwritable",
    "verified",
    "write",
    "write_file",
]

REASONS = {
    errno.ENOSPC: "there is no space left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than the system allows",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.EROFS: "the file system is read-only",
}


class Damaged(Exception):
    """A checkpoint is not what was written; says which file and how."""


@dataclass(frozen=True)
class Checkpoint:
    """A training state read back and found whole."""

    path: Path
    step: int
    stage: str
    weights: Mapping[str, Tensor]
    """Averaged weights and buffers of the whole model."""
    state: Mapping[str, Any]
    """What training needs beside them; empty where only the weights were asked for."""
    sha256: str
    """Of the file of weights."""

    def fill(self, model: nn.Module) -> None:
        """Give a model these weights.

        Raises:
            BadInput: They are of another model.
        """
        try:
            model.load_state_dict(dict(self.weights))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip().removesuffix(".")
            raise BadInput(
                f"{self.path} does not fit the model that the recipe builds now ({reason}); it "
                "was changed, or written by another version of trilemma; train anew."
            ) from error


def write(
    folder: Path,
    manifest: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    state: Mapping[str, Any],
) -> None:
    """Write a checkpoint to `folder`; it appears there whole, or not at all.

    Arguments:
        folder: Where it will be; what lies there is replaced.
        manifest: What it says of itself beside sizes and hashes: step, stage, run.
        weights: For `model.safetensors`; may share memory.
        state: For `state.pt`: tensors and plain values.

    Raises:
        Diverged: A weight is not finite; nothing is written.
        BadInput: The disk is full, or may not be written; what was begun is removed.
    """
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise Diverged(f"'{name}' holds numbers that are not finite; it was not saved.")
    partial = folder.with_name(folder.name + ".tmp")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        files = {}
        for name, data in (
            ("model.safetensors", serialised(weights)),
            ("state.pt", _state(state)),
        ):
            write_file(partial / name, data)
            files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        text = json.dumps({**manifest, "files": files}, indent=1)
        write_file(partial / "manifest.json", text.encode())
        sync_folder(partial)
        if folder.exists():
            replaced = folder.with_name(folder.name + ".old.tmp")
            shutil.rmtree(replaced, ignore_errors=True)
            os.rename(folder, replaced)
        os.rename(partial, folder)
        sync_folder(folder.parent)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise unwritable(folder, error, "what was saved before is intact") from error


def read(folder: Path, manifest: Mapping[str, Any], *, with_state: bool = True) -> Checkpoint:
    """Read a checkpoint and verify every file of it.

    Arguments:
        folder: Where it is.
        manifest: What its manifest must say, e.g. which run it belongs to.
        with_state: Whether to take the training state too; its bytes are verified in any case.

    Raises:
        Damaged: A file is missing, cut short, changed or from elsewhere.
    """
    try:
        stored_manifest = json.loads((folder / "manifest.json").read_bytes())
        files, step, stage = (
            stored_manifest["files"],
            int(stored_manifest["step"]),
            str(stored_manifest["stage"]),
        )
        expected = {name: (entry["bytes"], entry["sha256"]) for name, entry in files.items()}
    except FileNotFoundError:
        raise Damaged(f"{folder / 'manifest.json'} is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Damaged(f"{folder / 'manifest.json'} is not a manifest") from None
    for key, value in {**manifest, "step": _step(folder)}.items():
        if stored_manifest.get(key) != value:
            raise Damaged(
                f"{folder / 'manifest.json'} belongs elsewhere: its {key} is "
                f"{stored_manifest.get(key)!r}, not {value!r}"
            )
    if not {"model.safetensors", "state.pt"} <= set(expected):
        raise Damaged(f"{folder / 'manifest.json'} does not list the checkpoint's files")
    data = {
        name: verified(folder / name, size, digest) for name, (size, digest) in expected.items()
    }
    weights = parsed_weights(folder / "model.safetensors", data["model.safetensors"])
    state = _parsed(folder / "state.pt", data["state.pt"]) if with_state else {}
    return Checkpoint(folder, step, stage, weights, state, expected["model.safetensors"][1])


def list_checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints in a folder, the latest first."""
    if not folder.is_dir():
        return []
    steps = [p for p in folder.iterdir() if p.name.removeprefix("step_").isdigit() and p.is_dir()]
    return sorted((p for p in steps if p.name.startswith("step_")), key=_step, reverse=True)


def write_file(path: Path, data: bytes | memoryview) -> None:
    """Write a file and flush it to the disk."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Flush a folder's list of names to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unwritable(path: Path, error: OSError, state: str = "") -> BadInput:
    """Make the sentence for a file that could not be written."""
    reason = REASONS.get(error.errno or 0, error.strerror or str(error))
    intact = f" ({state})" if state else ""
    return BadInput(
        f"could not write {path}: {reason}{intact}; make room or choose another place, then go on."
    )


def serialised(weights: Mapping[str, Tensor]) -> bytes:
    """Return the bytes of a file of weights; tied ones are written under each of their names."""
    copies = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in weights.items()
    }
    return safetensors.torch.save(copies, metadata={"format": "pt"})


def verified(path: Path, size: int, digest: str) -> bytes:
    """Return what a file holds, if it is as it was written.

    Raises:
        Damaged: It is missing, cut short or changed.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise Damaged(f"{path} is missing") from None
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({error.strerror})") from None
    if len(data) != size:
        raise Damaged(f"{path} has {len(data)} bytes where {size} were written")
    if hashlib.sha256(data).hexdigest() != digest:
        raise Damaged(f"{path} was changed since it was written (its sha256 differs)")
    return data


def parsed_weights(path: Path, data: bytes) -> dict[str, Tensor]:
    """Return the weights of a file.

    Raises:
        Damaged: It holds something else.
    """
    try:
        return safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise Damaged(f"{path} holds no tensors ({error})") from None


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step_"))


def _state(state: Mapping[str, Any]) -> memoryview:
    file = io.BytesIO()
    torch.save(dict(state), file)
    return file.getbuffer()


def _parsed(path: Path, data: bytes) -> Mapping[str, Any]:
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        if isinstance(error, pickle.UnpicklingError):
            raise Damaged(
                f"{path} holds something other than tensors and plain values; it was not executed"
            ) from None
        raise Damaged(f"{path} holds no training state ({type(error).__name__})") from None
    if not isinstance(state, dict):
        raise Damaged(f"{path} holds no training state but a {type(state).__name__}")
    return state
