"""A process that works on a comparison: what others must know of it to share machine and work."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from trilemma.training.precision import processor
from trilemma.training.run import started

__all__ = ["Worker"]


@dataclass(frozen=True)
class Worker:
    """A process that works on a comparison."""

    host: str
    boot: str
    """The kernel's boot ID, which tells machines of one hostname apart."""
    namespace: int
    """The PID namespace: only within one do equal PIDs mean the same process."""
    pid: int
    started: int
    """When it started, by the kernel, so that a PID used again is not taken for it."""
    token: str
    threads: int
    cores: tuple[int, ...]
    """The cores that it may run on."""
    processor: str
    device: str
    """'cpu', or which accelerator."""

    @classmethod
    def current(cls, device: torch.device, processes: int = 1) -> Worker:
        """Describe this process.

        Arguments:
            device: Where it trains.
            processes: How many of its kind share the work, each with as many threads.
        """
        pid = os.getpid()
        return cls(
            socket.gethostname(),
            _boot(),
            _namespace(),
            pid,
            started(pid),
            uuid.uuid4().hex,
            torch.get_num_threads() * processes,
            _cores(),
            processor().name,
            _accelerator(device),
        )

    @classmethod
    def from_json(cls, plain: object) -> Worker | None:
        """Read what a claim says of its owner; None where it does not say all of it."""
        names = [field.name for field in fields(cls)]
        if not isinstance(plain, dict) or not set(names) <= set(plain):
            return None
        values = {name: plain[name] for name in names}
        return cls(**{**values, "cores": tuple(values["cores"])})

    @property
    def cores_needed(self) -> int:
        """Return how many cores it keeps busy: one, where an accelerator does the work."""
        return self.threads if self.device == "cpu" else 1

    @property
    def queue(self) -> str:
        """Name the claim of being the next to whom this machine's cores become free."""
        return f"next-{self.boot[:8] or self.host.replace('.', '-')}"

    def shares_machine(self, other: Worker) -> bool:
        """Tell whether both run on one machine."""
        if self.boot and other.boot:
            return self.boot == other.boot
        return self.host == other.host

    def is_known_dead(self, other: Worker) -> bool:
        """Tell whether another worker ran on this one's machine and is no more."""
        if not self.shares_machine(other) or self.namespace != other.namespace:
            return False
        try:
            os.kill(other.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass
        return started(other.pid) != other.started

    def name_for(self, other: Worker) -> str:
        """Name the process, and its machine where that is another than the other worker's."""
        name = f"process {self.pid}"
        return name if self.host == other.host else f"{name} on {self.host}"


def _boot() -> str:
    """Return the kernel's boot ID; empty where it has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _namespace() -> int:
    """Return the PID namespace; 0 where the system has none."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _cores() -> tuple[int, ...]:
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _accelerator(device: torch.device) -> str:
    """Name an accelerator so that all processes of a machine give it the same name."""
    if device.type != "cuda":
        return device.type
    properties = torch.cuda.get_device_properties(device)
    return str(getattr(properties, "uuid", f"cuda:{device.index or 0}"))
