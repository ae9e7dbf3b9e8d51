"""A cache of its own for each test, and pictures to put into folders."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Let no test read or write the user's cache."""
    where = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(where))
    return where / "trilemma"


@pytest.fixture
def picture():
    """Make a picture that a seed tells from others."""

    def make(seed, size=(20, 20), colour=True):
        shape = (size[1], size[0], 3) if colour else (size[1], size[0])
        return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))

    return make


@pytest.fixture
def album(tmp_path, picture):
    """Make a folder of n pictures named 000.png, …, below an optional subfolder."""

    def make(n, below="", start=0, **how):
        folder = tmp_path / "album"
        (folder / below).mkdir(parents=True, exist_ok=True)
        for i in range(start, start + n):
            picture(i, **how).save(folder / below / f"{i:03}.png")
        return folder

    return make
