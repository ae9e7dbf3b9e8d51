"""Black and white images drawn from greys: once, or anew each time."""

from __future__ import annotations

import torch

from trilemma.core.domain import Levels
from trilemma.core.noise import Noise
from trilemma.data import sources
from trilemma.data.binarised_mnist import binarised, sample_binary
from trilemma.data.stream import ExampleStream


def test_the_share_of_white_is_the_grey():
    grey = torch.full((4000, 1, 2, 2), 64, dtype=torch.uint8)
    white = sample_binary(grey, 255, Noise.of(0, 4000)).float().mean()
    assert abs(white - 64 / 255) < 0.01
    ends = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2).repeat(100, 1, 1, 1)
    assert (sample_binary(ends, 255, Noise.of(1, 100)) == ends // 255).all()


def test_static_is_always_the_same_and_dynamic_is_drawn_anew():
    grey = sources.load("digits")
    still, moving = (binarised(grey, "b", dynamic=d) for d in (False, True))
    assert still.domain.values == Levels(2)
    assert torch.equal(still.test.x, moving.test.x)
    assert torch.equal(still.train.x, moving.train.x)
    assert still.fingerprint != moving.fingerprint

    def batch_images(data, k):
        stream = ExampleStream(data.train, 32, 0)
        return stream.rows(k), stream.batch(k).x

    epoch = len(grey.train)  # the same examples come again after 32 epochs at the same places
    for data, share in ((still, 0.0), (moving, 0.02)):
        first = {}
        for k in (0, epoch // 32 + 1):
            rows, x = batch_images(data, k)
            assert set(x.unique().tolist()) == {0, 1}
            first |= {(int(r), k): one for r, one in zip(rows, x, strict=True)}
        train_x = data.train.x
        changed = torch.stack(
            [(one != train_x[r]).float().mean() for (r, _), one in first.items()]
        )
        assert (changed.mean() > share) if share else (changed.max() == 0)
    assert torch.equal(batch_images(moving, 3)[1], batch_images(moving, 3)[1])
