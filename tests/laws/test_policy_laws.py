"""The laws of building graphs hold, and each fails when the code is broken."""

from __future__ import annotations

import pytest
import torch

from trilemma.laws import policy as laws
from trilemma.maths import ppo
from trilemma.maths.graphs import graph_environment, network_robustness
from trilemma.networks import graph as networks

MAY, STEP, EXPERT, LOG_PROBS = (
    graph_environment.action_mask,
    graph_environment.step,
    graph_environment.expert_action,
    ppo.masked_log_probs,
)
ADVANTAGES, ORDERS, FEATURES = ppo.advantages, network_robustness.orders, networks.features
EMBED, POOLED = networks.Embedding.forward, networks.pooled


def leaky(logits, may):
    """Acts that are not allowed, made unlikely and not impossible."""
    return torch.where(may, logits, -5.0).log_softmax(1)


def unscaled(logits, may):
    return LOG_PROBS(logits, may) + 0.1


def one_way(state, action, grows):
    """Edges that are written once."""
    after = STEP(state, action, grows)
    return graph_environment.GraphState(
        after.x.triu(), after.current_node, after.remaining, after.done
    )


def newest_first(x, parent, u):
    state, act = EXPERT(x, parent, u)
    room = x.shape[1]
    return state, torch.where(act < room, (act + 1) % room, act)


def squared(log_prob, old, advantage, clip):
    return (log_prob - old).exp().square() * advantage


def unclipped(log_prob, old, advantage, clip):
    return (log_prob - old).exp() * advantage


def log_ratio(log_prob, old):
    """Schulman's k2."""
    return 0.5 * (log_prob - old).square()


def k1(log_prob, old):
    return old - log_prob


def moved_far(log_prob, old, advantage, clip):
    """Where the ratio is far from one, whichever way the advantage points."""
    return (log_prob - old).abs() > clip


def never(log_prob, old, advantage, clip):
    return torch.zeros_like(advantage, dtype=torch.bool)


def endless(rewards, values, mask, *, gamma=1.0, decay=0.95):
    """Episodes whose ends are not seen."""
    return ADVANTAGES(rewards, values, torch.ones_like(mask), gamma=gamma, decay=decay)


def normalised_positions(x):
    """Features that tell a node's place."""
    features = FEATURES(x)
    return features + torch.arange(features.shape[1])[:, None] * (
        features.sum(-1, keepdim=True) > 0
    )


def crowded(self, x, features):
    return EMBED(self, x, features) + 1.0


def first(h, x):
    return torch.cat([h[:, 0], h[:, 0]], 1)


def backwards(x, u, removal):
    return ORDERS(x, u, removal).flip(2)


def always_whole(x, order):
    return torch.ones(order.shape[:2], dtype=torch.float64)


def early(x, order):
    return robustness_of(x, order) * 0.5


robustness_of = network_robustness.critical_fraction

BROKEN = [
    ("masks", "not allowed", ppo, "masked_log_probs", leaky),
    ("masks", "sum to one", ppo, "masked_log_probs", unscaled),
    ("masks", "simple graph", graph_environment, "step", one_way),
    ("experts", "build the graph", graph_environment, "expert_action", newest_first),
    ("gradient", "exact policy gradient", ppo, "surrogate", squared),
    ("clipping", "stops the slope", ppo, "surrogate", unclipped),
    ("divergence", "is KL", ppo, "approximate_kl", log_ratio),
    ("divergence", "below zero", ppo, "approximate_kl", k1),
    ("divergence", "counted as clipped", ppo, "is_clipped", moved_far),
    ("divergence", "some not", ppo, "is_clipped", never),
    ("weighing", "lambda 1", ppo, "advantages", endless),
    ("weighing", "lambda 0", ppo, "advantages", endless),
    ("symmetry", "go with their nodes", networks, "features", normalised_positions),
    ("symmetry", "value does not know", networks, "pooled", first),
    ("symmetry", "nor does a critic", networks, "pooled", first),
    ("symmetry", "not there", networks.Embedding, "forward", crowded),
    ("withstanding", "star", network_robustness, "orders", backwards),
    ("withstanding", "two pieces", network_robustness, "critical_fraction", always_whole),
    ("withstanding", "complete", network_robustness, "critical_fraction", early),
    ("withstanding", "path", network_robustness, "critical_fraction", early),
]


@pytest.mark.parametrize(
    ("check", "law", "where", "name", "broken"), BROKEN, ids=[f"{b[0]}-{b[1]}" for b in BROKEN]
)
def test_a_break_is_seen(check, law, where, name, broken, breaks):
    breaks(laws, check, law, where, name, broken)


def test_each_law_is_broken(unbroken):
    assert unbroken(laws, BROKEN) == []
