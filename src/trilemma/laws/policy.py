"""Laws of building graphs and of learning to: masks, gradients by enumeration, symmetry.

Everything is done on graphs of at most four nodes, where all episodes can be listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from trilemma.core import graph as graphs
from trilemma.laws.law import Check, Law, equal, states
from trilemma.maths import ppo
from trilemma.maths.graphs import bfs_orders, graph_environment, network_robustness
from trilemma.networks import graph as networks

__all__ = ["CHECKS"]

SOURCE = "lecture §7; You, Liu, Ying, Pande & Leskovec 2018, section 3"
PPO = "lecture §7; Schulman et al. 2017, eq. 7"
GAE = "Schulman, Moritz, Levine, Jordan & Abbeel 2016, eq. 16 to 18"
KL = "Schulman 2020, Approximating KL divergence, estimator k3"
ROBUST = "Darvariu, Hailes & Musolesi 2021, section 3"
NODES, ACTS = 3, 4


def _network(budget: float = 0.0) -> networks.ActNetwork:
    """Return a network with weights large enough that no act is as likely as another."""
    network_ = networks.ActNetwork(width=5, layers=2, budget=budget)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network_.parameters():
            weight.copy_(0.4 * torch.randn(weight.shape, generator=draw))
    return network_


def _gradients(value: Tensor, weights: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Return the gradient by each weight; None by those on which the value does not depend."""
    return torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)


Episode = tuple[list[tuple[graph_environment.GraphState, int]], graph_environment.GraphState]


def _episodes(state: graph_environment.GraphState, grows: bool) -> Iterator[Episode]:
    """List all episodes from a state of one graph: its acts, and how it ends."""
    if bool(state.done):
        yield [], state
        return
    for act in graph_environment.action_mask(state, grows)[0].nonzero()[:, 0].tolist():
        next_state = graph_environment.step(state, torch.tensor([act]), grows)
        for acts, end in _episodes(next_state, grows):
            yield [(state, act), *acts], end


def _starts() -> list[tuple[graph_environment.GraphState, bool]]:
    """Return a graph that grows, and one that gets two edges."""
    path = graphs.graph(4, [(0, 1), (1, 2), (2, 3)])[None]
    return [
        (graph_environment.reset(1, NODES, ACTS), True),
        (graph_environment.reset_from(path, torch.tensor([2])), False),
    ]


@states(PPO)
def gradient() -> list[Law]:
    """All episodes: the surrogate's gradient where the policy has not moved, and the exact one."""
    laws = []
    for (start, grows), name in zip(_starts(), ("growing", "with a budget"), strict=True):
        network = _network(0 if grows else 2 / 3)
        weights = [w for k, w in network.named_parameters() if not k.startswith("value")]
        expected, estimate = torch.zeros(()), torch.zeros(())
        for acts, end in _episodes(start, grows):
            reward = float(end.x.sum()) ** 1.5 + float(end.x[0, 0].sum())
            log_probs = []
            for state, act in acts:
                logits, _ = network(state.x, state.current_node, state.remaining)
                allowed = graph_environment.action_mask(state, grows)
                log_probs.append(ppo.masked_log_probs(logits, allowed)[0, act])
            stacked_log_probs = torch.stack(log_probs)
            chance = stacked_log_probs.sum().exp()
            expected = expected + chance * reward
            gain = ppo.surrogate(
                stacked_log_probs,
                stacked_log_probs.detach(),
                torch.full_like(stacked_log_probs, reward),
                0.2,
            )
            estimate = estimate + chance.detach() * gain.sum()
        exact = _gradients(expected, weights)
        estimated = _gradients(estimate, weights)
        pairs = [(a, b) for a, b in zip(exact, estimated, strict=True) if a is not None]
        largest = max(float(a.abs().max()) for a, _ in pairs)
        gap = max(float((a - b).abs().max()) for a, b in pairs if b is not None)
        laws.append(
            equal(
                "the surrogate's gradient at ratio 1 is the exact policy gradient, by all "
                f"episodes: {name} (largest gap, relative)",
                PPO,
                gap / largest,
                0,
                1e-4,
            )
        )
    return laws


