"""Two processes share a batch and give the losses, and the samples, of one; for every recipe."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trilemma.recipes.catalog import CATALOG

SCRIPT = Path(__file__).with_name("many_devices_script.py")


def together(folder: Path, processes: int) -> dict:
    """Run the script in so many processes and return what they saw."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(processes):
        environment = os.environ | {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        words = [sys.executable, str(SCRIPT), str(folder), *CATALOG]
        started.append(
            subprocess.Popen(
                words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
    for process in started:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
    return json.loads((folder / "seen.json").read_text())


@pytest.fixture(scope="module")
def results_by_rank(tmp_path_factory):
    """See the same training in one process and in two."""
    folder = tmp_path_factory.mktemp("devices")
    return together(folder / "one", 1), together(folder / "two", 2)


@pytest.mark.parametrize("name", CATALOG)
def test_losses_are_those_of_one_process(name, results_by_rank):
    one, two = (torch.tensor(s[name]["losses"], dtype=torch.float64) for s in results_by_rank)
    assert len(one) >= 20
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
