"""How soon something happens: `--help`, and the first training step after the command.

There is no peer with a command line of this kind. Beside the seconds, which depend on the machine,
stands a yardstick: how much longer than `import torch`, which anything with torch must wait for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.record import Section
from benchmarks.turns import by_turns, ratio
from trilemma.core.errors import BadInput

ABOUT = "--help, and the way from the command to the first training step"
OPTIONS = {"rounds": (7, "times that each is started")}
SMALLEST = {"rounds": 1}
"""Options with which all of it runs once, soon."""

TORCH, HELP, LIST, STEP = (
    "import torch",
    "trilemma --help",
    "trilemma list",
    "trilemma train vae --data digits: first step",
)
GOALS = {HELP: 1.5, STEP: 5.0}
"""Seconds within which each is wanted on two cores."""
COMMAND = str(Path(sys.executable).parent / "trilemma")


def main(options: Any) -> list[Section]:
    """Start each by turns."""
    sides = {
        TORCH: _timed([sys.executable, "-c", "import torch"]),
        HELP: _timed([COMMAND, "--help"]),
        LIST: _timed([COMMAND, "list"]),
        STEP: _first_step,
    }
    seconds = by_turns(sides, options.rounds)
    ratios = {name: ratio(seconds, peer=name, ours=TORCH) for name in sides if name != TORCH}
    rows = [
        (name, f"{median(took):.2f}", f"{max(took):.2f}", GOALS.get(name, ""), ratios.get(name, 1))
        for name, took in seconds.items()
    ]
    heads = ["what", "seconds, median", "most", "wanted", "of import torch"]
    return [Section("From command to result", heads, rows, ratios=ratios, seconds=seconds)]


def _timed(command: list[str]) -> Callable[[], float]:
    def once() -> float:
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - start

    return once


def _first_step() -> float:
    """Return the seconds from the command to the first step in the run's events."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [COMMAND, "train", "vae", "--data", "digits", "--steps", "2", "--run", str(run)]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        took = None
        while took is None and process.poll() is None:
            time.sleep(0.005)
            if _has_stepped(run / "events.jsonl"):
                took = time.perf_counter() - start
        _, errors = process.communicate()
    if process.returncode or took is None:
        raise BadInput(f"'{' '.join(command)}' made no step: {errors.decode().strip()}")
    return took


def _has_stepped(events: Path) -> bool:
    if not events.exists():
        return False
    lines = events.read_text().splitlines()
    return any(json.loads(line).get("kind") == "step" for line in lines if line.endswith("}"))
