"""Samples carry what they are of: classes and captions, given or drawn, and are read back."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from trilemma.cli import main
from trilemma.data.sources import load

pytestmark = pytest.mark.usefixtures("no_pages", "no_previews")

RECIPES = {
    "ddpm": ["--width", "8"],
    "vae": ["--conditional", "true", "--latent", "2"],
    "gan": ["--conditional", "true"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train conditional models on digits, and one on pictures with captions."""
    folder = tmp_path_factory.mktemp("runs")
    rows = []
    for i in range(40):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8), np.uint8)
        (folder / "album").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / "album" / f"{i:02}.png")
        rows.append({"file_name": f"{i:02}.png", "caption": f"a {['red', 'blue'][i % 2]} cat"})
    text = "\n".join(map(json.dumps, rows))
    (folder / "album/metadata.jsonl").write_text(text)
    for name, words in RECIPES.items():
        brief = ["--steps", "2", "--batch", "16", "--run", str(folder / name)]
        assert main(["train", name, *brief, *words]) == 0
    words = ["--data", str(folder / "album"), "--steps", "2", "--batch", "16", "--width", "8"]
    assert main(["train", "ddpm", *words, "--run", str(folder / "captioned")]) == 0
    return folder


@pytest.fixture
def sample(trained, tmp_path, monkeypatch):
    """Sample a run into a file or folder, and return its path."""
    monkeypatch.chdir(tmp_path)

    def draw(run, n, out, *words):
        words = ["sample", str(trained / run), "-n", str(n), "--out", out, *words]
        assert main(words) == 0
        return Path(out)

    return draw


def rows_of(folder):
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_classes_that_were_asked_for_are_read_back(sample):
    folder = sample("ddpm", 40, "out", "--cond", "3,5,7", "--steps", "2")
    rows = rows_of(folder)
    assert list(rows[0]) == ["file_name", "class"]
    assert [row["class"] for row in rows[:4]] == ["3", "5", "7", "3"]
    data = load("out")
    assert data.domain.classes == ("3", "5", "7")
    for part in (data.train, data.test):
        for name, label in zip(part.names, part.labels.tolist(), strict=True):
            row = rows[int(Path(name).stem)]
            assert row["file_name"] == name
            assert row["class"] == data.domain.classes[label]
    assert "classes are from labels.csv" in " ".join(data.notes)
    assert "no images of a known kind" not in " ".join(data.notes)


@pytest.mark.parametrize("run", RECIPES)
def test_classes_that_a_model_drew_are_those_of_its_samples(run, sample):
    """Asked for the classes that it drew, it makes the same samples."""
    steps = ["--steps", "2"] if run == "ddpm" else []
    first = np.load(sample(run, 70, "drawn.npz", *steps))
    labels = first["labels"]
    assert labels.shape == (70,)
    assert len(set(labels.tolist())) > 3
    cond = ",".join(map(str, labels.tolist()))
    asked_for = np.load(sample(run, 70, "again.npz", "--cond", cond, *steps))
    assert (asked_for["labels"] == labels).all()
    assert (asked_for["x"] == first["x"]).all()
    tensors = load_file(sample(run, 5, "few.safetensors", *steps))
    assert torch.equal(tensors["labels"], torch.from_numpy(labels[:5]))
    assert torch.equal(tensors["x"], torch.from_numpy(first["x"][:5]))


def test_captions_that_were_asked_for_are_read_back(sample):
    words = ["--cond", "a red cat; a blue, odd cat", "--steps", "2"]
    rows = rows_of(sample("captioned", 40, "out", *words))
    assert list(rows[0]) == ["file_name", "caption"]
    data = load("out")
    texts = [text for part in (data.train, data.test) for text in part.captions]
    assert Counter(texts) == {"a red cat": 20, "a blue, odd cat": 20}
    assert not data.domain.classes
    arrays = np.load(sample("captioned", 3, "out.npz", *words))
    assert arrays["captions"].tolist() == ["a red cat", "a blue, odd cat", "a red cat"]


def test_captions_that_a_model_drew_are_of_its_training(sample):
    rows = rows_of(sample("captioned", 20, "out", "--steps", "2"))
    assert {row["caption"] for row in rows} == {"a red cat", "a blue cat"}


def test_what_knows_no_class_writes_none(trained, sample):
    assert main(["train", "vae", "--steps", "2", "--latent", "2", "--run", "plain"]) == 0
    folder = sample(Path.cwd() / "plain", 3, "out")
    assert len(list(folder.iterdir())) == 3
    assert np.load(sample(Path.cwd() / "plain", 3, "out.npz")).files == ["x"]


def test_one_class_alone_is_no_class_of_training_data(sample):
    sample("ddpm", 20, "out", "--cond", "3", "--steps", "2")
    data = load("out")
    assert not data.domain.classes
    assert "all images are of one class in labels.csv: 3" in data.notes
