r"""Bicubic resizing as matrices, and what a small image leaves open of the large one.

Resizing works on rows and columns apart. From n numbers to m, with the stretch s = max(n / m, 1),

    A[i, j] = k((j + 1/2 - c_i) / s) / sum_j',    c_i = (i + 1/2) n / m,

where k is Keys' cubic with a = -1/2. The kernel is stretched on the way down, so that nothing is
aliased, and not on the way up. An image x [H, W] becomes A_h x A_w^T, and as the pseudo-inverse of
such a product is the product of the pseudo-inverses, A^+ y = A_h^+ y (A_w^+)^T: two small matrices
that are found exactly, however large the image.

A has full row rank when it reduces, hence A A^+ = 1 and A^+ A projects onto what the small image
says. Whatever is guessed of the rest, the guess is brought to agree by

    xhat <- xhat + A^+ (y - A xhat),

which changes nothing in the null space of A, and is the nearest image that agrees.

References:
    | Cubic Convolution Interpolation for Digital Image Processing (Keys, 1981)
    | Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model (Wang, Yu & Zhang,
      2022, arXiv:2212.00490)
"""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["agreed", "enlarged", "pseudo_inverse", "reduced", "resizing", "spread_back"]

KEYS = -0.5
"""a of Keys' kernel: with this value a parabola is resized without error."""


@lru_cache(maxsize=64)
def resizing(source: int, target: int) -> Float[Tensor, "target source"]:
    """Return the matrix that resizes `source` numbers to `target`, float64.

    >>> resizing(4, 2).sum(1).tolist()
    [1.0, 1.0]
    """
    ratio = source / target
    stretch = max(ratio, 1.0)
    centre = (torch.arange(target, dtype=torch.float64) + 0.5) * ratio
    positions = torch.arange(source, dtype=torch.float64) + 0.5
    weight = _keys((positions - centre[:, None]) / stretch)
    return weight / weight.sum(1, keepdim=True)


def _keys(distance: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return Keys' cubic: 1 at 0, and 0 at ±1 and from ±2 on."""
    d, a = distance.abs(), KEYS
    inner = ((a + 2) * d - (a + 3)) * d * d + 1
    outer = a * (((d - 5) * d + 8) * d - 4)
    return torch.where(d < 1, inner, torch.where(d < 2, outer, torch.zeros_like(d)))


@lru_cache(maxsize=64)
def pseudo_inverse(source: int, target: int) -> Float[Tensor, "source target"]:
    """Return A^+ of `resizing(source, target)`, float64.

    >>> both = resizing(8, 2) @ pseudo_inverse(8, 2)
    >>> torch.allclose(both, torch.eye(2, dtype=torch.float64))
    True
    """
    return torch.linalg.pinv(resizing(source, target))


def reduced(x: Float[Tensor, "*B H W"], factor: int) -> Float[Tensor, "*B h w"]:
    """Return A x, whose sides are `factor` times shorter; the factor divides the sides.

    >>> reduced(torch.ones(1, 3, 8, 12), 4).shape
    torch.Size([1, 3, 2, 3])
    """
    height, width = x.shape[-2:]
    return _resize_axes(resizing(height, height // factor), x, resizing(width, width // factor))


def enlarged(y: Float[Tensor, "*B h w"], factor: int) -> Float[Tensor, "*B H W"]:
    """Return the bicubic enlargement, whose sides are `factor` times longer.

    It is the usual guess, not the pseudo-inverse: `reduced` gives back only about y.
    """
    height, width = y.shape[-2:]
    return _resize_axes(resizing(height, height * factor), y, resizing(width, width * factor))


def spread_back(y: Float[Tensor, "*B h w"], factor: int) -> Float[Tensor, "*B H W"]:
    """Return A^+ y, the smallest image of which `reduced` makes y."""
    height, width = (side * factor for side in y.shape[-2:])
    return _resize_axes(
        pseudo_inverse(height, height // factor), y, pseudo_inverse(width, width // factor)
    )


def agreed(
    x: Float[Tensor, "*B H W"], y: Float[Tensor, "*B h w"], factor: int
) -> Float[Tensor, "*B H W"]:
    """Return x + A^+ (y - A x), the image nearest to x of which `reduced` makes y."""
    return x + spread_back(y - reduced(x, factor), factor)


def _resize_axes(rows: Tensor, x: Tensor, columns: Tensor) -> Tensor:
    """Return rows x columns^T, never in less than float32: differences of images are small."""
    with torch.autocast(x.device.type, enabled=False):
        x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        return rows.to(x) @ (x @ columns.to(x).T)