@states(SOURCE)
@torch.no_grad()
def masks() -> list[Law]:
    """All states that can be reached."""
    forbidden = sum_gap = 0.0
    broken = 0
    for start, grows in _starts():
        network = _network(0 if grows else 2 / 3)
        for acts, end in _episodes(start, grows):
            for state, _ in acts:
                logits, _ = network(state.x, state.current_node, state.remaining)
                allowed = graph_environment.action_mask(state, grows)
                chance = ppo.masked_log_probs(logits, allowed).exp()
                forbidden = max(forbidden, float(chance[~allowed].max()))
                sum_gap = max(sum_gap, abs(float(chance[allowed].sum()) - 1))
            for x in (*(state.x[0] for state, _ in acts), end.x[0]):
                n = int(x.diagonal().sum())
                simple = torch.equal(x, x.T) and int(x.max()) == 1
                simple &= bool(x.diagonal()[:n].all()) and not bool(x[n:].any())
                broken += not simple
    return [
        equal(
            "acts that are not allowed have probability zero (largest)", SOURCE, forbidden, 0, 0
        ),
        equal("the others' probabilities sum to one (largest gap)", SOURCE, sum_gap, 0, 1e-6),
        equal(
            "no state that can be reached is other than a simple graph (states)",
            SOURCE,
            broken,
            0,
            0,
        ),
    ]


@states(SOURCE)
def experts() -> list[Law]:
    """Graphs of four nodes: the expert's acts, replayed."""
    wrong = 0
    for joined in ([(0, 1), (1, 2), (0, 2), (2, 3)], [(0, 1)], [(0, 1), (0, 2), (0, 3)]):
        x = graphs.graph(4, joined)[None]
        y = graphs.reordered(x, bfs_orders.breadth_first(x, torch.tensor([[0.4, 0.1, 0.3, 0.2]])))
        steps = int(graphs.adjacency(y).sum()) // 2 + 1
        steps += int((bfs_orders.parents(y)[0, 1:] == torch.arange(1, 4)).sum())
        fractions = (torch.arange(steps) + 0.5) / steps
        _, acts = graph_environment.expert_action(
            y.expand(steps, 4, 4), bfs_orders.parents(y).expand(steps, 4), fractions
        )
        state = graph_environment.reset(1, 4, 100)
        for act in acts:
            wrong += not bool(graph_environment.action_mask(state, True)[0, act])
            state = graph_environment.step(state, act[None], True)
        wrong += int((state.x != y).sum()) + int(not bool(state.done))
    return [equal("the expert's acts build the graph (entries that differ)", SOURCE, wrong, 0, 0)]


@states(GAE)
def weighing() -> list[Law]:
    """Episodes of several lengths."""
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(5, 3, generator=draw, dtype=torch.float64)
    rewards = torch.randn(5, 3, generator=draw, dtype=torch.float64)
    step_mask = torch.arange(5)[:, None] < torch.tensor([5, 3, 1])
    rewards = rewards * step_mask
    lambda_one = ppo.advantages(rewards, values, step_mask, decay=1.0)
    returns = rewards.flip(0).cumsum(0).flip(0)
    lambda_zero = ppo.advantages(rewards, values, step_mask, decay=0.0)
    next_values = torch.cat([values[1:] * step_mask[1:], torch.zeros(1, 3, dtype=torch.float64)])
    td_errors = (rewards + next_values - values) * step_mask
    return [
        equal(
            "advantages with lambda 1 are return less value (largest gap)",
            GAE,
            float((lambda_one - (returns - values) * step_mask).abs().max()),
            0,
            1e-12,
        ),
        equal(
            "advantages with lambda 0 are errors of one step (largest gap)",
            GAE,
            float((lambda_zero - td_errors).abs().max()),
            0,
            1e-12,
        ),
    ]


@states(PPO)
def clipping() -> list[Law]:
    """Ratios on both sides, advantages of both signs."""
    ratio = torch.tensor([0.5, 0.5, 1.0, 1.0, 1.5, 1.5], dtype=torch.float64)
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    log_prob = ratio.log().requires_grad_()
    gain = ppo.surrogate(log_prob, torch.zeros_like(ratio), advantage, 0.2)
    (gradient,) = torch.autograd.grad(gain.sum(), log_prob)
    expected = torch.tensor([0.5, 0.0, 1.0, -1.0, 0.0, -1.5], dtype=torch.float64)
    return [
        equal(
            "the clip stops the slope where the ratio has gone too far the right way "
            "(largest gap)",
            PPO,
            float((gradient - expected).abs().max()),
            0,
            1e-12,
        )
    ]


