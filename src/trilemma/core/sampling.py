"""Drawing many samples so that sample i depends on nothing but the weights, the seed and i."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.model import Model
from trilemma.core.noise import CHUNK, Noise

__all__ = ["Conditions", "draw", "evaluation_mode", "samples", "watched"]

DEPTH = 3
"""Levels of parts that are watched: a completion has a model, it a diffusion, it a network."""

Conditions = Callable[[int, int], Condition]
"""Rows [start, stop) of the wanted conditions: a function of the sample's index alone."""


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a module and its parts in evaluation mode, and each back in its own at the end."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def watched(model: Model[Any, Any], check: Callable[[], None] | None) -> Iterator[None]:
    """Call `check` before each call of a part of the model, so that it may stop by raising.

    A sample may take a thousand network calls: a signal should not wait for the last. Parts are
    those down to `DEPTH`, the deepest level at which networks lie.
    """
    if check is None:
        yield
        return

    def hook(*_: object) -> None:
        check()

    modules: list[nn.Module] = []
    siblings: list[nn.Module] = [model]
    for _ in range(DEPTH):
        siblings = [module for parent in siblings for module in parent.children()]
        modules += siblings
    handles = [module.register_forward_pre_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def samples(
    model: Model[Any, Any],
    start: int,
    stop: int,
    *,
    seed: int,
    conditions: Conditions | None = None,
    at_once: int = 4 * CHUNK,
    check: Callable[[], None] | None = None,
) -> Iterator[Tensor]:
    """Yield samples [start, stop) in order, up to `at_once` together.

    Runs under `no_grad` with the model in evaluation mode, and leaves all modes as they were.

    Arguments:
        model: What draws, on any device.
        start: First index.
        stop: Index after the last.
        seed: Seed of the samples.
        conditions: What they are to be, by index.
        at_once: Samples drawn together; does not change them.
        check: Called before each network call; raises to stop.
    """
    device = next(model.parameters()).device
    with evaluation_mode(model):
        for low in range(start, stop, at_once):
            high = min(low + at_once, stop)
            condition = conditions(low, high).to(device) if conditions is not None else None
            noise = Noise.for_samples(seed, low, high, device)
            with torch.no_grad(), watched(model, check):
                batch = model.sample(high - low, condition=condition, noise=noise)
            yield batch


def draw(
    model: Model[Any, Any],
    n: int,
    *,
    seed: int,
    start: int = 0,
    conditions: Conditions | None = None,
    check: Callable[[], None] | None = None,
) -> Tensor:
    """Draw samples [start, start + n) of a seed, on the CPU, [n, *shape]."""
    batches = samples(model, start, start + n, seed=seed, conditions=conditions, check=check)
    return torch.cat([x.cpu() for x in batches])
