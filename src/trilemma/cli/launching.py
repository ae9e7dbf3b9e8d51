"""`--devices N`: the same command in N processes, started by torchrun's own launcher.

Each process joins the others in `training/distributed.py`, and the main one says what there is to
say. What ends them is said here, once.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from trilemma.core.errors import BadInput

__all__ = ["Failed", "is_reported", "launch"]

RUN_ID = "trilemma-devices"
"""By which a process knows that `launch` started it."""
PATIENCE = 60
"""Seconds in which processes save what they have after a signal."""


class Failed(Exception):
    """One of several processes failed; its own exit status."""

    def __init__(self, message: str, status: int) -> None:
        """Keep the exit status."""
        super().__init__(message)
        self.status = status


def launch(argv: Sequence[str], devices: int, device: str) -> int:
    """Run a command in several processes of this machine, and return its exit status.

    Arguments:
        argv: The command line.
        devices: How many processes.
        device: 'cpu', 'cuda', or 'auto', which is 'cuda' where there is a GPU.

    Raises:
        BadInput: The machine has fewer GPUs, or cores.
        Failed: A process failed; with its own sentence and status.
    """
    _refuse_too_many(devices, device)
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # it says it twice
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // devices)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        run_id=RUN_ID,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        signals_to_handle="SIGTERM,SIGINT",
        shutdown_timeout=PATIENCE,
    )
    command = ("-m", "trilemma", *_without_devices(argv))
    try:
        elastic_launch(config, sys.executable)(*command)
    except SignalException as error:
        return 128 + int(error.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        status = failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
        if failure.error_file_data:
            raise Failed(failure.error_file_data["message"]["message"], status) from None
        raise Failed(
            f"process {rank + 1} of {devices} ended with status {status}; what it wrote stands "
            "above.",
            status,
        ) from None
    return 0


def is_reported(sentence: str, status: int) -> bool:
    """Hand an error to the process that started this one, which says it once.

    Arguments:
        sentence: What there is to say.
        status: The exit status of this process.

    Returns:
        Whether nothing is to be said here. After a signal the main process says itself what it
        has saved, and where this one was started otherwise each says its own.
    """
    if os.environ.get("TORCHELASTIC_RUN_ID") != RUN_ID:
        return False
    if status >= 128:
        return os.environ.get("RANK") != "0"
    message = {"message": sentence, "extraInfo": {"timestamp": str(int(time.time()))}}
    Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps({"message": message}))
    return True


def _refuse_too_many(devices: int, device: str) -> None:
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise BadInput("--devices starts processes, and torchrun has started this one already.")
    available, what = _cores(), "cores"
    if device != "cpu":
        import torch

        if torch.cuda.is_available():
            available, what = torch.cuda.device_count(), "GPUs"
    if devices > available:
        raise BadInput(
            f"--devices {devices} was given, and this machine has {available} {what}; give "
            f"--devices {available} at most."
        )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _without_devices(argv: Sequence[str]) -> list[str]:
    """Return a command line without --devices N.

    >>> _without_devices(["train", "vae", "--devices", "2", "--seed=1", "--devices=2"])
    ['train', 'vae', '--seed=1']
    """
    words = [word for word in argv if not word.startswith("--devices=")]
    while "--devices" in words:
        at = words.index("--devices")
        del words[at : at + 2]
    return words
