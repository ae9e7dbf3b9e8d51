"""The part of torchvision that peers use, with Pillow, for as long as they are imported.

torchvision's wheel does not load beside the CPU build of torch ("operator torchvision::nms does
not exist"). Within `standing_in()` this module has its name; afterwards nothing has, for
torchmetrics takes whatever has it for the whole. It does what torchvision does for Pillow images:
it calls Pillow.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy
import torch
from PIL import Image


def standing_in() -> AbstractContextManager[Any]:
    """Be torchvision within this context."""
    return mock.patch.dict(sys.modules, {"torchvision": sys.modules[__name__]})


class Compose:
    """One after another."""

    def __init__(self, steps: Sequence[Callable]) -> None:
        """Keep the steps."""
        self.steps = steps

    def __call__(self, image: Any) -> Any:
        """Apply them."""
        for step in self.steps:
            image = step(image)
        return image


class Lambda:
    """Any function."""

    def __init__(self, function: Callable) -> None:
        """Keep it."""
        self.function = function

    def __call__(self, image: Any) -> Any:
        """Apply it."""
        return self.function(image)


class Resize:
    """Bring a square image to a side."""

    def __init__(self, size: int | tuple[int, int]) -> None:
        """Keep (height, width)."""
        self.size = (size, size) if isinstance(size, int) else tuple(size)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Resize, where the size differs."""
        to = self.size[::-1]
        return image if image.size == to else image.resize(to, Image.Resampling.BILINEAR)


class CenterCrop(Resize):
    """Cut the middle out."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """Cut."""
        height, width = self.size
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))


class RandomHorizontalFlip:
    """Mirror every second image."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """Mirror or not."""
        flip = random.random() < 0.5
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image


class ToTensor:
    """An image to [C, H, W] in [0, 1]."""

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Convert."""
        levels = torch.from_numpy(numpy.array(image, copy=True))
        levels = levels[None] if levels.dim() == 2 else levels.permute(2, 0, 1).contiguous()
        return levels.float().div(255)


transforms = SimpleNamespace(
    Compose=Compose,
    Lambda=Lambda,
    Resize=Resize,
    CenterCrop=CenterCrop,
    RandomHorizontalFlip=RandomHorizontalFlip,
    ToTensor=ToTensor,
)
utils = SimpleNamespace()
