"""What samples are asked to be when nobody asks: conditions of the training data, kept in the run.

A class can be drawn by its share alone. A caption or a small image cannot, so that a model keeps
some of those that it was trained on, as buffers, and draws from them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.noise import Noise

__all__ = ["Prompts"]


class Prompts(nn.Module):
    """Conditions to be drawn from; all zeros, or whole clouds, until `fill` is called.

    Arguments:
        rows: How many are kept.
        words: Tokens of a caption; 0 without captions.
        image: Shape of an image that goes with a sample; None without.
        points: Most points of a cloud, whose sizes are kept; 0 without clouds.

    >>> prompts = Prompts(4, words=2)
    >>> prompts.fill(Condition(tokens=torch.tensor([[1, 2], [3, 0]]),
    ...                        mask=torch.tensor([[True, True], [True, False]])))
    >>> prompts(Noise.of(0, 5)).tokens.shape
    torch.Size([5, 2])
    """

    tokens: Tensor
    mask: Tensor
    image: Tensor
    points: Tensor

    def __init__(
        self,
        rows: int,
        *,
        words: int = 0,
        image: tuple[int, ...] | None = None,
        points: int = 0,
    ) -> None:
        super().__init__()
        self.rows = rows
        if words:
            self.register_buffer("tokens", torch.zeros(rows, words, dtype=torch.int64))
            self.register_buffer("mask", torch.zeros(rows, words, dtype=torch.bool))
        if image is not None:
            self.register_buffer("image", torch.zeros(rows, *image, dtype=torch.uint8))
        if points:
            self.register_buffer("points", torch.ones(rows, points, dtype=torch.bool))

    @torch.no_grad()
    def fill(self, condition: Condition) -> None:
        """Keep rows of a condition, from the first; fewer than are kept go round."""
        for name, kept in self.named_buffers():
            given = getattr(condition, name)
            rows = torch.arange(self.rows) % len(given)
            kept.copy_(given[rows.to(given.device)])

    def forward(self, noise: Noise) -> Condition:
        """Draw a condition for each row of the noise."""
        rows = noise.integers(self.rows)
        return Condition(**{name: kept[rows] for name, kept in self.named_buffers()})
