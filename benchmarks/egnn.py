"""A training step of the equivariant network, in its variants, by turns.

The denoiser of `geoldm`, 4 layers of 64, on molecules of one size: forward, backward and AdamW.
*Separate* pair networks, one for messages and one for displacements, are EDM's; *shared* is the
default. Each side does a step in turn, and what is kept is the median of the ratios of the rounds.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from benchmarks.record import Section
from trilemma.core.batch import Condition
from trilemma.networks.egnn import EgnnDenoiser, EgnnLayer

ABOUT = "a training step of the equivariant network: pair networks, precision"
OPTIONS: dict[str, tuple[float | int | str, str]] = {
    "molecules": (64, "molecules of a batch"),
    "atoms": (17, "atoms of each"),
    "rounds": (15, "rounds"),
}
WIDTH, LAYERS, FEATURES = 64, 4, 2


def main(options: Any) -> list[Section]:
    """Time the variants in turns."""
    sides = {
        "separate, fp32": _side(options, separate=True, half=False),
        "separate, bf16": _side(options, separate=True, half=True),
        "shared, fp32": _side(options, separate=False, half=False),
        "shared, bf16": _side(options, separate=False, half=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for k in range(options.rounds + 2):
        for name, step in sides.items():
            start = time.perf_counter()
            step()
            if k > 1:
                seconds[name].append(time.perf_counter() - start)
    first = seconds["separate, fp32"]
    rows = [
        [
            name,
            f"{median(each) * 1000:.0f} ms",
            f"{options.molecules / median(each):,.0f}",
            f"{median(a / b for a, b in zip(first, each, strict=True)):.2f}",
        ]
        for name, each in seconds.items()
    ]
    title = (
        f"a training step of {options.molecules} molecules of {options.atoms} atoms, {LAYERS} "
        f"layers of {WIDTH}, median of {options.rounds} rounds by turns"
    )
    return [Section(title, ["variant", "a step", "molecules a second", "times as fast"], rows)]


def _side(options: Any, *, separate: bool, half: bool) -> Callable[[], None]:
    torch.manual_seed(0)
    model = EgnnDenoiser(FEATURES, width=WIDTH, layers=LAYERS)
    if separate:
        network = model.network
        network.layers = torch.nn.ModuleList(
            EgnnLayer(WIDTH, is_separate=True) for _ in range(LAYERS)
        )
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    x = torch.randn(options.molecules, options.atoms, 3 + FEATURES)
    points = torch.ones(options.molecules, options.atoms, dtype=torch.bool)
    clock, condition = torch.randn(options.molecules), Condition(points=points)

    def step() -> None:
        optimiser.zero_grad()
        precision = torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext()
        with precision:
            loss = model(x, clock, condition).float().square().mean()
        loss.backward()
        optimiser.step()

    return step
