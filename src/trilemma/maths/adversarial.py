r"""The losses of adversarial games, as functions of the critic's scores.

A generator G makes G(z) from noise, a critic D gives an example a score. Goodfellow et al. play

    min_G max_D V,   V = E_data[ln s(D(x))] + E_z[ln(1 - s(D(G(z))))],

s the logistic function, so that a score is the logit of being real. Each loss is here in the form
that is *minimised*, per pair of a real score r = D(x) and a fake one f = D(G(z)):

    name         critic                          generator      its critic, at the best, measures
    ns           -ln s(r) - ln(1 - s(f))         -ln s(f)       ln 4 - 2 JSD(p, q)
    saturating   the same                        ln(1 - s(f))   the same
    wgan         f - r                           -f             -W_1(p, q), D 1-Lipschitz
    lsgan        (r - 1)² + f²                   (f - 1)²       1/2 - χ²(p ‖ m) / 2
    hinge        max(0, 1 - r) + max(0, 1 + f)   -f             2 - 2 TV(p, q)
    ebgan        r + max(0, m - f)               f              m (1 - TV(p, q)), D >= 0 an energy
    rsgan        -ln s(r - f)                    -ln s(f - r)   ln 2 - JSD(p ⊗ q, q ⊗ p)

with p the data's distribution and q the generator's, m = (p + q) / 2 their mixture (for ebgan: the
margin), χ² Pearson's divergence and TV = sum |p - q| / 2. Scores are high on data, except
ebgan's, which are energies and low there. In wgan the sign is the usual one; with D for -D it is
that of a critic which is low on data, and nothing changes.

Saturating and ns share their fixed points and differ in where they pull: the saturating one,
which descends V itself, hardly moves a fake that the critic knows to be one (s(f) near 0), where
training begins; the non-saturating one pulls hardest there.

The game alone circles round its equilibrium. Penalties on the critic's gradient make it converge,
and give wgan the bound that it needs:

    r1        γ/2 E_data ‖∇D(x)‖²           gp        γ/2 E (‖∇D(x̂)‖ - 1)²,  x̂ = u x + (1 - u) G(z)
    r2        γ/2 E_z ‖∇D(G(z))‖²           clip      every weight in [-c, c]
    r1+r2     both                          spectral  every layer's largest singular value 1

References:
    Generative Adversarial Networks (Goodfellow et al., 2014), arXiv:1406.2661.
    Wasserstein GAN (Arjovsky, Chintala & Bottou, 2017), arXiv:1701.07875: wgan, clip.
    Improved Training of Wasserstein GANs (Gulrajani et al., 2017), arXiv:1704.00028: gp.
    Least Squares Generative Adversarial Networks (Mao et al., 2017), arXiv:1611.04076: lsgan.
    Geometric GAN (Lim & Ye, 2017), arXiv:1705.02894: hinge.
    Energy-based Generative Adversarial Network (Zhao, Mathieu & LeCun, 2017), arXiv:1609.03126.
    The relativistic discriminator (Jolicoeur-Martineau, 2019), arXiv:1807.00734: rsgan.
    Which Training Methods for GANs do actually Converge? (Mescheder, Geiger & Nowozin, 2018),
    arXiv:1801.04406: r1, r2.
    Spectral Normalization for Generative Adversarial Networks (Miyato et al., 2018),
    arXiv:1802.05957.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize, relu, softplus

from trilemma.registry import Registry

__all__ = [
    "LOSSES",
    "PENALTIES",
    "AdversarialLoss",
    "Governor",
    "Penalty",
    "PenaltyPoint",
    "Ramp",
    "energy_based",
    "jensen_shannon",
    "optimal_critic",
    "pulling_away",
    "squared_gradient_norm",
    "total_variation",
    "value",
]

Scores = Float[Tensor, "*B"]
PenaltyPoint = Literal["real", "fake", "between"]


@dataclass(frozen=True)
class AdversarialLoss:
    """What the two players make small, and what they must be given for it.

    Both are functions of scores and give a loss for each pair; the caller takes the mean. The
    expectation over independent pairs is the expectation of the paper, also where a loss does
    not fall into a real and a fake part (rsgan).

    >>> ns = LOSSES["ns"]
    >>> undecided = torch.zeros(1)
    >>> round(ns.critic(undecided, undecided).item(), 4)  # ln 4
    1.3863
    """

    critic: Callable[[Scores, Scores], Scores]
    """(real, fake) -> loss of the critic, all [B]."""
    generator: Callable[[Scores, Scores | None], Scores]
    """(fake, real) -> loss of the generator, all [B]; real is None unless `paired`."""
    score: Literal["number", "energy"] = "number"
    """What D must give: any number, high on data; or an energy, at least 0 and low on data, as an
    autoencoder's error."""
    lipschitz: bool = False
    """Whether D's gradient must be bounded everywhere, or the loss has no minimum."""
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
    kl_terms = torch.xlogy(p, p) - torch.xlogy(p, m) + torch.xlogy(q, q) - torch.xlogy(q, m)
    return kl_terms.sum(-1) / 2


