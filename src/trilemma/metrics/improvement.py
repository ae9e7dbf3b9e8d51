r"""What a model makes of given graphs: how much more they are worth, and who does better.

    improvement_gain    mean of worth(improved) - worth(given) over test graphs

Beside it stand others that add as many edges to the same graphs:

    random                 any pair that is not joined
    lowest degree product  the pair whose degrees have the least product, again and again
    greedy                 the pair that raises the worth most, again and again; it looks at the
                           worth of every pair, where a model that has learnt looks at none

The interval is that of a mean over fresh test graphs. The seeds by which worth is judged may be
the same chances for all of them, as orders of removal are; that they are few it leaves out.

Worth is an estimate by chances. What greedy chooses by and what all are judged by have different
seeds, so that none is judged by what it has seen.

References:
    | Goal-directed graph construction using reinforcement learning (Darvariu, Hailes & Musolesi,
      2021), arXiv:2001.11279, for the baselines
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trilemma.core.graph import adjacency, sizes
from trilemma.core.model import Improving
from trilemma.core.noise import Noise, mix
from trilemma.data.dataset import DataSet
from trilemma.metrics.quality import Progress
from trilemma.metrics.score import Score, mean_chance

__all__ = ["OTHERS", "greedy", "improvement", "lowest_product", "random_pairs"]

MOST = 32
"""Test graphs that are improved at most: greedy looks at every pair of each."""
JUDGED = 8
"""Seeds over which worth is averaged where it is judged."""

Worth = Callable[[Tensor], Tensor]


def improvement(
    model: object,
    data: DataSet,
    *,
    n: int,
    seed: int,
    device: torch.device | str,
    check: Callable[[], None] | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, Score], dict[str, str]]:
    """Measure what a model makes of test graphs; nothing of models that improve none.

    Arguments:
        model: Any; measured where it is `Improving`.
        data: Whose test graphs are improved.
        n: Of so many at most.
        seed: Seed of estimates and of random edges.
        device: Where the model lies.
        check: Called between parts; raises to stop.
        progress: Told of each part.
    """
    if not isinstance(model, Improving) or not model.improves:
        return {}, {}
    rows = torch.randperm(len(data.test), generator=torch.Generator().manual_seed(seed))
    x = data.test.x[rows[: min(n, MOST)]].to(device)
    with torch.no_grad():
        after = model.improve(x, noise=Noise.for_samples(mix(seed, "improve"), 0, len(x), device))
    added = (adjacency(after).sum((1, 2), dtype=torch.int64) - adjacency(x).sum((1, 2))) // 2

    def judged(y: Tensor) -> Tensor:
        total = sum(model.worth(y, seed=mix(seed, "judged", i)) for i in range(JUDGED))
        return torch.as_tensor(total).double().cpu() / JUDGED

    before = judged(x)
    gains = judged(after) - before
    others, looks = {}, 0
    for done, (name, other) in enumerate(OTHERS.items(), 1):
        if check is not None:
            check()
        found, looked = other(x, added, lambda y: model.worth(y, seed=mix(seed, "seen")), seed)
        others[name] = float((judged(found) - before).mean())
        looks = max(looks, looked)
        if progress is not None:
            progress(f"improving by {name}", done, len(OTHERS))
    score = Score(
        float(gains.mean()),
        unit=model.improves,
        better="higher",
        baselines=others,
        n=len(x),
        protocol=f"mean gain of {len(x)} test graphs, {float(added.double().mean()):.1f} edges "
        f"added to each; worth before {float(before.mean()):.4f}, judged by {JUDGED} seeds that "
        f"nobody chose by; greedy looked at {looks:,} worths, the model at none; seed {seed}; "
        "interval: Student's, of a skewed mean",
    ).within(mean_chance(gains))
    return {"improvement_gain": score}, {}


def _pairs(x: Tensor) -> Tensor:
    """List the pairs of one graph that are not joined, [P, 2]."""
    n = int(sizes(x))
    return (x[:n, :n] == 0).triu(1).nonzero()


def _joined(x: Tensor, pair: Tensor) -> Tensor:
    a, b = pair.tolist()
    y = x.clone()
    y[a, b] = y[b, a] = 1
    return y


def random_pairs(x: Tensor, added: Tensor, worth: Worth, seed: int) -> tuple[Tensor, int]:
    """Join pairs by chance."""
    draw, out = torch.Generator().manual_seed(mix(seed, "random edges")), []
    for one, count in zip(x, added.tolist(), strict=True):
        pairs = _pairs(one)
        chosen = pairs[torch.randperm(len(pairs), generator=draw)[:count].to(pairs.device)]
        y = one.clone()
        y[chosen[:, 0], chosen[:, 1]] = 1
        y[chosen[:, 1], chosen[:, 0]] = 1
        out.append(y)
    return torch.stack(out), 0


def lowest_product(x: Tensor, added: Tensor, worth: Worth, seed: int) -> tuple[Tensor, int]:
    """Join the pair whose degrees have the least product, again and again."""
    out = []
    for one, count in zip(x, added.tolist(), strict=True):
        for _ in range(count):
            pairs, degree = _pairs(one), adjacency(one).sum(1, dtype=torch.int64)
            if not len(pairs):
                break
            product = degree[pairs[:, 0]] * degree[pairs[:, 1]]
            one = _joined(one, pairs[product.argmin()])
        out.append(one)
    return torch.stack(out), 0


def greedy(x: Tensor, added: Tensor, worth: Worth, seed: int) -> tuple[Tensor, int]:
    """Join the pair that raises the worth most, again and again; count the looks."""
    out, looks = [], 0
    for one, count in zip(x, added.tolist(), strict=True):
        for _ in range(count):
            pairs = _pairs(one)
            if not len(pairs):
                break
            many = one.repeat(len(pairs), 1, 1)
            at = torch.arange(len(pairs), device=x.device)
            many[at, pairs[:, 0], pairs[:, 1]] = 1
            many[at, pairs[:, 1], pairs[:, 0]] = 1
            looks += len(pairs)
            one = many[worth(many).argmax()]
        out.append(one)
    return torch.stack(out), looks


OTHERS = {"random": random_pairs, "lowest degree product": lowest_product, "greedy": greedy}
"""Who else improves graphs, by name."""
