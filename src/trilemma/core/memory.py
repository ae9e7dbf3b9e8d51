"""How much memory a process has used."""

from __future__ import annotations

import sys

import torch

__all__ = ["peak_memory"]


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that this process has held, on an accelerator of that device's own.

    0 where the system does not say.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # no POSIX system
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
