r"""Networks that read a small image, and whole photos in tiles.

    Reading   (x, log-SNR, y) -> inner(cat[x, u(y)], log-SNR),  u the bicubic enlargement
    Tiled     a network on squares of its trained size that overlap, blended

A tile's answer is worth least at its edges, where the network sees no neighbours. So it is
weighted by a window: 0 in the outer quarter of the overlap, 1 from three quarters on, and a
squared sine between, in both directions, divided by the sum over all tiles, so that weights sum
to one everywhere. At the photo's own border a tile has full weight. All steps of a sampler run
on the whole photo, with tiles inside each evaluation: neighbours see each other's answers at every
step, and no seam can grow. Memory holds the photo a few times and `at_once` tiles.

References:
    | Image Super-Resolution via Iterative Refinement (Saharia et al., 2021, arXiv:2104.07636)
    | MultiDiffusion (Bar-Tal, Yariv, Lipman & Dekel, 2023, arXiv:2302.08113): windows that agree
      at every step
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise
from trilemma.maths.broadcasting import per_row
from trilemma.maths.resize import enlarged

__all__ = ["Reading", "Tiled", "enlarge", "tile_starts", "window"]


class Reading(nn.Module):
    """A network for images that is shown, beside x, the small image that goes with it.

    Arguments:
        inner: (cat[x, u] [B, 2C, H, W], log-SNR [B]) to [B, K, H, W].
        domain: Says in which levels small images are given.
        scale: How many times as long the sides of x are.

    A row without a small image is shown mid-grey.
    """

    def __init__(self, inner: nn.Module, domain: Domain, scale: int) -> None:
        super().__init__()
        self.inner, self.domain, self.scale = inner, domain, scale

    def forward(
        self,
        x: Float[Tensor, "B C H W"],
        log_snr: Float[Tensor, " B"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "B K H W"]:
        """Return the inner network's answer.

        Arguments:
            x: Noisy images, scaled.
            log_snr: ln(alpha^2 / sigma^2) of each.
            condition: Its image is the small one, [B, C, H / scale, W / scale], data units.
        """
        return self.inner(torch.cat([x, self._up(x, condition)], dim=1), log_snr)

    def _up(self, x: Tensor, condition: Condition | None) -> Tensor:
        if condition is None or condition.image is None:
            return torch.zeros_like(x)
        up = enlarged(self.domain.values.scale(condition.image), self.scale).to(x)
        present = condition.present
        return up if present is None else up * per_row(present.to(up), up)


class Tiled(nn.Module):
    """A network that is asked about overlapping squares, whose answers are blended.

    Arguments:
        network: (x [B, C, tile, tile], log-SNR [B]) to [B, K, tile, tile].
        tile: Side of a square.
        overlap: Pixels that neighbours share, at least; less than the side.
        at_once: Squares in one evaluation.
        check: Called before each evaluation; raises to stop.
    """

    def __init__(
        self,
        network: nn.Module,
        tile: int,
        overlap: int,
        at_once: int = 16,
        *,
        check: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= overlap < tile or at_once < 1:
            raise BadInput(
                f"tiles of {tile} pixels that overlap by {overlap}, {at_once} at once, were "
                "given; the overlap must be smaller than the tile and not negative, and at "
                "least one is needed at once."
            )
        self.network, self.tile, self.overlap = network, tile, overlap
        self.at_once, self.check = at_once, check

    def forward(
        self, x: Float[Tensor, "B C H W"], log_snr: Float[Tensor, " B"]
    ) -> Float[Tensor, "B K H W"]:
        """Return the blended answers.

        Raises:
            BadInput: The image is smaller than a tile.
        """
        height, width = x.shape[2:]
        if min(height, width) < self.tile:
            raise BadInput(
                f"an image of {width}x{height} pixels is smaller than the tiles of {self.tile}."
            )
        rows, columns = (self._axis(side, x) for side in (height, width))
        tile_corners = [(b, r, c) for b in range(len(x)) for r, c in product(rows, columns)]
        total: Tensor | None = None
        for batch in _runs(tile_corners, self.at_once):
            tiles = torch.stack(
                [x[b, :, r : r + self.tile, c : c + self.tile] for b, r, c in batch]
            )
            predictions = self._predict(tiles, log_snr[[b for b, _, _ in batch]])
            if total is None:
                total = predictions.new_zeros(len(x), predictions.shape[1], height, width)
            for (b, r, c), prediction in zip(batch, predictions, strict=True):
                weight = rows[r][:, None] * columns[c]
                total[b, :, r : r + self.tile, c : c + self.tile] += weight * prediction
        assert total is not None
        return total

    def _predict(self, cut: Tensor, log_snr: Tensor) -> Tensor:
        if self.check is not None:
            self.check()
        prediction = self.network(cut, log_snr)
        return prediction if prediction.dtype == torch.float64 else prediction.float()

    def _axis(self, length: int, x: Tensor) -> dict[int, Tensor]:
        """Return the weights of each tile along one axis, by its first pixel."""
        tile_weights = window(length, self.tile, self.overlap)
        return {
            start: weight.to(
                x.device, torch.float64 if x.dtype == torch.float64 else torch.float32
            )
            for start, weight in tile_weights.items()
        }


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """Return the first pixels of the fewest tiles that cover a side, evenly spread.

    >>> tile_starts(100, 64, 16)
    [0, 36]
    """
    count = 1 if length == tile else -(-(length - overlap) // (tile - overlap))
    return [round(i * (length - tile) / max(count - 1, 1)) for i in range(count)]


def window(length: int, tile: int, overlap: int) -> dict[int, Float[Tensor, " tile"]]:
    """Return the weights, float64, of each tile of a side by its first pixel.

    At every pixel the weights of the tiles that cover it sum to one. With overlap 0 tiles lie
    side by side, or share pixels equally where the side does not divide.
    """
    starts, margin = tile_starts(length, tile, overlap), overlap // 4
    pixel_centres = torch.arange(tile, dtype=torch.float64) + 0.5
    ramp_width = max(overlap - 2 * margin, 1)
    ramp = (
        ((pixel_centres - margin) / ramp_width).clamp(0, 1)
        if overlap
        else torch.ones_like(pixel_centres)
    )
    ramp = (torch.pi / 2 * ramp).sin() ** 2
    weights = {}
    total = torch.zeros(length, dtype=torch.float64)
    for start in starts:
        weight = torch.ones_like(pixel_centres)
        if start > 0:
            weight = weight * ramp
        if start + tile < length:
            weight = weight * ramp.flip(0)
        weights[start] = weight
        total[start : start + tile] += weight
    return {start: w / total[start : start + tile] for start, w in weights.items()}


class Enlarging(Protocol):
    """A model that enlarges, by a network that can be exchanged for the same one in tiles."""

    @property
    def domain(self) -> Domain: ...
    @property
    def scale(self) -> int: ...
    @property
    def network(self) -> nn.Module: ...
    def restore(
        self,
        small: Tensor,
        *,
        noise: Noise | None = None,
        network: nn.Module | None = None,
    ) -> Tensor: ...


@torch.no_grad()
def enlarge(
    model: Enlarging,
    photo: Tensor,
    *,
    noise: Noise | None = None,
    tile: int | None = None,
    overlap: int | None = None,
    at_once: int = 16,
    check: Callable[[], None] | None = None,
) -> Tensor:
    """Enlarge a photo of any size, by tiles of the size that the model was trained on.

    Arguments:
        model: Enlarges images of its domain; its network is a `Reading`.
        photo: [C, h, w] uint8, 0 … 255; a grey one is repeated for a model of colours.
        noise: One row; None takes a seed from torch's global generator.
        tile: Side of a tile in pixels of the large photo; None takes the model's.
        overlap: Pixels that neighbouring tiles share; None takes a quarter of the tile.
        at_once: Tiles in one evaluation, which bounds the memory.
        check: Called before each evaluation; raises to stop.

    Returns:
        [C, scale h, scale w] uint8, 0 … 255, on the CPU.

    Raises:
        BadInput: The photo is smaller than a tile, or its channels do not fit.
    """
    if not isinstance(model.network, Reading):
        raise BadInput("this model enlarges no photos; give a run of recipe 'sr3'.")
    side = min(model.domain.shape[1:]) if tile is None else tile
    photo = _fitting(photo, model.domain.shape[0], -(-side // model.scale))
    top = model.domain.values.count - 1 if isinstance(model.domain.values, Levels) else 255
    device = next(model.network.parameters()).device
    small = (photo.float() * (top / 255)).round().to(torch.uint8)[None].to(device)
    tiled = Tiled(
        model.network.inner, side, side // 4 if overlap is None else overlap, at_once, check=check
    )
    network = Reading(tiled, model.domain, model.scale)
    noise = Noise.fresh(1, device) if noise is None else noise
    large = model.restore(small, noise=noise, network=network)[0].cpu()
    return large if top == 255 else (large.float() * (255 / top)).round().to(torch.uint8)


def _fitting(photo: Tensor, channels: int, least: int) -> Tensor:
    """Return a photo with the model's channels, or say why it cannot be enlarged."""
    if photo.dim() != 3 or photo.shape[0] not in (1, 3):
        raise BadInput(
            f"a picture of shape {tuple(photo.shape)} was given; a grey one, [1, h, w], or a "
            "colour one, [3, h, w], is wanted."
        )
    _, height, width = photo.shape
    if min(height, width) < least:
        raise BadInput(
            f"the picture has {width}x{height} pixels, and the model enlarges squares of "
            f"{least}x{least}; give one of at least that size."
        )
    if photo.shape[0] == 3 and channels == 1:
        raise BadInput(
            "the picture is in colour and the model was trained on grey images; give a grey "
            "picture, or train on colour images, as --data photos."
        )
    return photo.expand(channels, -1, -1)


def _runs(items: list[tuple[int, int, int]], size: int) -> Iterator[list[tuple[int, int, int]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
