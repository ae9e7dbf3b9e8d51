"""SIGKILL at any moment, the inside of the checkpoint writer included, changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from trilemma.training.run import Run


def test_a_killed_run_goes_on_bit_for_bit(tmp_path, differences):
    script = Path(__file__).with_name("kill_script.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["replay"]["calls"] > 20
    assert all(counts["kills"] >= 1 for counts in report.values())
    compared = 0
    for path in sorted(tmp_path.iterdir()):
        if not path.is_dir() or path.name.endswith("-whole"):
            continue
        run, warnings = Run.open(path), []
        unbroken = Run.open(tmp_path / f"{run.recipe['name']}-whole")
        a, b = unbroken.checkpoint(warnings.append), run.checkpoint(warnings.append)
        assert warnings == []
        assert a.step == b.step == 6
        assert differences(dict(a.weights), dict(b.weights)) == [], path.name
        assert differences(a.state, b.state) == [], path.name
        assert not list((path / "checkpoints").glob("*.tmp"))
        assert not (path / "lock").exists()
        steps = [e.step for e in run.events() if e.kind == "step"]
        assert steps == list(range(1, 7)), path.name
        compared += 1
    assert compared == report["replay"]["calls"] + report["two-stages"]["calls"] + 2
