"""Every benchmark runs once at its smallest; one that needs what is not here says what."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from benchmarks import environment
from benchmarks.__main__ import benchmark_modules

PIXEL = ("ddpm", "--data", "digits", "--width", "16", "--steps", "2")
BENCHMARKS = benchmark_modules()
RUNS = {
    "class-balance": {"runs": ("gan", "--data", "digits", "--steps", "2")},
    "own-originals": {"runs": ("sr3", "--data", "fashion-mnist", "--steps", "2")},
    "samplers": {"run": PIXEL},
    "sampling-peer": {"run": PIXEL},
    "latent": {
        "run": ("latent-diffusion", "--data", "digits", "--steps", "2"),
        "pixel": PIXEL,
    },
    "sr3": {"diffusion": ("sr3", "--data", "fashion-mnist", "--steps", "2")},
}
"""Trainings of which a benchmark wants the runs, by option."""


@pytest.mark.parametrize("name", BENCHMARKS)
def test_it_says_how_small_it_can_be(name):
    constants = BENCHMARKS[name]
    options, smallest = constants["OPTIONS"], constants["SMALLEST"]
    assert smallest
    for option, value in smallest.items():
        assert type(value) is type(options[option][0]) or isinstance(options[option][0], float)
        assert value != options[option][0]


CACHE = {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", "")}
"""Where the user's data lie, before the tests have a place of their own."""


def run(*words):
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=environment.ROOT,
        env=os.environ | CACHE,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_it_runs(name, tmp_path):
    constants = BENCHMARKS[name]
    if constants.get("WITH_PEERS") and not (environment.ENVIRONMENT / "built").exists():
        pytest.skip("the benchmarks' environment is not built: python -m benchmarks ddpm-step")
    options = {**constants["SMALLEST"], "threads": 1, "results": str(tmp_path / "results")}
    if "out" in constants["OPTIONS"]:
        options["out"] = str(tmp_path / "out")
    for option, words in RUNS.get(name, {}).items():
        options[option] = str(tmp_path / option)
        trained = run("trilemma", "train", *words, "--run", options[option])
        if trained.returncode == 2 and "data fetch" in trained.stderr:
            pytest.skip(trained.stderr.strip().splitlines()[-1])
        assert trained.returncode == 0, trained.stderr
    done = run(
        "benchmarks", name, *(word for k, v in options.items() for word in (f"--{k}", str(v)))
    )
    if done.returncode == 2 and ("data fetch" in done.stderr or "a checkout" in done.stderr):
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr[-2000:]
    (written,) = (tmp_path / "results").glob("*.json")
    assert any(section["rows"] for section in json.loads(written.read_text())["sections"])
