r"""What a model makes of given graphs: how much more they are worth, and who does better.

    improvement_gain    mean of worth(improved) - worth(given) over test graphs
    gain_over_greedy    mean of what the model gains more than greedy on the same graph: graphs
                        differ far more than ways to improve them, so that pairs tell what means
                        do not

Beside it stand others that add as many edges to the same graphs:

    random                 any pair that is not joined
    lowest degree product  the pair whose degrees have the least product, again and again
    greedy                 the pair that raises the worth most, again and again; it looks at the
                           worth of every pair, where a model that has learnt looks at none

Worth is an estimate by chances. What greedy chooses by and what all are judged by have different
seeds, so that none is judged by what it has seen.

References:
    | Goal-directed graph construction using reinforcement learning (Darvariu, Hailes & Musolesi,
      2021), arXiv:2001.11279, for the baselines
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.graph import adjacency, sizes
from trilemma.core.model import Improving
from trilemma.core.noise import Noise, mix
from trilemma.core.session import Session
from trilemma.metrics.context import Context
from trilemma.metrics.metric import REWARD, Metric, Need
from trilemma.metrics.score import Score, mean_chance

__all__ = ["METRICS", "RULES", "greedy", "improvement", "lowest_product", "random_pairs"]

MOST = 64
"""Test graphs that are improved at most: greedy looks at every pair of each."""
JUDGED = 8
"""Seeds over which worth is averaged where it is judged."""
AT_ONCE = 1 << 16
"""Numbers of matrices whose worth is asked for at once, between two calls of `check`."""

Worth = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Gains:
    """What test graphs are worth more after they were improved, a number a graph."""

    ours: Float[Tensor, " B"]
    baselines: Mapping[str, Float[Tensor, " B"]]
    protocol: str


def gains(context: Context) -> Gains:
    """Improve test graphs, `MOST` of them at most, by the model and by the baselines."""
    model, seed, session = context.required_model, context.seed, context.session
    x = context.test[:MOST].to(context.device)
    noise = Noise.for_samples(mix(seed, "improve"), 0, len(x), context.device)
    with torch.no_grad():
        improved = model.improve(x, noise=noise)
    added = (adjacency(improved).sum((1, 2), dtype=torch.int64) - adjacency(x).sum((1, 2))) // 2

    def worth(name: str, *numbers: int) -> Worth:
        reward_seed = mix(seed, name, *numbers)

        def evaluate(y: Tensor) -> Tensor:
            return _in_parts(y, lambda part: model.worth(part, seed=reward_seed), session)

        return evaluate

    def judged(y: Tensor) -> Tensor:
        total = sum(worth("judged", i)(y) for i in range(JUDGED))
        return torch.as_tensor(total).double().cpu() / JUDGED

    before = judged(x)
    baseline_gains: dict[str, Tensor] = {}
    max_looks = 0
    for finished, (name, method) in enumerate(RULES.items(), 1):
        baseline_graphs, look_count = method(x, added, worth("seen"), session)
        baseline_gains[name] = judged(baseline_graphs) - before
        max_looks = max(max_looks, look_count)
        context.session.report(f"improving by {name}", finished, len(RULES))
    return Gains(
        judged(improved) - before,
        baseline_gains,
        f"mean gain of {len(x)} test graphs, {float(added.double().mean()):.1f} edges "
        f"added to each; worth before {float(before.mean()):.4f}, judged by {JUDGED} seeds that "
        f"nobody chose by; greedy looked at {max_looks:,} worths, the model at none; seed {seed}; "
        "interval: Student's, of a skewed mean",
    )


def improvement(context: Context) -> Score:
    """Measure what a model makes of test graphs."""
    result = context.once(gains)
    return Score(
        float(result.ours.mean()),
        unit=context.required_model.improves,
        baselines={name: float(gain.mean()) for name, gain in result.baselines.items()},
        n=len(result.ours),
        protocol=result.protocol,
    ).with_interval(mean_chance(result.ours))


def over_greedy(context: Context) -> Score:
    """Measure what a model gains more than greedy, graph by graph."""
    result = context.once(gains)
    greedy_gains = result.baselines["greedy"]
    advantage = result.ours - greedy_gains
    return Score(
        float(advantage.mean()),
        unit=context.required_model.improves,
        baselines={
            name: float((gain - greedy_gains).mean())
            for name, gain in result.baselines.items()
            if name != "greedy"
        },
        n=len(advantage),
        protocol=f"differences of the gains of the same graph; {result.protocol}",
    ).with_interval(mean_chance(advantage))


def _at_once(x: Tensor) -> int:
    """Return how many graphs as large as these are looked at together."""
    return max(1, AT_ONCE // x.shape[-1] ** 2)


def _in_parts(x: Tensor, worth: Worth, session: Session) -> Tensor:
    """Return what graphs are worth, looking whether to stop before each part of them."""
    values = []
    for chunk in x.split(_at_once(x)):
        session.check()
        values.append(worth(chunk))
    return torch.cat(values)


def _pairs(x: Tensor) -> Tensor:
    """List the pairs of one graph that are not joined, [P, 2]."""
    n = int(sizes(x))
    return (x[:n, :n] == 0).triu(1).nonzero()


def _joined(x: Tensor, pair: Tensor) -> Tensor:
    a, b = pair.tolist()
    y = x.clone()
    y[a, b] = y[b, a] = 1
    return y


def _each_joined(x: Tensor, pairs: Tensor) -> Tensor:
    """Return a graph once for each of some pairs, with that pair joined, [P, N, N]."""
    graphs, rows = x.repeat(len(pairs), 1, 1), torch.arange(len(pairs), device=x.device)
    graphs[rows, pairs[:, 0], pairs[:, 1]] = 1
    graphs[rows, pairs[:, 1], pairs[:, 0]] = 1
    return graphs


def random_pairs(x: Tensor, added: Tensor, worth: Worth, session: Session) -> tuple[Tensor, int]:
    """Join pairs by chance."""
    generator, out = torch.Generator().manual_seed(mix(session.seed, "random edges")), []
    for graph, count in zip(x, added.tolist(), strict=True):
        session.check()
        pairs = _pairs(graph)
        chosen_pairs = pairs[
            torch.randperm(len(pairs), generator=generator)[:count].to(pairs.device)
        ]
        y = graph.clone()
        y[chosen_pairs[:, 0], chosen_pairs[:, 1]] = 1
        y[chosen_pairs[:, 1], chosen_pairs[:, 0]] = 1
        out.append(y)
    return torch.stack(out), 0


def lowest_product(x: Tensor, added: Tensor, worth: Worth, session: Session) -> tuple[Tensor, int]:
    """Join the pair whose degrees have the least product, again and again."""
    out = []
    for graph, count in zip(x, added.tolist(), strict=True):
        for _ in range(count):
            session.check()
            pairs, degree = _pairs(graph), adjacency(graph).sum(1, dtype=torch.int64)
            if not len(pairs):
                break
            product = degree[pairs[:, 0]] * degree[pairs[:, 1]]
            graph = _joined(graph, pairs[product.argmin()])
        out.append(graph)
    return torch.stack(out), 0


def greedy(x: Tensor, added: Tensor, worth: Worth, session: Session) -> tuple[Tensor, int]:
    """Join the pair that raises the worth most, again and again; count the looks.

    Arguments:
        x: Graphs, [B, N, N].
        added: How many edges each gets, [B].
        worth: What is raised.
        session: Asked before each look at a part of the pairs whether to stop.
    """
    out, evaluations = [], 0
    for graph, count in zip(x, added.tolist(), strict=True):
        for _ in range(count):
            pairs = _pairs(graph)
            if not len(pairs):
                break
            evaluations += len(pairs)
            values = []
            for pair_chunk in pairs.split(_at_once(x)):
                session.check()
                values.append(worth(_each_joined(graph, pair_chunk)))
            graph = _joined(graph, pairs[torch.cat(values).argmax()])
        out.append(graph)
    return torch.stack(out), evaluations


RULES = {"random": random_pairs, "lowest degree product": lowest_product, "greedy": greedy}
"""Who else improves graphs, by name."""


IMPROVING = Need(
    has=lambda model: isinstance(model, Improving) and bool(model.improves),
    absence="the model improves no graphs",
)
METRICS = (
    Metric(
        name="improvement_gain",
        label="gain",
        better="higher",
        meaning="How much given graphs are worth more after the model improved them.",
        failure="Worth is an estimate by chances, and says nothing of likeness to the data.",
        kinds=("graph",),
        ranks=REWARD,
        needs=IMPROVING,
        estimand="the expected gain over fresh test graphs",
        measure=improvement,
    ),
    Metric(
        name="gain_over_greedy",
        label="gain over greedy",
        better="higher",
        meaning="How much more given graphs gain by the model than by adding, again and again, "
        "the edge that raises their worth most: above 0 the model looks further ahead.",
        failure="Worth is an estimate by chances, and greedy chooses by such an estimate too.",
        kinds=("graph",),
        needs=IMPROVING,
        estimand="the expected difference over fresh test graphs",
        measure=over_greedy,
    ),
)
