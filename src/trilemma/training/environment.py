"""Where a run was made: what a reader needs to judge its numbers, and nothing about the person."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from trilemma import __version__
from trilemma.training.precision import processor

__all__ = ["commit", "environment"]

PACKAGES = ("torch", "numpy", "safetensors", "pillow", "torchmetrics")
TELLING = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "avx512_vnni", "asimd", "sve", "bf16")
"""Processor flags on which speed depends."""


def environment() -> dict[str, Any]:
    """Return versions, processor, accelerator and commit, as plain values."""
    return {
        "trilemma": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor().name,
        "flags": [flag for flag in TELLING if flag in processor().flags],
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "accelerator": _accelerator(),
    }


def commit() -> str | None:
    """Return the commit of the package's own checkout, with '+' where it was changed since."""
    here = Path(__file__).parents[1]

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # else it lies in someone else's
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _accelerator() -> dict[str, Any] | None:
    if not torch.cuda.is_available():
        return None
    first = torch.cuda.get_device_properties(0)
    return {
        "name": first.name,
        "count": torch.cuda.device_count(),
        "memory_bytes": first.total_memory,
        "cuda": torch.version.cuda,
    }
