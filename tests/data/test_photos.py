"""Photographs: cutting, scales, the split, and the real ones where they are."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.data import photos, sources
from trilemma.data.photos import cut, reduced, whole_photos

REAL = Path.home() / ".cache" / "trilemma" / "photos.safetensors"


def picture(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("times", [1, 2, 4])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (40, 33), (17, 80)])
def test_squares_are_where_they_say_and_cover_all_but_the_edges(height, width, times):
    photo, step = picture(height, width), 16 // times
    squares, corners = cut(photo, 16, times)
    flat = squares.reshape(-1, 3, 16, 16)
    assert len(flat) == len(corners) == len(set(corners))
    assert len(corners) == ((height - 16) // step + 1) * ((width - 16) // step + 1)
    for square, (left, top) in zip(flat, corners, strict=True):
        assert torch.equal(square, photo[:, top : top + 16, left : left + 16])
    lefts = sorted({left for left, _ in corners})
    assert lefts == list(range(lefts[0], lefts[-1] + 1, step))
    assert abs(lefts[0] - (width - 16 - lefts[-1])) <= 1


def test_a_photograph_smaller_than_a_square_gives_none():
    squares, corners = cut(picture(15, 400), 16, 2)
    assert squares.numel() == 0
    assert corners == []


def test_reduced_keeps_proportions_means_and_what_is_small_already():
    photo = picture(300, 400)
    small = reduced(photo, 100)
    assert small.shape == (3, 75, 100)
    assert small.dtype == torch.uint8
    assert (small.float().mean((1, 2)) - photo.float().mean((1, 2))).abs().max() < 0.5
    assert small.float().std() < 30  # antialiased: noise of 74 levels is averaged out
    assert reduced(photo, 400) is photo
    assert reduced(photo.transpose(1, 2), 100).shape == (3, 100, 75)


def test_the_list_is_split_by_photograph():
    train, test = photos._names("train"), photos._names("test")
    assert len(train) == 16
    assert sorted(test) == sorted(photos.TEST)
    assert not set(train) & set(test)
    assert {p for package in photos.BUNDLE.packages for p in package.sha256} == set(
        photos.PATHS.values()
    )


@pytest.fixture
def paper(monkeypatch):
    """Photographs of noise in place of the real ones."""
    pictures = {
        f"{name}@{longest}": picture(longest * 5 // 8, longest, seed)
        for seed, name in enumerate(photos.PATHS)
        for longest in (1280, *photos.SCALES)
        if longest < 500 or name in ("Aqua", "Dune")
    }
    for name in photos.PATHS:
        for longest in (1280, *photos.SCALES):
            pictures.setdefault(f"{name}@{longest}", picture(20, 70))
    monkeypatch.setattr(photos.Bundle, "tensors", lambda _: pictures)
    return pictures


@pytest.mark.parametrize("size", [None, 128])
def test_patches_know_their_photograph_and_place(paper, size):
    data = sources.load("photos", size=size)
    side = size or 64
    assert data.domain.shape == (3, side, side)
    assert data.domain.classes == ()
    for part, names in ((data.train, "train"), (data.test, "test")):
        assert len(part.names) == len(part.x) == len(set(part.names))
        assert {name.partition("@")[0] for name in part.names} == set(photos._names(names))
        for i in range(0, len(part), 37):
            at, left, top = part.names[i].split("+")
            left, top = int(left), int(top)
            expected = paper[at][:, top : top + side, left : left + side]
            assert torch.equal(part.x[i], expected)
    assert any("Dune" in note for note in data.notes)
    part = sources.load("photos@10%", size=side)
    assert len(part.train.names) == len(part.train) == round(len(data.train) / 10)


def test_whole_photographs(paper):
    full_photos = whole_photos("test", longest=600)
    assert [name for name, _ in full_photos] == photos._names("test")
    shapes = {name: tuple(x.shape) for name, x in full_photos}
    assert shapes["Dune"] == (3, 375, 600)
    assert len(whole_photos("train")) == 16


@pytest.mark.parametrize("size", [0, 8, 63, 256])
def test_a_size_that_is_not_offered(size):
    with pytest.raises(BadInput, match="not offered for 'photos'; give one of 16, 32, 64, 128"):
        sources.load("photos", size=size)


def test_what_cannot_be_asked_of_whole_photographs(paper):
    with pytest.raises(BadInput, match="no split 'tset'"):
        whole_photos("tset")
    for longest in (0, -1, 1281):
        with pytest.raises(BadInput, match="not offered; give 1 to 1280"):
            whole_photos(longest=longest)


def test_absent_packages_are_named(monkeypatch):
    monkeypatch.setattr(photos.Debian, "holds", lambda *_: False)
    for ask in (lambda: sources.load("photos"), whole_photos):
        with pytest.raises(BadInput, match="mate-backgrounds and plasma-workspace-wallpapers"):
            ask()


def test_a_folder_of_that_name_is_meant_by_its_path(paper, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    assert len(sources.load("photos", size=128).train) > 0
    with pytest.raises(BadInput, match=r"say './photos' for the folder, or 'name:photos'"):
        sources.declared("photos", radius=None, columns=None)
    with pytest.raises(
        BadInput, match=r"^--size 3 is not offered for 'photos'; give one of 16, 32, 64, 128\.$"
    ):
        sources.load("photos", size=3)
    with pytest.raises(BadInput, match="holds no images"):
        sources.load("./photos", size=64)


@pytest.mark.skipif(not REAL.is_file(), reason="'trilemma data fetch photos' was not called here")
def test_the_real_photographs(own_cache):
    own_cache.mkdir()
    photos.BUNDLE.cache_path.symlink_to(REAL)
    start = time.process_time()
    data = sources.load("photos")
    assert time.process_time() - start < 3
    assert (len(data.train), len(data.test)) == (8493, 3507)
    train_bytes = {x.numpy().tobytes() for x in data.train.x}
    assert not any(x.numpy().tobytes() in train_bytes for x in data.test.x)
    shapes = {name: tuple(x.shape) for name, x in whole_photos("test")}
    assert shapes["LadyBird"] == (3, 800, 1280)