def total_variation(p: Float[Tensor, "*B K"], q: Float[Tensor, "*B K"]) -> Float[Tensor, "*B"]:
    """Compute TV = sum_k |p_k - q_k| / 2, from 0 to 1.

    Arguments:
        p: Probabilities along the last axis.
        q: The same.
    """
    return (p - q).abs().sum(-1) / 2


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


def _difference_critic(real: Scores, fake: Scores) -> Scores:
    """F - r."""
    return fake - real


def _lifting_generator(fake: Scores, real: Scores | None = None) -> Scores:
    """-f."""
    return -fake


def _squares_critic(real: Scores, fake: Scores) -> Scores:
    """(r - 1)² + f²."""
    return (real - 1).square() + fake.square()


def _squares_generator(fake: Scores, real: Scores | None = None) -> Scores:
    """(f - 1)²."""
    return (fake - 1).square()


def _hinge_critic(real: Scores, fake: Scores) -> Scores:
    """max(0, 1 - r) + max(0, 1 + f)."""
    return relu(1 - real) + relu(1 + fake)


def _relative_critic(real: Scores, fake: Scores) -> Scores:
    """-ln s(r - f)."""
    return softplus(fake - real)


def _relative_generator(fake: Scores, real: Scores | None = None) -> Scores:
    """-ln s(f - r)."""
    assert real is not None, "a paired loss is given both scores"
    return softplus(real - fake)


def _lowering_generator(fake: Scores, real: Scores | None = None) -> Scores:
    """Return f, an energy."""
    return fake


def energy_based(margin: float) -> AdversarialLoss:
    """Return r + max(0, m - f) against f, of energies.

    Arguments:
        margin: m, above 0: the energy that fakes are pushed to and not beyond.

    Raises:
        ValueError: The margin is not above 0: no fake would be pushed away.
    """
    if not margin > 0:
        raise ValueError(f"a margin of {margin:g} pushes no fake away; it is above 0.")

    def critic(real: Scores, fake: Scores) -> Scores:
        """R + max(0, m - f)."""
        return real + relu(margin - fake)

    return AdversarialLoss(critic, _lowering_generator, score="energy")


LOSSES: Registry[AdversarialLoss] = Registry(
    "adversarial loss",
    [
        ("ns", AdversarialLoss(_logistic_critic, _nonsaturating_generator)),
        ("saturating", AdversarialLoss(_logistic_critic, _saturating_generator)),
        ("wgan", AdversarialLoss(_difference_critic, _lifting_generator, lipschitz=True)),
        ("lsgan", AdversarialLoss(_squares_critic, _squares_generator)),
        ("hinge", AdversarialLoss(_hinge_critic, _lifting_generator)),
        ("ebgan", energy_based(1.0)),
        ("rsgan", AdversarialLoss(_relative_critic, _relative_generator, paired=True)),
    ],
)
"""The games by name; ebgan with the margin 1."""


# --- Penalties on the critic's gradient --------------------------------------------------------


