r"""Averaged weights: what is sampled, measured and shipped.

After update k = 0, 1, 2, …

    a <- d_k a + (1 - d_k) w,    d_k = min(d, (1 + k) / (10 + k)),

so that the average forgets the untrained start: d_0 = 1/10, and the full memory of 1 / (1 - d)
updates is reached once k is about 9 / (1 - d). Buffers are not averaged.

References:
    Acceleration of stochastic approximation by averaging, Polyak & Juditsky, 1992.
    TensorFlow's `ExponentialMovingAverage` for the warm-up of the decay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["Average"]


class Average:
    """The running average of named parameters.

    Arguments:
        parameters: What is averaged, by name; the average starts at their present values.
        decay: d, in [0, 1]; 0 follows the weights at once.

    >>> w = nn.Parameter(torch.zeros(1))
    >>> average = Average({"w": w}, decay=0.999)
    >>> w.data += 10
    >>> average.update()
    >>> with average.applied():
    ...     print(w.item())
    9.0
    >>> w.item()
    10.0
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.names = list(parameters)
        self.parameters: list[Tensor] = list(parameters.values())
        self.values: list[Tensor] = [p.detach().clone() for p in self.parameters]
        self.decay = decay
        self.count = 0
        self._is_applied = False

    @torch.no_grad()
    def update(self) -> None:
        """Take one step towards the present weights."""
        weight = 1 - min(self.decay, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(self.values, self.parameters, weight)  # pyright: ignore[reportPrivateImportUsage]
        self.count += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages in the parameters' place for a while; nothing is copied."""
        if self._is_applied:
            yield
            return
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def restart(self) -> None:
        """Make the weights the averages, for good."""
        torch._foreach_copy_(self.values, self.parameters)  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def settle(self) -> None:
        """Make the averages the weights, for good."""
        torch._foreach_copy_(self.parameters, self.values)  # pyright: ignore[reportPrivateImportUsage]

    def _swap(self) -> None:
        self._is_applied = not self._is_applied
        for index, parameter in enumerate(self.parameters):
            self.values[index], parameter.data = parameter.data, self.values[index]
