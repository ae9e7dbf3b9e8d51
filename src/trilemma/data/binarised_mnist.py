"""Grey images made black and white, each pixel white with the probability of its grey level.

    P(b_d = 1) = x_d / (L - 1)

*Static*: every image is drawn once, and is always the same. *Dynamic*: training images are drawn
anew each time they are seen (Burda, Grosse & Salakhutdinov, 2016), so that a model cannot learn
one draw by heart. In both the test images are one draw, the same for everybody: the seed is a
constant. Larochelle's file of binarised MNIST is another static draw, and nats on it are of
another test set.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from trilemma.core.domain import Domain, Levels
from trilemma.core.noise import Noise, mix
from trilemma.data.dataset import DataSet, Split

__all__ = ["binarised", "sample_binary"]

ROWS = 10_000
"""Images drawn together; part of what the seed means."""


def binarised(data: DataSet, name: str, *, dynamic: bool) -> DataSet:
    """Return a grey data set in black and white.

    Arguments:
        data: Images on more than two levels.
        name: What the new one is called.
        dynamic: Whether training images are drawn anew each time.
    """
    values = data.domain.values
    assert isinstance(values, Levels)
    top = values.count - 1

    def fixed(split: Split, part: str) -> Split:
        parts = [
            sample_binary(x, top, Noise.of(mix("binarised", data.name, part, i), len(x)))
            for i, x in enumerate(split.x.split(ROWS))
        ]
        return dataclasses.replace(split, x=torch.cat(parts))

    train, test = fixed(data.train, "train"), fixed(data.test, "test")
    if dynamic:
        train = dataclasses.replace(train, shades=data.train.x, top=top)
    how = "drawn anew each time it is seen" if dynamic else "drawn once"
    note = (
        f"black and white: each training pixel white with the probability of its grey, {how}; "
        "test images drawn once, from a fixed seed (not Larochelle's file)"
    )
    domain = dataclasses.replace(data.domain, values=Levels(2))
    assert isinstance(domain, Domain)
    return DataSet(name, domain, train, test, (*data.notes, note), data.extractor)


def sample_binary(x: Tensor, top: int, noise: Noise) -> Tensor:
    """Sample black and white images, with the grey levels as probabilities of white.

    Arguments:
        x: Levels 0 … top, [N, C, H, W] uint8.
        top: The level that is always white.
        noise: N rows.

    Returns:
        Levels 0 and 1, [N, C, H, W] uint8.
    """
    return (noise.uniform(*x.shape[1:]) * top < x).to(torch.uint8)
