"""A function in a process of its own: `call("ddpm_step", "memory", "diffusers")`.

Such a process holds one side alone, so that its peak memory is that side's and no side warms up
another's caches. Arguments and result pass as JSON, the result as the last line of stdout.
`at_once` runs several at the same time, each alone on a core.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trilemma.core.errors import BadInput

__all__ = ["alone", "at_once", "call", "peak_memory"]


def call(module: str, function: str, *arguments: Any) -> Any:
    """Run `benchmarks.MODULE.FUNCTION(*arguments)` in a new process and return its result."""
    done = subprocess.run(
        _command(module, function, arguments), stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def at_once(module: str, function: str, each: Sequence[Sequence[Any]]) -> list[Any]:
    """Run `benchmarks.MODULE.FUNCTION(*arguments)` for each at the same time, a core each.

    Raises:
        BadInput: There are fewer cores than that, or one of them failed.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < len(each):
        raise BadInput(f"{len(each)} sides are to run at once, and there are {len(cores)} cores.")
    processes = [
        alone(_command(module, function, arguments), core, stdout=subprocess.PIPE, text=True)
        for arguments, core in zip(each, cores, strict=False)
    ]
    outputs = [process.communicate()[0] for process in processes]
    for process, arguments in zip(processes, each, strict=True):
        if process.returncode:
            raise BadInput(f"{module} {arguments[0]} ended with {process.returncode}.")
    return [json.loads(text.splitlines()[-1]) for text in outputs]


def alone(command: Sequence[str], core: int, **options: Any) -> subprocess.Popen[Any]:
    """Start a command on one core and one thread; `options` are those of `Popen`."""
    return subprocess.Popen(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=partial(os.sched_setaffinity, 0, {core}),
        **options,
    )


def _command(module: str, function: str, arguments: Sequence[Any]) -> list[str]:
    return [sys.executable, "-m", "benchmarks.child", module, function, json.dumps(arguments)]


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
