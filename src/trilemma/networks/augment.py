r"""Random changes of images that a game survives: differentiable augmentation T(x, noise).

A critic with few real examples learns them by heart. Augmenting the real ones alone would teach
the generator to make augmented images. Zhao et al. change real and fake examples alike, in both
players' losses,

    critic:     ℓ_D(D(T(x)), D(T(G(z)))),        generator:  ℓ_G(D(T(G(z))), D(T(x))),

with T differentiable in the image, so that the generator learns through it. Its parts, for one
image x of H x W pixels with C channels, all in scaled space, u ~ U[0, 1) anew for each number:

    colour        x ← x + u - 1/2                         brightness
                  x ← m + 2 u (x - m)                     saturation, m the pixel's mean over C
                  x ← μ + (u + 1/2) (x - μ)               contrast, μ the image's mean
    translation   x_ij ← x_{i - a, j - b}                 a up to H/8, b up to W/8, each way
    cutout        x_ij ← the background in a window of H/2 x W/2 around a random pixel

in this order. What is moved in from outside, and what is cut out, is the data's *background*: a
square of mid-grey on the black of a digit would be a mark that no example has. With one channel m
is the pixel itself, and saturation changes nothing.

Each row of a batch has numbers of its own, which depend on the noise and on nothing else: the
same noise gives the same T to another batch, so that the i-th real and the i-th fake example
share it.

References:
    Differentiable Augmentation for Data-Efficient GAN Training (Zhao, Liu, Lin, Zhu & Han, 2020),
    arXiv:2006.10738.
    Training Generative Adversarial Networks with Limited Data (Karras et al., 2020),
    arXiv:2006.06676: a share of the rows is left as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trilemma.core.errors import BadInput, nearest
from trilemma.core.noise import Noise
from trilemma.maths.broadcasting import per_row

__all__ = ["PARTS", "DiffAugment", "background", "parts_of", "recolour", "translate", "window"]

PARTS = ("colour", "translation", "cutout")
"""What T is made of, in the order in which it is done."""

Images = Float[Tensor, "B C H W"]


class DiffAugment(nn.Module):
    """Changes each image of a batch at random, differentiably and without weights.

    Arguments:
        parts: Some of `PARTS`, in any order; none of them makes T the identity.
        shape: (C, H, W) of an image.

    Raises:
        BadInput: A part is unknown or named twice, or the data are no images.

    >>> T = DiffAugment(["cutout"], (1, 8, 8))
    >>> x = torch.ones(64, 1, 8, 8)
    >>> changed = T(x, Noise.of(0, 64))
    >>> torch.equal(changed, T(x, Noise.of(0, 64))), changed.unique().tolist()
    (True, [-1.0, 1.0])
    """

    background: Float[Tensor, "C 1 1"]
    """What shows where there is no image; -1 until `fill` is called."""

    def __init__(self, parts: Sequence[str], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.parts = _ordered(parts)
        if parts and len(shape) != 3:
            raise BadInput(
                f"the augmentation '{'+'.join(parts)}' was asked for data of shape {shape}, "
                "and it acts on images; leave it at 'none'."
            )
        channels, *sides = shape if len(shape) == 3 else (1, 1, 1)
        self.register_buffer("background", torch.full((channels, 1, 1), -1.0))
        self.hole = [(side + 1) // 2 for side in sides]
        for part, ranges in zip(PARTS, self._ranges(sides), strict=True):
            self.register_buffer(f"_{part}", torch.tensor(ranges).T, persistent=False)

    def _ranges(self, sides: Sequence[int]) -> tuple[list[tuple[float, float, float]], ...]:
        """Return for each part, and each number it draws: range, lowest, what changes nothing."""
        colour = [(1.0, -0.5, 0.0), (2.0, 0.0, 1.0), (1.0, 0.5, 1.0)]
        max_shifts = [(side + 4) // 8 for side in sides]
        translation = [(2.0 * max_shift + 1, -float(max_shift), 0.0) for max_shift in max_shifts]
        # A hole with an even side has its middle between two pixels, or at an end.
        cutout = [
            (float(side + 1 - hole_side % 2), -float(hole_side // 2), float(side))
            for side, hole_side in zip(sides, self.hole, strict=True)
        ]
        return colour, translation, cutout

    def fill(self, background: Float[Tensor, "C 1 1"]) -> None:
        """Set the background, as `background` finds it."""
        self.background.copy_(background)

    def forward(self, x: Images, noise: Noise, share: float = 1.0) -> Images:
        """Return T(x), [B, C, H, W] of the same dtype.

        Arguments:
            x: Images in scaled space.
            noise: B rows; the same noise makes the same T.
            share: Probability of a row to be changed; other rows are left as they are.
        """
        if not self.parts or share <= 0:
            return x
        chosen = None if share >= 1 else noise.named("share").uniform() < share
        y, visible_mask = x.to(torch.promote_types(x.dtype, torch.float32)), None
        if "colour" in self.parts:
            y = recolour(y, *self._sample_part("colour", noise, chosen).unbind(1))
        if "translation" in self.parts:
            shift = self._sample_part("translation", noise, chosen).floor_().long()
            y, visible_mask = translate(y, shift), window(shift, y.shape[2:], y)
        if "cutout" in self.parts:
            corner = self._sample_part("cutout", noise, chosen).floor_().long()
            cutout_mask = 1 - window(corner, self.hole, y)
            visible_mask = cutout_mask if visible_mask is None else visible_mask * cutout_mask
        return (y if visible_mask is None else _over(self.background, y, visible_mask)).to(x.dtype)

    def _sample_part(
        self, part: str, noise: Noise, chosen: Bool[Tensor, " B"] | None
    ) -> Float[Tensor, "B K"]:
        """Draw a part's numbers, uniformly over their ranges; neutral ones where not chosen."""
        extent, lowest, neutral = self.get_buffer(f"_{part}")
        samples = torch.addcmul(lowest, noise.named(part).uniform(len(lowest)), extent)
        return samples if chosen is None else torch.where(chosen[:, None], samples, neutral)


