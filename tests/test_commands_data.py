"""Data as a command meets them: names, and folders that were moved or have changed since."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from refusals import refused

from trilemma.cli import main
from trilemma.comparison.plan import Plan
from trilemma.data import pictures
from trilemma.data.sources import load
from trilemma.metrics.judge import Judgement
from trilemma.recipes import evaluate

pytestmark = pytest.mark.usefixtures("no_pages", "no_previews")

TRAIN = ["train", "autoencoder", "--steps", "2", "--batch", "16"]


@pytest.fixture(autouse=True)
def no_metrics(monkeypatch):
    """Measure nothing: tests are about what stands in an evaluation beside its scores."""
    nothing = Judgement(
        metrics={},
        skipped={},
        seconds={"": 1.0},
        samples=torch.zeros(1),
        neighbours=torch.zeros(1),
    )
    monkeypatch.setattr(
        evaluate, "reference_for", lambda *_, **__: SimpleNamespace(name="", note="")
    )
    monkeypatch.setattr(evaluate, "judge", lambda *_, **__: nothing)


def picture(seed, path):
    """Draw a picture of 8 by 8 pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train on an album with two classes, in a folder of its own."""
    folder = tmp_path_factory.mktemp("work")
    for i in range(60):
        picture(i, folder / "album" / "ab"[i % 2] / f"{i:03}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*TRAIN, "--data", "album", "--run", "run"]) == 0
    shutil.copytree(folder, folder.with_name("pristine"))
    return folder


@pytest.fixture
def work(trained, monkeypatch):
    """Work in that folder as it was after training."""
    shutil.rmtree(trained)
    shutil.copytree(trained.with_name("pristine"), trained)
    monkeypatch.chdir(trained)
    return trained


def test_a_run_keeps_an_absolute_path_and_counts(trained):
    record = json.loads((trained / "run/recipe.json").read_text())["data"]
    assert record["source"] == str(trained / "album")
    assert sum(record["examples"].values()) == 60


@pytest.mark.parametrize(
    "words",
    [
        [*TRAIN, "--data", "digits"],
        [*TRAIN, "--data", "digits@10%"],
        ["compare", "--recipes", "autoencoder", "--data", "digits"],
        ["data", "check", "digits"],
        ["show", "autoencoder", "--data", "digits"],
        ["resume", "run", "--data", "digits"],
        ["evaluate", "run", "--data", "digits"],
        ["evaluate", "samples", "--data", "digits"],
        ["verify", "run", "--data", "digits"],
    ],
)
def test_a_name_and_a_folder_at_once_are_refused_everywhere(words, work, capsys):
    for folder in ("digits", "samples"):
        Path(folder).mkdir()
    message = refused(capsys, *words)
    assert "'./digits'" in message
    assert f"'name:{words[-1]}'" in message
    assert not Path("runs").exists()


def test_the_named_set_is_trained_on_beside_a_folder_of_its_name(work, capsys):
    Path("digits").mkdir()
    for words in (["--data", "name:digits@10%"], []):
        assert main([*TRAIN, *words]) == 0
    runs = [Path(line) for line in capsys.readouterr().out.split()]
    records = [json.loads((run / "recipe.json").read_text())["data"] for run in runs]
    assert [record["source"] for record in records] == ["digits@10%", "digits"]
    assert main(["resume", str(runs[0]), "--steps", "3"]) == 0
    assert main(["data", "check", "name:swiss-roll"]) == 0
    assert Path("swiss-roll-sheet.png").exists()


def test_a_run_finds_its_data_from_another_folder(work, monkeypatch):
    os.mkdir("elsewhere")
    monkeypatch.chdir("elsewhere")
    os.mkdir("album")  # another one
    assert main(["resume", "../run", "--steps", "3"]) == 0


@pytest.mark.parametrize(
    "words", [["resume", "run", "--steps", "3"], ["evaluate", "run", "--samples", "50"]]
)
def test_moved_data_are_named_and_found_where_somebody_says(words, work, capsys):
    Path("album").rename("photos of mine")
    message = refused(capsys, *words)
    assert f"'{work}/album', where nothing lies now" in message
    assert "--data NEW_PATH" in message
    assert main([*words, "--data", "photos of mine"]) == 0
    assert "changed" not in capsys.readouterr().err


def test_verify_takes_moved_data(work, capsys):
    Path("album").rename("moved")
    assert "--data NEW_PATH" in refused(capsys, "verify", "run")
    assert main(["verify", "run", "--data", "moved"]) in (0, 1)


def test_samples_need_no_data(work):
    shutil.rmtree("album")
    assert main([*SAMPLE, "--out", "a.png"]) == 0


SAMPLE = ["sample", "run", "-n", "2"]


def one_more():
    picture(1000, Path("album/a/more.png"))


def one_less():
    next(Path("album/a").iterdir()).unlink()


def other_pixels():
    path = next(Path("album/a").iterdir())
    before = os.stat(path)
    picture(2000, path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def other_class():
    path = next(Path("album/a").iterdir())
    path.rename(Path("album/b") / f"moved-{path.name}")


CHANGES = [one_more, one_less, other_pixels, other_class]


@pytest.mark.parametrize("change", CHANGES)
def test_changed_data_are_trained_on_only_if_that_is_asked_for(change, work, capsys):
    change()
    words = ["resume", "run", "--steps", "3"]
    message = refused(capsys, *words)
    assert "examples then" in message
    assert "--changed-data" in message
    assert main([*words, "--changed-data"]) == 0
    assert "the data have changed since run was begun" in Path("run/events.jsonl").read_text()


@pytest.mark.parametrize("change", CHANGES)
def test_an_evaluation_by_changed_data_says_so(change, work, capsys):
    words = ["evaluate", "run", "--samples", "50", "--json"]
    change()
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "the data have changed since run was begun" in captured.err
    evaluation = json.loads(captured.out)
    assert "examples then" in evaluation["data_change"]
    assert (
        evaluation["data_change"]
        == json.loads(Path("run/evaluation.json").read_text())["data_change"]
    )


def test_an_evaluation_by_the_same_data_says_nothing(work, capsys):
    assert main(["evaluate", "run", "--samples", "50", "--json"]) == 0
    captured = capsys.readouterr()
    assert "changed" not in captured.err
    assert "data_change" not in json.loads(captured.out)


def larger(path):
    for file in Path("album").rglob("*.png"):
        with Image.open(file) as image:
            image.resize((12, 12)).save(file)


def third_class(path):
    for i in range(3):
        picture(100 + i, path / "c" / f"{i}.png")


@pytest.mark.parametrize(("change", "what"), [(larger, "shape"), (third_class, "classes")])
def test_data_that_do_not_fit_the_model_are_refused(change, what, work, capsys):
    change(Path("album"))
    for words in (["resume", "run", "--steps", "3", "--changed-data"], ["evaluate", "run"]):
        message = refused(capsys, *words)
        assert "its model does not fit them" in message
        assert what in message


@pytest.mark.parametrize("stage", ["read_header", "centre_square"])
@pytest.mark.parametrize(
    "words",
    [
        [*TRAIN, "--data", "many"],
        ["compare", "--recipes", "autoencoder", "--data", "many"],
        ["evaluate", "run", "--data", "many"],
        ["resume", "run", "--steps", "9", "--data", "many"],
    ],
)
def test_a_signal_ends_reading_at_once(words, stage, work, capsys, monkeypatch):
    for i in range(400):
        picture(i, Path(f"many/{i}.png"))
    done = []

    real = getattr(pictures, stage)

    def interrupted(*arguments):
        done.append(arguments)
        if len(done) == 50:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments)

    monkeypatch.setattr(pictures, stage, interrupted)
    monkeypatch.setattr(pictures.os, "cpu_count", lambda: 1)
    assert main(words) == 130
    assert "reading was stopped; nothing was written" in capsys.readouterr().err
    assert len(done) < 400
    assert not Path("runs").exists()
    assert not Path("comparisons").exists()


def test_a_comparison_is_the_same_wherever_its_data_lie():
    options = {"size": None, "recipes": ["autoencoder"], "minutes": 1.0, "samples": 50, "seed": 0}
    data = load("digits@10%")
    plan = Plan.of(data, "/old/album", device="cpu", precision="auto", **options)
    moved, another = (
        dataclasses.replace(plan, **change) for change in ({"source": "/new"}, {"seed": 1})
    )
    assert moved.is_of(plan.to_json())
    assert not another.is_of(plan.to_json())
    assert not plan.is_of(None)
