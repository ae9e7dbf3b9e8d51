"""Stacked digits: three grey images become the three channels of one colour image.

A thousand modes, the triples of digits, whose count is known: what a generator leaves out can be
counted. Channel c holds all images in an order of its own, drawn from a constant seed, so that
each channel has exactly the images of the grey set, and the channels are independent.

References:
    | Unrolled Generative Adversarial Networks (Metz et al., 2016, arXiv:1611.02163)
    | VEEGAN (Srivastava et al., 2017, arXiv:1705.07761)
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from trilemma.core.noise import mix
from trilemma.data.dataset import DataSet, Split

__all__ = ["CHANNELS", "stacked"]

CHANNELS = 3


def stacked(data: DataSet, name: str) -> DataSet:
    """Stack a grey data set's images by three, within the training and within the test split.

    Arguments:
        data: Images of one channel.
        name: What the new one is called, and its extractor.

    Returns:
        As many examples as before, [N, 3, H, W], without labels: a triple is no class to be
        asked for.
    """
    train, test = (
        Split(_stack(split.x, part))
        for split, part in ((data.train, "train"), (data.test, "test"))
    )
    domain = dataclasses.replace(
        data.domain, shape=(CHANNELS, *data.domain.shape[1:]), classes=(), frequencies=()
    )
    note = (
        f"each image is three of {data.name}, one in each channel, in orders drawn once from a "
        f"fixed seed: {len(data.domain.classes) ** CHANNELS:,} modes, no labels"
    )
    return DataSet(name, domain, train, test, (*data.notes, note), name)


def _stack(x: Tensor, part: str) -> Tensor:
    """Return [N, 3, H, W] of [N, 1, H, W]; channel c is x in the c-th order."""
    stacked_images = x.new_empty(len(x), CHANNELS, *x.shape[2:])
    for c in range(CHANNELS):
        generator = torch.Generator().manual_seed(mix("stacked", part, c))
        stacked_images[:, c] = x[torch.randperm(len(x), generator=generator), 0]
    return stacked_images
