"""Every example in cells is short, asks the public face alone, and runs as it stands."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
CELLS = sorted(p for p in FOLDER.glob("*.py") if p.read_text().startswith("# %%"))
LONGEST = 60
LONG = 100
"""Updates of an example that `make test` leaves to `make test-all`."""


def imported(path):
    """Name what a file imports of this package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def takes_long(path):
    """Tell whether an example trains several times, for long, or draws in other processes."""
    text = path.read_text()
    steps = [int(count) for count in re.findall(r"\bsteps=(\d+)", text)]
    trains_often = text.count("tl.train(") > 1 or max(steps, default=0) >= LONG
    return trains_often or "multiprocessing" in imported(path)


def test_there_are_some():
    assert len(CELLS) >= 4


@pytest.mark.parametrize("path", CELLS, ids=lambda path: path.stem)
def test_it_is_short_and_asks_the_public_face_alone(path):
    assert len(path.read_text().splitlines()) <= LONGEST
    assert [name for name in imported(path) if name.startswith("trilemma")] == ["trilemma"]


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, id=p.stem, marks=[pytest.mark.slow] if takes_long(p) else []) for p in CELLS],
)
def test_it_runs(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if "multiprocessing" in imported(path):  # its processes begin with the file itself
        command = [sys.executable, str(path)]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert answer.returncode == 0, answer.stderr
        text = answer.stdout
    else:
        runpy.run_path(str(path), run_name="__main__")
        text = capsys.readouterr().out
    assert text.strip()
    assert "False" not in text  # what an example claims, it prints
