"""A Langevin step: without gradients of the weights, and all chains as one batch.

The recipe's energy of 28 x 28 pixels, in float32. Three sides do the same steps from the same
states: `autograd.grad` by the input alone (ours); `backward`, which forms the gradients of all
weights beside it; and ours for one chain after another. That the states agree is checked first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.record import Section
from benchmarks.turns import by_turns, ratio, repeated
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.maths.langevin import ula
from trilemma.recipes.ebm import EnergyBased
from trilemma.training.precision import choose

ABOUT = "a Langevin step: without weight gradients, chains as one batch"
WITH_PEERS = True
OPTIONS = {
    "rounds": (15, "rounds that are kept"),
    "chains": (64, "chains that walk"),
    "steps": (5, "steps of each side in its turn"),
}
SMALLEST = {"rounds": 1, "chains": 4, "steps": 1}
"""Options with which all of it runs once, soon."""

SHAPE, ETA = (1, 28, 28), 0.005
OURS, WEIGHTS, ALONE = "ours", "with gradients of the weights", "one chain after another"


def network() -> nn.Module:
    """Build the recipe's network, its last layer woken."""
    torch.manual_seed(0)
    network_built = EnergyBased().network(Domain("image", SHAPE, Levels(256)))
    nn.init.normal_(network_built.last.weight, std=0.05)  # type: ignore[union-attr]
    choose("fp32", torch.device("cpu")).to_device(network_built, torch.device("cpu"))
    return network_built


def with_weights(energy: nn.Module, y: Tensor, shaken: list[Tensor]) -> Tensor:
    """Walk by `backward`, as a loop does that does not say which gradient it wants."""
    for xi in shaken:
        y = y.detach().requires_grad_()
        energy(y).sum().backward()
        assert y.grad is not None
        y = y.detach() - ETA * y.grad + (2 * ETA) ** 0.5 * xi
        for parameter in energy.parameters():
            parameter.grad = None
    return y


def ours(energy: nn.Module, y: Tensor, shaken: list[Tensor]) -> Tensor:
    """Walk by our function."""
    draws = iter(shaken)
    return ula(energy, y, ETA, lambda: next(draws), steps=len(shaken))


def alone(energy: nn.Module, y: Tensor, shaken: list[Tensor]) -> Tensor:
    """Walk one chain after another."""
    rows = range(len(y))
    return torch.cat([ours(energy, y[i : i + 1], [xi[i : i + 1] for xi in shaken]) for i in rows])


def main(options: Any) -> list[Section]:
    """Compare."""
    energy, draw = network(), torch.Generator().manual_seed(1)
    y = torch.randn(options.chains, *SHAPE, generator=draw)
    shaken = [torch.randn(y.shape, generator=draw) for _ in range(options.steps)]
    walks: dict[str, Callable[..., Tensor]] = {OURS: ours, WEIGHTS: with_weights, ALONE: alone}
    ends = {name: walk(energy, y, shaken) for name, walk in walks.items()}
    apart = max(float((end - ends[OURS]).abs().max()) for end in ends.values())
    if apart > 1e-3:
        raise BadInput(f"the sides' chains end {apart:g} apart.")
    sides = {
        name: repeated(lambda walk=walk: walk(energy, y, shaken), 1)
        for name, walk in walks.items()
    }
    seconds = by_turns(sides, options.rounds)
    ratios = {peer: ratio(seconds, peer=peer, ours=OURS) for peer in (WEIGHTS, ALONE)}
    rows = [(peer, str(value)) for peer, value in ratios.items()]
    title = f"{options.chains} chains, {options.steps} steps, ours times faster"
    return [Section(title, ["than", "ratio"], rows, ratios=ratios, seconds=seconds, apart=apart)]
