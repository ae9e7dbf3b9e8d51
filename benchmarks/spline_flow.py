r"""Spline flows: nflows' couplings and ours, zuko's autoregressive layers and ours.

Each pair has the same layers, bins, tails, hidden units, optimiser and batches, so the same
parameters and the same matrix products: a residual network of one block of two layers in nflows
is a perceptron of three hidden layers here, and zuko's masked network one of two. Between layers
the order of the coordinates is reversed in all of them; the base is N(0, I).

Timed are an update (loss, gradient, Adam), ln p of a batch, and drawing as many samples; ours also
through torch's compiler. Peers are imported when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.record import Section
from benchmarks.turns import by_turns, ratio, repeated
from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise
from trilemma.families.flow import NormalizingFlow
from trilemma.networks.splines import SplineFlow

ABOUT = "spline flows: an update, ln p and samples beside nflows and zuko"
WITH_PEERS = True
OPTIONS = {
    "rounds": (9, "turns of each side"),
    "times": (20, "repetitions in a turn"),
    "batch": (512, "rows of a batch"),
    "columns": (8, "coordinates of a row"),
    "layers": (5, "layers of splines"),
    "bins": (8, "pieces of a spline"),
    "width": (64, "units of a hidden layer"),
    "peers": ("nflows,zuko", "which peers, by commas"),
    "compile": (1, "whether ours is also compiled"),
}
SMALLEST = {"rounds": 1, "times": 1, "compile": 0}
"""Options with which all of it runs once, soon."""

TAIL = 5.0
"""zuko's splines end here and nowhere else."""
GOALS = {"update": (1.5, 2.4), "log_prob": (1.2, 2.3), "sample": (1.2, 2.3)}
"""Times faster that are aimed at, as it is and compiled."""


@dataclass(frozen=True)
class Side:
    """A flow, by what is asked of it."""

    module: nn.Module
    log_prob: Callable[[Tensor], Tensor]
    sample: Callable[[int], Tensor]


def ours(structure: str, depth: int, x_domain: Any, *, compiled: bool = False) -> Side:
    """Build ours."""
    torch.manual_seed(0)
    bijection = SplineFlow(
        x_domain.columns,
        structure="coupling" if structure == "coupling" else "autoregressive",
        mixing="reversal",
        layers=x_domain.layers,
        bins=x_domain.bins,
        tail=TAIL,
        width=x_domain.width,
        depth=depth,
    )
    flow = NormalizingFlow(bijection, (x_domain.columns,))
    inverse: Callable[[Tensor], Tensor] = bijection.inverse
    if compiled:
        bijection.compile()
        inverse = torch.compile(bijection.inverse)

    def sample(n: int) -> Tensor:
        return inverse(Noise.fresh(n).normal(x_domain.columns))

    return Side(flow, flow.log_density, sample)


def nflows(x_domain: Any) -> Side:
    """Build nflows' flow of couplings."""
    try:
        from nflows.distributions import StandardNormal
        from nflows.flows import Flow
        from nflows.nn.nets import ResidualNet
        from nflows.transforms import (
            CompositeTransform,
            PiecewiseRationalQuadraticCouplingTransform,
            ReversePermutation,
        )
    except ImportError as error:
        raise _absent("nflows", error) from error
    mask = torch.arange(x_domain.columns) >= x_domain.columns // 2
    parts: list[Any] = []
    for i in range(x_domain.layers):
        if i:
            parts.append(ReversePermutation(x_domain.columns))
        parts.append(
            PiecewiseRationalQuadraticCouplingTransform(
                mask.int(),
                lambda inputs, outputs: ResidualNet(
                    inputs,
                    outputs,
                    hidden_features=x_domain.width,
                    num_blocks=1,
                    activation=functional.silu,
                ),
                num_bins=x_domain.bins,
                tails="linear",
                tail_bound=TAIL,
            )
        )
    flow = Flow(CompositeTransform(parts), StandardNormal([x_domain.columns]))
    return Side(flow, flow.log_prob, flow.sample)


