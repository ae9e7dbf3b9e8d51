"""Make networks robust by a trained policy, beside others, also where they are twice as large.

    trilemma train graphrl --data barabasi-albert --size 20 --task robust --minutes 10
    python examples/robust_networks.py runs/graphrl-barabasi-albert-001

Of each size it prints by how much the critical fraction rises on networks that the policy has not
seen, with as many edges added by each, and writes robust.png: what the policy adds, in red.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from trilemma.core.noise import Noise
from trilemma.core.session import Session
from trilemma.data.sources import load as load_data
from trilemma.metrics.judge import judge
from trilemma.pictures.graphs import change
from trilemma.recipes.runs import load

COUNT = 64
"""Networks of each size: greedy looks at every pair of every one of them."""


def main(run: Path) -> None:
    """Print a line for each size and way."""
    model = load(run, warn=print).model
    size = model.domain.shape[0]
    for nodes in (size, 2 * size):
        data = load_data("barabasi-albert", size=nodes)
        found = judge(
            model, data, n=COUNT, session=Session(), only={"improvement_gain", "gain_over_greedy"}
        )
        gain = found.metrics["improvement_gain"]
        print(f"{nodes} nodes, gain of the critical fraction:")
        print(f"    policy {gain.value:.4f} ({gain.low:.4f} to {gain.high:.4f})")
        for name, value in gain.baselines.items():
            print(f"    {name} {value:.4f}")
        more = found.metrics["gain_over_greedy"]
        print(f"    more than greedy {more.value:.4f} ({more.low:.4f} to {more.high:.4f})")
        print(f"    {gain.protocol}")
    x = load_data("barabasi-albert", size=size).test.x[:12]
    with torch.no_grad():
        after = model.improve(x, noise=Noise.of(0, len(x)))
    change(x, after).save("robust.png")
    print("robust.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
