"""Converted data in the user's cache folder: tensors and plain facts in one checked file.

A file is written under another name and renamed into place, and carries a hash of its content;
what is cut short, changed or of another form is taken for absent.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trilemma.core.files import replacing

__all__ = ["folder", "read", "write"]

FACTS, HASH = "facts", "hash"


def folder() -> Path:
    """Return where converted data are kept: $XDG_CACHE_HOME/trilemma or ~/.cache/trilemma."""
    cache_home = os.environ.get("XDG_CACHE_HOME", "")
    home = (
        Path(cache_home) if os.path.isabs(cache_home) else Path(os.path.expanduser("~")) / ".cache"
    )
    return home / "trilemma"


def write(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and JSON values to a file, whole or not at all.

    Raises:
        OSError: The file could not be written.
    """
    text = torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8)
    contents = {name: t.contiguous() for name, t in tensors.items()} | {FACTS: text}
    contents[HASH] = _digest(contents)
    try:
        with replacing(path) as partial:
            save_file(contents, partial)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return what `write` was given, or None where there is no such file or it is damaged."""
    try:
        contents = load_file(path)
        if not torch.equal(contents.pop(HASH), _digest(contents)):
            return None
        return contents, json.loads(contents.pop(FACTS).numpy().tobytes())
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def _digest(tensors: Mapping[str, Tensor]) -> Tensor:
    digest = hashlib.blake2b(digest_size=32)
    for name in sorted(tensors):
        t = tensors[name]
        digest.update(f"{name} {tuple(t.shape)} {t.dtype}\n".encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy().data)
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)
