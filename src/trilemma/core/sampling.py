"""Drawing many samples so that sample i depends on nothing but the weights, the seed and i."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from trilemma.core.batch import Condition
from trilemma.core.model import Model
from trilemma.core.noise import CHUNK, Noise

__all__ = ["draw", "samples"]

Conditions = Callable[[int, int], Condition]
"""Rows [start, stop) of the wanted conditions: a function of the sample's index alone."""


def samples(
    model: Model,
    start: int,
    stop: int,
    *,
    seed: int,
    conditions: Conditions | None = None,
    at_once: int = 4 * CHUNK,
) -> Iterator[Tensor]:
    """Yield samples [start, stop) in order, up to `at_once` together.

    Runs under `no_grad` with the model in evaluation mode, and leaves its mode as it was.
    """
    device = next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        for low in range(start, stop, at_once):
            high = min(low + at_once, stop)
            condition = conditions(low, high).to(device) if conditions is not None else None
            noise = Noise.for_samples(seed, low, high, device)
            with torch.no_grad():
                drawn = model.sample(high - low, condition=condition, noise=noise)
            yield drawn
    finally:
        for module, training in modes:
            module.training = training


def draw(
    model: Model, n: int, *, seed: int, start: int = 0, conditions: Conditions | None = None
) -> Tensor:
    """Draw samples [start, start + n) of a seed, on the CPU, [n, *shape]."""
    return torch.cat(
        [x.cpu() for x in samples(model, start, start + n, seed=seed, conditions=conditions)]
    )
