"""Where a run was made: what a reader needs to judge its numbers, and nothing about the person."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from trilemma import __version__
from trilemma.training.precision import processor
from trilemma.training.run import Run

__all__ = ["commit", "conditions", "environment", "environments", "machine"]

PACKAGES = ("torch", "numpy", "safetensors", "pillow", "torchmetrics")
TELLING = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "avx512_vnni", "asimd", "sve", "bf16")
"""Processor flags on which speed depends."""


def environment(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return versions, processor, accelerator and commit, as plain values.

    Arguments:
        device: Where losses are computed.
    """
    return {
        "trilemma": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {
            name: version for name in PACKAGES if (version := _version(name)) is not None
        },
        "platform": f"{platform.system()} {platform.machine()}",
        "flags": [flag for flag in TELLING if flag in processor().flags],
        **machine(device),
        "accelerator": _accelerator(),
    }


def machine(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return what the speed of a training depends on: it may change when a run goes on."""
    kind = torch.device(device).type
    return {
        "processor": processor().name,
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if kind == "cuda" else kind,
        "torch": torch.__version__,
    }


def conditions(environment: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what must be the same for two trainings to be compared by their time.

    Arguments:
        environment: What `environment` or `machine` gave.

    Returns:
        Processor, threads, device, version of torch.

    >>> conditions({"processor": "A", "threads": 2, "device": "cpu", "torch": "2", "cores": 8})
    ('A', 2, 'cpu', '2')
    """
    return tuple(environment.get(name) for name in ("processor", "threads", "device", "torch"))


def environments(run: Run) -> list[Mapping[str, Any]]:
    """Return where a run was trained, in turn: where it began, and wherever it went on."""
    resumed = [e.values["environment"] for e in run.events() if "environment" in e.values]
    return [run.environment, *resumed]


def commit() -> str | None:
    """Return the commit of the package's own checkout, with '+' where it was changed since."""
    package_path = Path(__file__).parents[1]

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(package_path), *words],
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