def recolour(
    x: Images,
    brightness: Float[Tensor, " B"],
    saturation: Float[Tensor, " B"],
    contrast: Float[Tensor, " B"],
) -> Images:
    """Compute c s x + c (1 - s) m + (1 - c) μ + b: the three changes of colour at once.

    Brightness moves m and μ with x; saturation moves no m, hence not μ. So the three in turn are
    one sum over the pixel, its mean m over channels and the image's mean μ.

    Arguments:
        x: Images.
        brightness: b, added to every number.
        saturation: s, about each pixel's mean; without meaning on one channel.
        contrast: c, about the image's mean.
    """
    b, s, c = (per_row(v, x) for v in (brightness, saturation, contrast))
    pixels = x.shape[2] * x.shape[3]  # a sum's gradient is cheaper than a mean's
    if x.shape[1] == 1:
        mean = x.sum((2, 3), keepdim=True) / pixels
        return torch.addcmul((1 - c) * mean + b, x, c)
    grey = x.mean(1, keepdim=True)
    mean = grey.sum((2, 3), keepdim=True) / pixels
    offset = torch.addcmul((1 - c) * mean + b, grey, c * (1 - s))
    return torch.addcmul(offset, x, c * s)


def translate(x: Images, shift: Int[Tensor, "B 2"]) -> Images:
    """Move images by whole pixels; what comes from outside is any pixel of the same image.

    Row by row an image is one line of pixels, and a move in both directions one along the line:
    pixels that stay in the image come out right, the others are to be painted over.

    Arguments:
        x: Images.
        shift: Pixels down and to the right.
    """
    (rows, columns), line = x.shape[2:], x.flatten(2)
    along = shift[:, :1] * columns + shift[:, 1:]
    source = (torch.arange(rows * columns, device=x.device) - along).clamp_(0, rows * columns - 1)
    # Of seven ways measured (rows of a table, matrices of 0 and 1, …) the fastest both ways.
    return line.gather(2, source[:, None].expand_as(line)).view_as(x)


def window(first: Int[Tensor, "B 2"], size: Sequence[int], x: Images) -> Float[Tensor, "B 1 H W"]:
    """Return 1 in a window of each image and 0 around it; it may reach beyond the edge.

    Arguments:
        first: Row and column of its upper left corner.
        size: Its sides (h, w).
        x: The images, for their size and dtype.
    """
    offset = torch.arange(max(x.shape[2:]), device=x.device) - first[:, :, None]
    inside_mask = ((offset >= 0) & (offset < offset.new_tensor(size)[:, None])).to(x.dtype)
    row, column = inside_mask[:, 0, : x.shape[2], None], inside_mask[:, 1, None, : x.shape[3]]
    return (row * column)[:, None]  # of numbers: an outer product of truths takes 4 times as long


def background(x: Float[Tensor, "N C H W"]) -> Float[Tensor, "C 1 1"]:
    """Return each channel's median over the pixels of the edge, of all examples.

    >>> x = torch.zeros(5, 1, 4, 4)
    >>> x[:, :, :2, :2] = 1.0
    >>> background(x).item()
    0.0
    """
    edges = [x[:, :, 0], x[:, :, -1], x[:, :, 1:-1, 0], x[:, :, 1:-1, -1]]
    border = torch.cat([edge.transpose(0, 1).flatten(1) for edge in edges], 1)
    return border.median(1).values[:, None, None]


def parts_of(text: str) -> tuple[str, ...]:
    """Read parts joined by '+', or 'none'; return them in the order in which they are done.

    >>> parts_of("cutout+colour"), parts_of("none")
    (('colour', 'cutout'), ())

    Raises:
        BadInput: A part is unknown or named twice, or 'none' stands beside one.
    """
    if text.strip() == "none":
        return ()
    return _ordered([part.strip() for part in text.split("+")])


def _ordered(parts: Sequence[str]) -> tuple[str, ...]:
    """Check names and put them in the order of `PARTS`."""
    for part in parts:
        if part == "none":
            raise BadInput(
                f"the augmentation '{'+'.join(parts)}' names 'none' beside a part; "
                "give 'none' alone, or leave it out."
            )
        if part not in PARTS:
            raise nearest("augmentation", part, (*PARTS, "none"))
        if parts.count(part) > 1:
            raise BadInput(
                f"the augmentation '{'+'.join(parts)}' names '{part}' twice, and each part is "
                "done once; name it once."
            )
    return tuple(part for part in PARTS if part in parts)


def _over(
    behind: Float[Tensor, "C 1 1"], x: Images, visible_mask: Float[Tensor, "B 1 H W"]
) -> Images:
    """Return x where `visible_mask` is 1, and where it is 0 what lies behind it."""
    return torch.addcmul((1 - visible_mask) * behind, x, visible_mask)
