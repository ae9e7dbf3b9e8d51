r"""Affine couplings: the inverse against the forward pass, and normflows' step against ours.

The first part is the price of a sample: the inverse of a multi-scale flow of 28 x 28 pixels
against its forward pass, without gradients, both in float32; it is to stay within 1.5.

The second is a training step over vectors: as many affine couplings of half the numbers on each
side, each with a perceptron of the same layers and a learned LU mixing between, -ln p(x) of the
same batch, its gradient, and Adam. The numbers of parameters are compared first. normflows'
scale is the exponential, ours a bounded one.
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
from trilemma.families.dequantised_density import OnLevels
from trilemma.families.flow import NormalizingFlow
from trilemma.networks.bijections import Invertible1x1
from trilemma.networks.coupling import AffineCoupling, BijectionChain
from trilemma.recipes.glow import Glow

ABOUT = "the inverse beside the forward pass; an affine coupling beside normflows'"
WITH_PEERS = True
OPTIONS = {
    "rounds": (11, "turns of each side"),
    "repeat": (5, "passes of a turn"),
    "images": (64, "images of a pass"),
    "batch": (256, "vectors of a training step"),
    "size": (16, "numbers of a vector"),
    "layers": (8, "couplings"),
    "width": (128, "units of a hidden layer"),
}
SMALLEST = {"rounds": 2, "repeat": 1, "images": 8}
"""Options with which all of it runs once, soon."""

PEER = "normflows"


class Perceptron(nn.Module):
    """Two hidden layers with ReLU, as normflows' perceptron has them."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.last = nn.Linear(width, outputs)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """Return shift and log-scale."""
        return self.last(self.hidden(x))


def ours(options: Any) -> NormalizingFlow:
    """Build our side."""
    layers: list[Any] = []
    for _ in range(options.layers):
        network = Perceptron(options.size // 2, options.size, options.width)
        layers += [AffineCoupling(network, options.size // 2), Invertible1x1(options.size)]
    return NormalizingFlow(BijectionChain(layers), (options.size,))


def peer(options: Any) -> Any:
    """Build normflows' side."""
    try:
        import normflows  # type: ignore[import-not-found]
    except ImportError as missing:
        raise BadInput(
            "normflows is not installed here; give it to the benchmark's environment by "
            "'pip install --no-deps normflows'."
        ) from missing
    half, layers = options.size // 2, []
    for _ in range(options.layers):
        sizes = [half, options.width, options.width, options.size]
        network = normflows.nets.MLP(sizes, init_zeros=True)
        layers += [
            normflows.flows.AffineCouplingBlock(network),
            normflows.flows.InvertibleAffine(options.size, use_lu=True),
        ]
    base = normflows.distributions.DiagGaussian(options.size, trainable=False)
    return normflows.NormalizingFlow(base, layers)


def main(options: Any) -> list[Section]:
    """Compare."""
    return [_inverse(options), *_steps(options)]


@torch.no_grad()
def _inverse(options: Any) -> Section:
    torch.manual_seed(0)
    domain = Domain("image", (1, 28, 28), Levels(256))
    model = Glow().model(domain).eval()
    assert isinstance(model, OnLevels)
    flow = model.inner
    assert isinstance(flow, NormalizingFlow)
    y = torch.rand(options.images, 1, 28, 28) * 2 - 1
    z = torch.randn(options.images, 784)
    sides = {
        "forward": repeated(lambda: flow.log_density(y), options.repeat),
        "inverse": repeated(lambda: flow.decode(z), options.repeat),
    }
    seconds = by_turns(sides, options.rounds)
    ratios = {"inverse": ratio(seconds, peer="forward", ours="inverse")}
    rows = [("inverse", str(ratios["inverse"]))]
    title = f"The inverse of {options.images} images, times faster than forward (at least 0.67)"
    return Section(title, ["side", "than forward"], rows, ratios=ratios, seconds=seconds)


def _steps(options: Any) -> list[Section]:
    torch.manual_seed(0)
    theirs, mine = peer(options), ours(options)
    x = torch.randn(options.batch, options.size)
    counted = [
        (name, sum(p.numel() for p in side.parameters() if p.requires_grad))
        for name, side in ((PEER, theirs), ("ours", mine))
    ]
    if abs(counted[0][1] / counted[1][1] - 1) > 0.01:
        raise BadInput(f"the two differ by more than a hundredth in their parameters: {counted}.")
    sides = {
        PEER: repeated(_step(theirs, lambda: theirs.forward_kld(x)), options.repeat),
        "ours": repeated(_step(mine, lambda: -mine.log_density(x).mean()), options.repeat),
    }
    seconds = by_turns(sides, options.rounds)
    ratios = {"ours": ratio(seconds, peer=PEER, ours="ours")}
    return [
        Section("The same work", ["side", "parameters"], counted),
        Section(
            f"A step of {options.batch} vectors, {options.layers} couplings, times faster",
            ["side", "than normflows"],
            [("ours", str(ratios["ours"]))],
            ratios=ratios,
            seconds=seconds,
        ),
    ]


def _step(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss().backward()
        optimiser.step()

    return step