def zuko(x_domain: Any) -> Side:
    """Build zuko's autoregressive flow."""
    try:
        from zuko.flows import NSF
    except ImportError as error:
        raise _absent("zuko", error) from error
    flow = NSF(
        x_domain.columns,
        transforms=x_domain.layers,
        bins=x_domain.bins,
        hidden_features=[x_domain.width] * 2,
        activation=nn.SiLU,
    )
    return Side(flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,)))


PEERS: Mapping[str, tuple[Callable[[Any], Side], str, int]] = {
    "nflows": (nflows, "coupling", 3),
    "zuko": (zuko, "autoregressive", 2),
}
"""Peer -> how it is built, what ours is then, and its hidden layers."""


def main(options: Any) -> list[Section]:
    """Compare with each peer."""
    sections = []
    for peer in options.peers.split(","):
        if peer not in PEERS:
            raise BadInput(f"peer '{peer}' was given; give some of {', '.join(PEERS)}.")
        sections.extend(_compared(peer, options))
    return sections


def _compared(peer: str, x_domain: Any) -> list[Section]:
    build, structure, depth = PEERS[peer]
    sides = {peer: build(x_domain), "ours": ours(structure, depth, x_domain)}
    if x_domain.compile:
        sides["ours compiled"] = ours(structure, depth, x_domain, compiled=True)
    sections = [_same(peer, structure, sides)]
    x = Noise.of(0, x_domain.batch).normal(x_domain.columns)
    for what, work in WORKS.items():
        repeats = x_domain.times if what != "sample" else max(x_domain.times // 4, 1)
        turns = {name: repeated(_run(work(side, x)), repeats) for name, side in sides.items()}
        seconds = by_turns(turns, x_domain.rounds, warmup=2)
        ratios = {name: ratio(seconds, peer=peer, ours=name) for name in sides if name != peer}
        goals = dict(zip(("ours", "ours compiled"), GOALS[what], strict=True))
        rows = [(name, str(each), goals[name]) for name, each in ratios.items()]
        title = f"{what}, {x_domain.batch} rows, {structure}: times faster than {peer}"
        columns = ["side", f"than {peer}", "aimed at"]
        sections.append(Section(title, columns, rows, ratios=ratios, seconds=seconds))
    return sections


def _same(peer: str, structure: str, sides: Mapping[str, Side]) -> Section:
    """Check that all have as many parameters."""
    sizes = {
        name: sum(p.numel() for p in side.module.parameters()) for name, side in sides.items()
    }
    if len(set(sizes.values())) > 1:
        raise BadInput(f"{peer} and ours differ in their parameters: {sizes}.")
    rows = list(sizes.items())
    return Section(f"The same work ({structure})", ["side", "parameters"], rows)


def _update(side: Side, x: Tensor) -> Callable[[], Any]:
    optimiser = torch.optim.Adam(side.module.parameters(), lr=1e-4)

    def work() -> None:
        loss = -side.log_prob(x).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return work


def _log_prob(side: Side, x: Tensor) -> Callable[[], Any]:
    return torch.no_grad()(lambda: side.log_prob(x))


def _sample(side: Side, x: Tensor) -> Callable[[], Any]:
    return torch.no_grad()(lambda: side.sample(len(x)))


WORKS: Mapping[str, Callable[[Side, Tensor], Callable[[], Any]]] = {
    "update": _update,
    "log_prob": _log_prob,
    "sample": _sample,
}


def _run(work: Callable[[], Any]) -> Callable[[], Any]:
    """Do the work once before it is timed: a compiler compiles then."""
    work()
    return work


def _absent(peer: str, error: ImportError) -> BadInput:
    return BadInput(
        f"{peer} is not installed here ({error}); add it to benchmarks/requirements.txt, or leave "
        "it out by --peers."
    )