@states(KL, PPO)
def divergence() -> list[Law]:
    """Two policies over four actions: the estimate's mean by enumeration, and every term."""
    draw = torch.Generator().manual_seed(0)
    old, new = torch.randn(2, 4, generator=draw, dtype=torch.float64).log_softmax(1)
    exact = float((old.exp() * (old - new)).sum())
    terms = ppo.approximate_kl(new, old)
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    moved = new.clone().requires_grad_()
    gain = ppo.surrogate(moved, old, advantage, 0.1)
    (gradient,) = torch.autograd.grad(gain.sum(), moved)
    flags = ppo.is_clipped(new, old, advantage, 0.1)
    return [
        equal(
            "mean of (r - 1) - ln r under the old policy is KL(old || new) (gap)",
            KL,
            float((old.exp() * terms).sum()) - exact,
            0,
            1e-12,
        ),
        equal(
            "no term of it is below zero (least, cut at 0)", KL, min(float(terms.min()), 0), 0, 0
        ),
        equal(
            "what is counted as clipped has gradient zero, and nothing else (terms that differ)",
            PPO,
            int((flags != (gradient == 0)).sum()),
            0,
            0,
        ),
        equal("and some terms are clipped, some not", PPO, len(flags.unique()), 2, 0),
    ]


@states(SOURCE)
@torch.no_grad()
def symmetry() -> list[Law]:
    """A graph and the same with its nodes in another order, and with places that are empty."""
    x = graphs.graph(5, [(0, 1), (1, 2), (2, 3), (3, 1)], 7)[None]
    order = torch.tensor([[3, 0, 4, 2, 1, 5, 6]])
    y = graphs.reordered(x, order)
    embed, network = networks.Embedding(networks.features(x).shape[2], 6, 2), _network(0.5)
    h, g = (embed(z, networks.features(z)) for z in (x, y))
    current_node, remaining = torch.tensor([2]), torch.tensor([2])
    _, value = network(x, current_node, remaining)
    _, permuted_value = network(y, order.argsort(1)[:, 2], remaining)
    critic = networks.GraphCritic(width=6, layers=2)
    return [
        equal(
            "embeddings go with their nodes (largest gap)",
            SOURCE,
            float((h[0, order[0]] - g[0]).abs().max()),
            0,
            1e-5,
        ),
        equal(
            "a state's value does not know the order of nodes (gap)",
            SOURCE,
            float((value - permuted_value).abs()),
            0,
            1e-5,
        ),
        equal("nor does a critic (gap)", SOURCE, float((critic(x) - critic(y)).abs()), 0, 1e-5),
        equal(
            "nodes that are not there embed to nothing (largest)",
            SOURCE,
            float(h[0, 5:].abs().max()),
            0,
            0,
        ),
    ]


@states(ROBUST)
def withstanding() -> list[Law]:
    """Networks whose critical fraction is known."""
    draw = torch.Generator().manual_seed(0)

    def of(n: int, joined: list[tuple[int, int]], removal: str) -> float:
        u = torch.rand(1, 64, 9, generator=draw)
        return float(network_robustness.robustness(graphs.graph(n, joined, 9)[None], u, removal))

    star = [(0, i) for i in range(1, 9)]
    full = [(i, j) for i in range(6) for j in range(i)]
    return [
        equal(
            "a star falls apart when its centre goes: targeted",
            ROBUST,
            of(9, star, "targeted"),
            1 / 9,
            1e-12,
        ),
        equal("a complete network never falls apart", ROBUST, of(6, full, "both"), 1, 1e-12),
        equal(
            "what is in two pieces has fallen apart",
            ROBUST,
            of(4, [(0, 1), (2, 3)], "both"),
            0,
            1e-12,
        ),
        equal(
            "a path of three falls apart when its middle goes: random, 1/3 · 1/3 + 2/3 · 1",
            ROBUST,
            of(3, [(0, 1), (1, 2)], "random"),
            7 / 9,
            0.15,
        ),
    ]


CHECKS: tuple[Check, ...] = (
    masks,
    experts,
    gradient,
    clipping,
    divergence,
    weighing,
    symmetry,
    withstanding,
)
