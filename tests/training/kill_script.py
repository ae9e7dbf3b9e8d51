"""Trains in processes that are killed, then resumes; started by test_kill. Arguments: folder.

One process imports torch and forks a child for each attempt, since importing takes longer than
all the trainings together. It runs no backward pass itself, so that forking is safe.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from awkward_clients import build

from trilemma.core.session import Session
from trilemma.training import checkpoint as writer
from trilemma.training import run as runs
from trilemma.training.budget import Budget
from trilemma.training.fit import fit
from trilemma.training.precision import Precision
from trilemma.training.run import Run
from trilemma.training.trainer import Settings

STEPS = 6


def train(path: Path, name: str) -> None:
    run = Run.open(path)
    model, stages = build(name)
    list(
        fit(
            run,
            model,
            stages,
            Settings(lr=1e-2, warmup=3, ema=0.9),
            Budget(steps=STEPS) if run.is_untouched else None,
            session=Session(),
            precision=Precision("fp32", False, ""),
            resume=True,
            save_every=2,
        )
    )


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(call: int) -> None:
    """Let the n-th thing that the writer does to the disk be the last, half done or just done."""
    count = 0

    def fatal(function, half=None):
        def wrapped(*args, **kwargs):
            nonlocal count
            count += 1
            if count == call and half is not None:
                half(*args)
                die()
            result = function(*args, **kwargs)
            if count == call:
                die()
            return result

        return wrapped

    def half(path, data):
        path.write_bytes(bytes(data)[: len(data) // 2])

    for module in (writer, runs):
        module.write_file = fatal(writer.write_file if module is writer else runs.write_file, half)
    writer.sync_folder = fatal(writer.sync_folder)
    runs.sync_folder = fatal(runs.sync_folder)
    os.rename, os.replace = fatal(os.rename), fatal(os.replace)
    runs.shutil.rmtree = fatal(runs.shutil.rmtree)


def child(path: Path, name: str, call: int | None = None) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if call is not None:
                die_at(call)
            train(path, name)
            status = 0
        finally:
            os._exit(status)
    return pid


def wait(pid: int) -> bool:
    """Tell whether a child ended well; anything but that and SIGKILL is an error."""
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if status != 0:
        raise SystemExit(f"a child ended with {status}")
    return True


def main(root: Path) -> None:
    report = {}
    for name in ("replay", "two-stages"):
        reference = Run.create(root / f"{name}-whole", {"name": name}, {}).path
        start = time.perf_counter()
        assert wait(child(reference, name))
        usual = time.perf_counter() - start
        # Inside the writer, at each of its calls in turn within the third checkpoint and at some
        # of the others: a run a call, always resumed to its end.
        calls = 0
        for call in (*range(1, 20, 4), *range(20, 36), 41) if name == "replay" else (7, 30, 45):
            path = Run.create(root / f"{name}-call-{call}", {"name": name}, {}).path
            assert not wait(child(path, name, call)), "the writer made fewer calls"
            calls += 1
            assert wait(child(path, name))
        # At random moments, again and again until the run is through.
        dice, kills = random.Random(name), 0
        path = Run.create(root / f"{name}-random", {"name": name}, {}).path
        while True:
            pid = child(path, name)
            if kills < 4:
                time.sleep(dice.uniform(0.02, 0.6 * usual))
                os.kill(pid, signal.SIGKILL)
            if not wait(pid):
                kills += 1
            elif kills:
                break
            else:  # the machine was busy when the usual time was taken: anew, and sooner
                usual /= 2
                shutil.rmtree(path)
                Run.create(path, {"name": name}, {})
        report[name] = {"calls": calls, "kills": kills}
    (root / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
