"""What a first stage leaves of images, and small images made large beside the bicubic filter."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from trilemma.core.model import Reconstructing, Restoring
from trilemma.core.noise import Noise
from trilemma.pictures.image_strips import strips
from trilemma.report.model_view import EXAMPLES, Subject
from trilemma.report.page import Picture
from trilemma.report.view import View

__all__ = ["VIEWS"]


def _first_stage(subject: Subject[Reconstructing]) -> list[Picture]:
    """Draw test examples, and what a first stage leaves of them."""
    x = subject.data.test.x[subject.rows(3 * EXAMPLES)]
    reconstruction = subject.model.reconstruct(x)
    error = (reconstruction.double() - x.double()).square().mean()
    top = max(subject.levels - 1, 1)
    caption = (
        "Test examples above, below what is left of them after the first stage: "
        f"{10 * math.log10(top**2 / max(float(error), 1e-12)):.1f} dB PSNR. No sample can be "
        "sharper than this."
    )
    image = strips([x, reconstruction], subject.levels, row_labels=("original", "reconstructed"))
    return [Picture("the first stage", image, caption, wide=True)]


def _restored(subject: Subject[Restoring]) -> list[Picture]:
    """Draw small images, enlarged by the bicubic filter and by the model, beside the originals."""
    model = subject.model
    x = subject.data.test.x[subject.rows(2 * EXAMPLES)]
    small = model.shrink(x)
    restorations = [model.restore(small, noise=Noise.for_samples(k, 0, len(x))) for k in (0, 1)]
    pixels = small.repeat_interleave(model.scale, 2).repeat_interleave(model.scale, 3)
    lines = [pixels, _bicubic(small, model.scale, subject.levels), *restorations, x]
    names = ("small", "bicubic", "restored", "again", "original")
    image = strips(lines, subject.levels, row_labels=names)
    caption = f"Test examples made {model.scale} times smaller, and large again: drawn twice."
    return [Picture("small images made large", image, caption, wide=True)]


def _bicubic(small: Tensor, scale: int, levels: int) -> Tensor:
    """Enlarge images of levels by Pillow's bicubic filter."""
    from PIL import Image

    top, (height, width) = max(levels - 1, 1), small.shape[-2:]
    size = (width * scale, height * scale)
    grey_values = small.detach().cpu().float() * (255 / top)
    planes = [
        [
            np.asarray(Image.fromarray(channel.numpy()).resize(size, Image.Resampling.BICUBIC))
            for channel in one
        ]
        for one in grey_values
    ]
    shades = torch.from_numpy(np.array(planes))
    return (shades * (top / 255)).round().clamp(0, top).to(torch.uint8)


VIEWS = (
    View(
        name="first stage",
        section="restoration",
        needs=(Reconstructing,),
        kinds=("image",),
        draw=_first_stage,
    ),
    View(
        name="restored images",
        section="restoration",
        needs=(Restoring,),
        kinds=("image",),
        draw=_restored,
    ),
)