@dataclass(frozen=True)
class Penalty:
    """γ/2 E(‖∇_x D‖ - c)², summed over the places where the gradient is taken.

    >>> PENALTIES["gp"].cost(torch.tensor([4.0]))  # of a gradient of norm 2
    tensor([0.5000])
    """

    points: tuple[PenaltyPoint, ...] = ()
    """Where: at real examples, at fakes, or at points between the two; nowhere: no such term."""
    target_norm: float = 0.0
    """c, the gradient norm that costs nothing."""

    def cost(self, squared: Scores) -> Scores:
        """Compute (‖∇_x D‖ - c)² / 2, to be taken γ times.

        Arguments:
            squared: ‖∇_x D‖² of each example.
        """
        if self.target_norm == 0:
            return squared / 2
        return ((squared + 1e-12).sqrt() - self.target_norm).square() / 2


PENALTIES: Registry[Penalty] = Registry(
    "penalty",
    [
        ("none", Penalty()),
        ("r1", Penalty(("real",))),
        ("r2", Penalty(("fake",))),
        ("r1+r2", Penalty(("real", "fake"))),
        ("gp", Penalty(("between",), target_norm=1.0)),
        ("clip", Penalty()),
        ("spectral", Penalty()),
    ],
)
"""By name. The last two cost nothing: they act on the critic's weights."""


def squared_gradient_norm(score: Float[Tensor, " B"], x: Float[Tensor, "B ..."]) -> Scores:
    """Compute ‖∇_x D(x)‖² for each example, itself differentiable in the critic's weights.

    >>> x = torch.ones(2, 3, requires_grad=True)
    >>> squared_gradient_norm(x @ torch.tensor([1.0, 2.0, 2.0]), x).tolist()
    [9.0, 9.0]

    Arguments:
        score: D(x), where no example's score depends on another example.
        x: The examples, which must require a gradient.
    """
    (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    promoted = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
    return promoted.square().flatten(1).sum(1)


def pulling_away(codes: Float[Tensor, "B F"]) -> Float[Tensor, ""]:
    """Compute the mean squared cosine between the codes of different fakes (Zhao et al., 2017).

    It is 0 where codes are orthogonal and 1 where all point the same way, as when the generator
    has collapsed; added to its loss, it pushes fakes apart. A mean over pairs of a batch.

    >>> round(pulling_away(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])).item(), 4)
    0.3333
    """
    direction = normalize(codes.flatten(1), dim=1)
    cosines = direction @ direction.T
    pairs = max(len(codes) * (len(codes) - 1), 1)
    return (cosines.square().sum() - cosines.diagonal().square().sum()) / pairs


@dataclass(frozen=True)
class Ramp:
    """A number that goes from one value to another over the first part of training.

    >>> fall = Ramp(1.0, 0.1, over=0.5)
    >>> [round(fall(share), 3) for share in (0.0, 0.25, 0.5, 1.0)]
    [1.0, 0.55, 0.1, 0.1]
    """

    start: float
    end: float
    over: float = 1.0
    """Share of training that it takes, above 0."""

    def __call__(self, share: float) -> float:
        """Return the number when `share` of training is done, along half a cosine."""
        progress = 0.5 - 0.5 * math.cos(math.pi * min(share / self.over, 1.0))
        return self.start + (self.end - self.start) * progress


@dataclass(frozen=True)
class Governor:
    r"""Moves the share of augmented rows against how sure the critic is of its training examples.

    With r = E[sign D(T(x))] over the training examples of an update, 0 for a critic that is
    undecided about them and 1 for one that takes all of them for real,

        p <- clip(p + sign(r - target) / updates, 0, most)

    so that rows are changed only as far as the critic knows its examples. Up to `most`, below 1,
    enough rows stay as they are for unchanged data to be the one optimum.

    Reference:
        Training Generative Adversarial Networks with Limited Data (Karras, Aittala, Hellsten,
        Laine, Lehtinen & Aila, 2020), arXiv:2006.06676, section 3.2.

    >>> governor = Governor(updates=10)
    >>> governor(0.0, 0.9), governor(0.0, 0.3), governor(0.75, 0.9)
    (0.1, 0.0, 0.8)
    """

    target: float = 0.6
    updates: int = 1500
    """Updates of the critic that it takes from 0 to 1."""
    most: float = 0.8

    def __call__(self, share: float, r: float) -> float:
        """Return the share for the next update."""
        step = ((r > self.target) - (r < self.target)) / self.updates
        return min(max(share + step, 0.0), self.most)
