"""Samples that another program made, on the command line: measured alone, and beside recipes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trilemma.cli import main
from trilemma.data import sources


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """Work in a folder with draws of a Gaussian of the moments of two-moons."""
    monkeypatch.chdir(tmp_path)
    x = sources.load("two-moons").train.x.double().numpy()
    draw = np.random.default_rng(0)
    np.save("gaussian.npy", draw.multivariate_normal(x.mean(0), np.cov(x.T), 120))
    return tmp_path


def test_samples_alone_have_the_metrics_of_samples_and_no_speed(workdir, capsys):
    assert main(["evaluate", "gaussian.npy", "--data", "two-moons", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["recipe"] == "gaussian"
    assert output["source"] == "gaussian.npy"
    assert (output["n"], output["training"], output["cost"]) == (120, {}, {})
    score = output["metrics"]["energy_distance"]
    assert score["low"] <= score["value"] <= score["high"]
    assert score["floor"] < score["value"]
    assert {"normal", "mean", "noise"} <= set(score["baselines"])
    assert "log_prob" not in output["metrics"]
    assert main(["evaluate", "gaussian.npy", "--data", "two-moons", "--samples", "80"]) == 0
    message = capsys.readouterr().out
    assert "n = 80" in message
    assert "cost" not in message
    assert [p.name for p in workdir.iterdir()] == ["gaussian.npy"]


def test_they_stand_beside_recipes_and_are_measured_once(workdir, capsys):
    words = ["compare", "--data", "two-moons", "--recipes", "vae", "--minutes", "0.02", "--json"]
    words += ["--with", "gaussian=gaussian.npy"]
    assert main(words) == 0
    first = json.loads(capsys.readouterr().out)
    vae, gaussian = first["rows"]
    assert (vae["recipe"], gaussian["recipe"]) == ("vae", "gaussian")
    assert vae["n"] == gaussian["n"] == 120  # as many as are ready
    assert vae["training"]["updates"] > 0
    assert gaussian["training"] == {}
    one, other = (row["metrics"]["energy_distance"] for row in first["rows"])
    assert one["floor"] == other["floor"]
    folder = Path("comparisons/two-moons-001")
    page = (folder / "report.html").read_text()
    assert "gaussian" in page
    evaluation_path = folder / "runs" / "with-gaussian" / "evaluation.json"
    stamp = evaluation_path.stat().st_mtime_ns
    (folder / "report.html").unlink()
    assert main(words) == 0
    second_output = json.loads(capsys.readouterr().out)
    assert second_output["rows"][1] == gaussian
    assert evaluation_path.stat().st_mtime_ns == stamp
    np.save("gaussian.npy", np.load("gaussian.npy") + 0.1)
    assert main([*words, "--out", str(folder)]) == 2  # other samples are another comparison
    assert "is not this comparison" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "gaussian.npy"], "say what they imitate: --data NAME_OR_PATH"),
        (["evaluate", "gaussian.npy", "--data", "digits"], "floats from"),
        (["evaluate", "gaussian.npy", "--data", "two-moons", "--samples", "500"], "holds 120"),
        (["evaluate", "gaussian.npy", "--data", "two-moons", "--draws", "5"], "of the bound"),
        (["evaluate", "nowhere.npy", "--data", "two-moons"], "nowhere.npy does not exist"),
        (["compare", "--with", "gaussian.npy"], "give NAME=PATH"),
        (["compare", "--with", "a b=gaussian.npy"], "give NAME=PATH"),
        (["compare", "--data", "two-moons", "--with", "vae=gaussian.npy"], "another row"),
        (
            [
                *("compare", "--data", "two-moons", "--with", "g=gaussian.npy"),
                *("--with", "g=gaussian.npy"),
            ],
            "another row",
        ),
        (
            [
                *("compare", "--data", "two-moons", "--with", "g=gaussian.npy"),
                *("--samples", "500"),
            ],
            "give at most 120",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence(workdir, capsys, words, message):
    assert main(words) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("trilemma: ")
    assert message in last


def test_a_run_knows_its_data(workdir, capsys):
    assert main(["train", "vae", "--data", "two-moons", "--steps", "2", "--run", "r"]) == 0
    assert main(["evaluate", "r", "--size", "8"]) == 2
    assert "a run knows its data" in capsys.readouterr().err
