r"""The losses of adversarial games, as functions of the critic's scores.

A generator G makes G(z) from noise, a critic D gives an example a score: here the logit of its
being real, so that the probability is s(D), s the logistic function. Goodfellow et al. play

    min_G max_D V,   V = E_data[ln s(D(x))] + E_z[ln(1 - s(D(G(z))))].

With G fixed, s(D*) = p_data / (p_data + p_g) and V(D*) = 2 JSD(p_data, p_g) - ln 4. Each loss is
here in the form that is *minimised*, per pair of a real score r = D(x) and a fake one f = D(G(z)):

    name          critic                        generator        generator's slope in f
    ns            -ln s(r) - ln(1 - s(f))       -ln s(f)         -(1 - s(f))
    saturating    the same                      ln(1 - s(f))     -s(f)

Both generators push f up and share their fixed points. They differ in where they pull: the
saturating one, which descends V itself, hardly moves a fake that the critic knows to be one
(s(f) near 0), which is where training begins; the non-saturating one pulls hardest there.

The game alone circles round its equilibrium. The penalty R1 = γ/2 E_data ‖∇_x D(x)‖² on the
critic's slope at real data makes it converge (Mescheder et al.).

References:
    Generative Adversarial Networks (Goodfellow et al., 2014), arXiv:1406.2661.
    Which Training Methods for GANs do actually Converge? (Mescheder, Geiger & Nowozin, 2018),
    arXiv:1801.04406.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

__all__ = [
    "LOSSES",
    "AdversarialLoss",
    "jensen_shannon",
    "optimal_critic",
    "squared_slope",
    "value",
]

Scores = Float[Tensor, "*B"]


@dataclass(frozen=True)
class AdversarialLoss:
    """What the two players make small, and what they must be given for it.

    Both are functions of scores and give a loss for each pair; the caller takes the mean. The
    expectation over independent pairs is the expectation of the paper, also where a loss does
    not fall into a real and a fake part (RSGAN).

    >>> ns = LOSSES["ns"]
    >>> undecided = torch.zeros(1)
    >>> round(ns.critic(undecided, undecided).item(), 4)  # ln 4
    1.3863
    """

    critic: Callable[[Scores, Scores], Scores]
    """(real, fake) -> loss of the critic, all [B]."""
    generator: Callable[[Scores, Scores | None], Scores]
    """(fake, real) -> loss of the generator, all [B]; real is None unless `paired`."""
    score: Literal["logit", "number", "energy"] = "logit"
    """What D must be: a logit of being real; any number, with its slope bounded by a penalty;
    or an energy, at least 0 and low on data, as an autoencoder's error."""
    paired: bool = False
    """Whether the generator's loss also reads the score of a real example."""


# --- The value of the game --------------------------------------------------------------------


def value(real: Scores, fake: Scores) -> Scores:
    """Compute V = ln s(r) + ln(1 - s(f)), which the critic makes large.

    Arguments:
        real: r, logits of real examples, any shape.
        fake: f, logits of generated ones, a shape that broadcasts with it.
    """
    return logsigmoid(real) + logsigmoid(-fake)


def optimal_critic(data: Float[Tensor, "*B"], model: Float[Tensor, "*B"]) -> Scores:
    """Compute the logit D* = ln p_data - ln p_g, for which s(D*) = p_data / (p_data + p_g).

    >>> s = torch.sigmoid(optimal_critic(torch.tensor(0.3), torch.tensor(0.1)))
    >>> round(s.item(), 4)
    0.75

    Arguments:
        data: p_data(x), positive.
        model: p_g(x), positive.
    """
    return data.log() - model.log()


def jensen_shannon(p: Float[Tensor, "*B K"], q: Float[Tensor, "*B K"]) -> Float[Tensor, "*B"]:
    """Compute JSD = KL(p ‖ m) / 2 + KL(q ‖ m) / 2, m = (p + q) / 2, in nats.

    Arguments:
        p: Probabilities along the last axis, 0 allowed.
        q: The same.
    """
    m = (p + q) / 2
    both = torch.xlogy(p, p) - torch.xlogy(p, m) + torch.xlogy(q, q) - torch.xlogy(q, m)
    return both.sum(-1) / 2


# --- The losses, side by side -----------------------------------------------------------------


def _logistic_critic(real: Scores, fake: Scores) -> Scores:
    """-ln s(r) - ln(1 - s(f))."""
    return softplus(-real) + softplus(fake)


def _nonsaturating_generator(fake: Scores, real: Scores | None = None) -> Scores:
    """-ln s(f)."""
    return softplus(-fake)


def _saturating_generator(fake: Scores, real: Scores | None = None) -> Scores:
    """ln(1 - s(f)), at most 0 and without a lower end."""
    return -softplus(fake)


LOSSES: Mapping[str, AdversarialLoss] = {
    "ns": AdversarialLoss(_logistic_critic, _nonsaturating_generator),
    "saturating": AdversarialLoss(_logistic_critic, _saturating_generator),
}
"""The games by name."""


# --- What keeps the critic's slope in bounds --------------------------------------------------


def squared_slope(score: Float[Tensor, " B"], x: Float[Tensor, "B ..."]) -> Scores:
    """Compute ‖∇_x D(x)‖² for each example, itself differentiable in the critic's weights.

    >>> x = torch.ones(2, 3, requires_grad=True)
    >>> squared_slope(x @ torch.tensor([1.0, 2.0, 2.0]), x).tolist()
    [9.0, 9.0]

    Arguments:
        score: D(x), where no example's score depends on another example.
        x: The examples, which must require a gradient.
    """
    (slope,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    wide = slope.to(torch.promote_types(slope.dtype, torch.float32))
    return wide.square().flatten(1).sum(1)
