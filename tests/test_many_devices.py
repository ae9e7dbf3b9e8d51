"""Two processes share a batch and give the losses, and the samples, of one; for every recipe."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import many_devices_script
import pytest
import torch

from trilemma.recipes.catalog import CATALOG

SCRIPT = Path(many_devices_script.__file__)


@contextmanager
def two_processes(folder: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Start the script in two processes, which do not outlive the test."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder)],
            env=os.environ | shared | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in "01"
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def results_by_rank(tmp_path_factory):
    """See the same training in this process, and meanwhile in two."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    with two_processes(two) as started:
        alone = many_devices_script.trained(one)
        for process in started:
            output, _ = process.communicate(timeout=240)
            assert process.returncode == 0, output
    return alone, json.loads((two / "seen.json").read_text())


@pytest.mark.parametrize("name", CATALOG)
def test_losses_are_those_of_one_process(name, results_by_rank):
    one, two = (torch.tensor(s[name]["losses"], dtype=torch.float64) for s in results_by_rank)
    assert len(one) >= many_devices_script.STEPS
    assert ((one - two).abs() / one.abs().clamp(min=1)).max() < 1e-5


@pytest.mark.parametrize("name", CATALOG)
def test_samples_are_those_of_one_process(name, results_by_rank):
    one, two = (torch.tensor(s[name]["samples"]) for s in results_by_rank)
    assert one.shape == two.shape
    assert len(one) == 70
    differ = (one - two).abs() > 1e-4 * (1 + one.abs())
    assert differ.float().mean() < 2e-3  # a rounding to the next level, if any


def test_what_processes_say_ends_with_their_world(results_by_rank):
    """A thread that still held a tensor when the interpreter ended would end it with status -6."""
    (alone, _), (during, after) = (s["talkers"] for s in results_by_rank)
    assert alone == after == 0 < during
