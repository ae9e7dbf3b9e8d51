r"""Learning to act: policy gradients that stay near the policy which acted.

With ratio r = pi(a | s) / pi_old(a | s) and advantage A,

    surrogate       min(r A, clip(r, 1 - e, 1 + e) A)           to be made large
    advantage       A_t = sum_k (gamma lambda)^k d_{t+k},  d_t = R_t + gamma V(s_{t+1}) - V(s_t)

    divergence      KL(pi_old || pi) = E_{pi_old}[(r - 1) - ln r],  no term of which is below zero

The minimum is the clipped term, whose gradient is zero, where r > 1 + e and A > 0 or where
r < 1 - e and A < 0. At r = 1 the surrogate's gradient is the policy gradient A grad ln pi. Acts
that are not allowed have probability zero exactly: their logits are -inf before the softmax.

References:
    | Proximal Policy Optimization Algorithms (Schulman, Wolski, Dhariwal, Radford & Klimov, 2017)
    | High-Dimensional Continuous Control Using Generalized Advantage Estimation (Schulman, Moritz,
      Levine, Jordan & Abbeel, 2016)
    | Approximating KL divergence (Schulman, 2020), for the estimator k3
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = [
    "advantages",
    "approximate_kl",
    "chosen",
    "entropy",
    "is_clipped",
    "masked_log_probs",
    "standardised",
    "surrogate",
]


def masked_log_probs(
    logits: Float[Tensor, "B A"], may: Bool[Tensor, "B A"]
) -> Float[Tensor, "B A"]:
    """Return ln pi of every act; -inf of those that are not allowed.

    >>> masked_log_probs(torch.zeros(1, 3), torch.tensor([[True, False, True]])).exp().tolist()
    [[0.5, 0.0, 0.5]]
    """
    return torch.where(may, logits, -math.inf).log_softmax(1)


def chosen(log_probs: Float[Tensor, "B A"], u: Float[Tensor, " B"]) -> Int[Tensor, " B"]:
    """Draw an act each, by one uniform number each."""
    sums = log_probs.double().exp().cumsum(1)
    act = (sums <= u.double()[:, None] * sums[:, -1:]).sum(1)
    # A number next to one must not choose what is not allowed at the end.
    last = log_probs.isfinite().long() * torch.arange(1, log_probs.shape[1] + 1, device=u.device)
    return torch.minimum(act, last.amax(1) - 1)


def entropy(log_probs: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
    """Return -sum pi ln pi, nats."""
    finite = torch.where(log_probs.isfinite(), log_probs, 0.0)
    return -(log_probs.exp() * finite).sum(1)


def surrogate(
    log_prob: Float[Tensor, " B"],
    old: Float[Tensor, " B"],
    advantage: Float[Tensor, " B"],
    clip: float,
) -> Float[Tensor, " B"]:
    """Return the clipped surrogate of each act."""
    ratio = (log_prob - old).exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def is_clipped(
    log_prob: Float[Tensor, " B"],
    old: Float[Tensor, " B"],
    advantage: Float[Tensor, " B"],
    clip: float,
) -> Bool[Tensor, " B"]:
    """Tell of which terms the clip makes the gradient zero.

    >>> r, a = torch.tensor([1.5, 1.5, 0.5, 0.5]), torch.tensor([1.0, -1.0, 1.0, -1.0])
    >>> is_clipped(r.log(), torch.zeros(4), a, 0.2).tolist()
    [True, False, False, True]
    """
    ratio = (log_prob - old).exp()
    return ((ratio > 1 + clip) & (advantage > 0)) | ((ratio < 1 - clip) & (advantage < 0))


def approximate_kl(log_prob: Float[Tensor, " B"], old: Float[Tensor, " B"]) -> Tensor:
    """Return (r - 1) - ln r of each action, whose mean under pi_old is KL(pi_old || pi).

    >>> approximate_kl(torch.zeros(1), torch.zeros(1)).item()
    0.0
    """
    return (log_prob - old).expm1() - (log_prob - old)


def standardised(advantage: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Return advantages of mean 0 and standard deviation 1; zeros where they do not differ.

    >>> standardised(torch.tensor([3.0])).item()
    0.0
    """
    centred = advantage - advantage.mean()
    return centred / (advantage.std(correction=min(1, len(advantage) - 1)) + 1e-8)


def advantages(
    rewards: Float[Tensor, "T B"],
    values: Float[Tensor, "T B"],
    mask: Bool[Tensor, "T B"],
    *,
    gamma: float = 1.0,
    decay: float = 0.95,
) -> Float[Tensor, "T B"]:
    """Return generalised advantages of episodes that end, after which nothing is worth anything.

    Arguments:
        rewards: R_t.
        values: V(s_t).
        mask: Whether the episode still goes at t.
        gamma: Discount.
        decay: lambda; 1: return less value, 0: one step.

    >>> r, v, go = torch.tensor([[0.0], [1.0]]), torch.zeros(2, 1), torch.ones(2, 1).bool()
    >>> advantages(r, v, go, decay=1.0).flatten().tolist()
    [1.0, 1.0]
    """
    out = torch.zeros_like(values)
    carried = next_value = torch.zeros_like(values[0])
    for t in reversed(range(len(values))):
        delta = rewards[t] + gamma * next_value - values[t]
        carried = torch.where(mask[t], delta + gamma * decay * carried, 0.0)
        next_value = torch.where(mask[t], values[t], 0.0)
        out[t] = carried
    return out
