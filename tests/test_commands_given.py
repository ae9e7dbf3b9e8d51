"""What a trained run makes of captions and pictures that a user gives."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import refused

from trilemma.api import working
from trilemma.cli import main
from trilemma.recipes import online_frechet_distance
from trilemma.recipes.runs import load
from trilemma.training.run import Run

pytestmark = pytest.mark.usefixtures("brief_previews", "no_pages")


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Train a diffusion of captioned pictures, one of digits, and a super-resolution."""
    folder = tmp_path_factory.mktemp("given")
    pictures = folder / "pictures"
    pictures.mkdir()
    rows, draws = [], np.random.default_rng(0)
    for i in range(40):
        colour = ("red", "blue")[i % 2]
        x = draws.integers(0, 60, (8, 8, 3)).astype(np.uint8)
        x[..., 0 if colour == "red" else 2] += 180
        Image.fromarray(x).save(pictures / f"{i:02d}.png")
        rows.append((f"{i:02d}.png", f"{colour} square"))
    with (pictures / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file_name", "caption"), *rows])
    for name, words in {
        "said": ["ddpm", "--data", str(pictures), "--batch", "16", "--width", "16"],
        "digits": ["ddpm", "--batch", "16", "--width", "16"],
        "sr3": ["sr3", "--batch", "16", "--width", "16"],
    }.items():
        assert main(["train", *words, "--steps", "3", "--run", str(folder / name)]) == 0
    return folder


@pytest.fixture
def picture(workdir):
    """Write a picture of a digit's size."""
    x = (np.arange(64).reshape(8, 8) * 4).astype(np.uint8)
    Image.fromarray(x).save("a.png")
    Image.fromarray(x.T.copy()).save("b.png")
    return "a.png"


def test_captions_are_taken_in_turn_and_unknown_words_are_named(runs, workdir, capsys):
    run = str(runs / "said")
    words = ["sample", run, "-n", "4", "--steps", "2", "--out", "x.npz"]
    assert main([*words, "--cond", "red square; blue heptagon hat"]) == 0
    message = capsys.readouterr().err
    assert "without a meaning: heptagon\n" in message
    assert "not read: hat\n" in message
    assert np.load("x.npz")["x"].shape == (4, 3, 8, 8)
    assert main([*words[:-1], "x.png", "--cond", "red square"]) == 0
    with Image.open("x.png") as image:
        assert image.width > 0
    assert load(runs / "said", warn=pytest.fail).domain.vocabulary == ("blue", "red", "square")


def test_an_empty_caption_is_refused(runs, workdir, capsys):
    run = str(runs / "said")
    assert "without a word" in refused(capsys, "sample", run, "--cond", "red square; ,;")
    assert list(workdir.iterdir()) == []


def test_pictures_are_completed_edited_and_blended(runs, picture):
    run = str(runs / "digits")
    words = ["sample", run, "-n", "3", "--steps", "3", "--cond", picture]
    for more, out in (
        (["--mask", "bottom"], "done.npz"),
        (["--strength", "0.5"], "edited.npz"),
        (["--to", "b.png"], "row.png"),
    ):
        assert main([*words, *more, "--out", out]) == 0
        assert Path(out).exists()
    done, edited = (np.load(name)["x"] for name in ("done.npz", "edited.npz"))
    assert done.shape == edited.shape == (3, 1, 8, 8)
    assert (done[0, 0, :4] == done[1, 0, :4]).all()
    assert (edited[0] != edited[1]).any()


def test_a_photo_of_any_size_is_enlarged(runs, workdir):
    x = np.random.default_rng(0).integers(0, 255, (5, 9)).astype(np.uint8)
    Image.fromarray(x).save("photo.png")
    run = str(runs / "sr3")
    assert main(["sample", run, "--steps", "2", "--cond", "photo.png", "--out", "big.png"]) == 0
    with Image.open("big.png") as big:
        assert big.size == (36, 20)


@pytest.mark.parametrize(
    ("run", "words", "says"),
    [
        ("digits", ["--cond", "a.png"], "neither --mask nor"),
        ("digits", ["--strength", "0.5"], "--strength goes with"),
        ("digits", ["--cond", "a.png", "--strength", "1.5"], "at most 1"),
        ("digits", ["--cond", "a.png", "--to", "c.png"], "c.png"),
        ("digits", ["--steps", "2000"], "2000 sample steps"),
        ("digits", ["--grid", "log"], "log-snr"),
        ("digits", ["--width", "3"], "no 'width' to choose"),
        ("sr3", ["--guidance", "2"], "no 'guidance'"),
    ],
)
def test_mistakes_get_one_sentence(run, words, says, runs, picture, capsys):
    before = sorted(Path.cwd().iterdir())
    assert says in refused(capsys, "sample", str(runs / run), "-n", "2", *words, "--out", "x.png")
    assert sorted(Path.cwd().iterdir()) == before


def test_what_may_change_at_sampling_is_an_option(runs, workdir):
    words = ["sample", str(runs / "digits"), "-n", "2", "--steps", "3", "--out"]
    assert main([*words, "a.npz", "--grid", "karras"]) == 0
    assert main([*words, "b.npz", "--sampler", "ddim", "--eta", "1"]) == 0
    assert (np.load("a.npz")["x"] != np.load("b.npz")["x"]).any()


def test_a_watched_training_tells_its_fd(workdir, monkeypatch):
    for constant, value in {"GUESS": 0.0, "GROWTH": 1.0, "SHARE": 1e9}.items():  # it looks at once
        monkeypatch.setattr(online_frechet_distance, constant, value)
    monkeypatch.setattr(working, "report_run", lambda run, data, session: None)
    words = ["train", "vae", "--steps", "8", "--batch", "16"]
    for name, more in (("plain", []), ("watched", ["--watch"])):
        assert main([*words, *more, "--run", name]) == 0
    looks = {
        name: [event.values for event in Run.open(Path(name)).events() if "fd" in event.values]
        for name in ("plain", "watched")
    }
    assert not looks["plain"]
    assert looks["watched"]
    assert all(look["fd"] > 0 and look["fd_n"] == 256 for look in looks["watched"])
    assert '"watch": true' in Path("watched/recipe.json").read_text()
