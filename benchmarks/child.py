"""A function in a process of its own: `call("ddpm_step", "memory", "diffusers")`.

Such a process holds one side alone, so that its peak memory is that side's and no side warms up
another's caches. Arguments and result pass as JSON, the result as the last line of stdout.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["call", "peak_memory"]


def call(module: str, function: str, *arguments: Any) -> Any:
    """Run `benchmarks.MODULE.FUNCTION(*arguments)` in a new process and return its result."""
    command = [sys.executable, "-m", "benchmarks.child", module, function, json.dumps(arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def peak_memory() -> int:
    """Return the most bytes that this process has held.

    Linux's `VmHWM` belongs to the program that runs now; `ru_maxrss` would also count what the
    process was before `exec`, a copy of its parent.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _main(module: str, function: str, arguments: str) -> None:
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    work = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    print(json.dumps(work(*json.loads(arguments))), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
