r"""Laws of the adversarial game: its value, its optimum, its losses' slopes and its penalty.

Distributions are over a handful of points, so that every expectation is a sum: a loss per pair of
scores (r, f) has the mean Σ_ij p_i q_j ℓ(D_i, D_j). All is in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from trilemma.core.batch import Examples
from trilemma.core.domain import Domain, Real
from trilemma.core.noise import Noise
from trilemma.families.gan import Gan
from trilemma.laws.law import Check, Law, equal
from trilemma.maths import adversarial

__all__ = [
    "CHECKS",
    "critic_ascends_the_value",
    "dirac_game",
    "generator_descends_a_divergence",
    "optimal_critic",
    "penalty",
    "slopes",
]

GAN = "lecture §4; Goodfellow et al. 2014"
R1 = "lecture §4; Mescheder et al. 2018"


def _equal(
    name: str, source: str, measured: Tensor | float, expected: Tensor | float, tolerance: float
) -> Law:
    return equal(name, source, float(measured), float(expected), tolerance)


def _distributions(atoms: int = 6) -> tuple[Tensor, Tensor]:
    """Return p_data and p_g over a few points."""
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(2, atoms, generator=generator, dtype=torch.float64)
    p, q = logits.softmax(-1)
    return p, q


def _over_pairs(
    loss: Callable[[Tensor, Tensor], Tensor], real: Tensor, fake: Tensor, p: Tensor, q: Tensor
) -> Tensor:
    """Compute E_{i ~ p, j ~ q} ℓ(real_i, fake_j)."""
    return p @ loss(real[:, None].expand(-1, len(fake)), fake.expand(len(real), -1)) @ q


def optimal_critic() -> Sequence[Law]:
    """Find the best critic by descent and compare it, and its value, with the formulas."""
    p, q = _distributions()
    critic = torch.zeros_like(p, requires_grad=True)
    loss = adversarial.LOSSES["ns"].critic
    for _ in range(500):
        (slope,) = torch.autograd.grad(_over_pairs(loss, critic, critic, p, q), critic)
        critic = (critic - 5 * slope).detach().requires_grad_()
    found = critic.detach()
    gap = (found.sigmoid() - p / (p + q)).abs().max()
    formula = adversarial.optimal_critic(p, q)
    best = _over_pairs(adversarial.value, formula, formula, p, q)
    divergence = adversarial.jensen_shannon(p, q)
    m = (p + q) / 2
    kl = (p * (p / m).log()).sum() + (q * (q / m).log()).sum()
    same = adversarial.optimal_critic(p, p)
    return [
        _equal(
            "the best critic found by descent: s(D) = p_data / (p_data + p_g)", GAN, gap, 0, 1e-7
        ),
        _equal(
            "its value, found by descent, is 2 JSD - ln 4",
            GAN,
            _over_pairs(adversarial.value, found, found, p, q),
            2 * divergence - math.log(4),
            1e-12,
        ),
        _equal("V(D*) = KL(p_data ‖ m) + KL(p_g ‖ m) - ln 4", GAN, best, kl - math.log(4), 1e-12),
        _equal(
            "V(D*) = -ln 4 where p_g = p_data",
            GAN,
            _over_pairs(adversarial.value, same, same, p, p),
            -math.log(4),
            1e-12,
        ),
    ]


def critic_ascends_the_value() -> Sequence[Law]:
    """Compare what the critic minimises with -V, for any scores."""
    p, q = _distributions()
    critic = torch.linspace(-3, 5, len(p), dtype=torch.float64)
    value = _over_pairs(adversarial.value, critic, critic, p, q)
    probability = critic.sigmoid()
    written_out = p @ probability.log() + q @ (1 - probability).log()
    return [
        _equal("V = E ln s(D(x)) + E ln(1 - s(D(G(z))))", GAN, value, written_out, 1e-12),
        *(
            _equal(
                f"{name}: the critic's loss, minimised, is -V",
                GAN,
                _over_pairs(adversarial.LOSSES[name].critic, critic, critic, p, q),
                -value,
                1e-12,
            )
            for name in ("ns", "saturating")
        ),
    ]


def slopes() -> Sequence[Law]:
    """Differentiate the losses in the scores: signs for both players, and how they saturate."""
    scores = torch.linspace(-6, 6, 25, dtype=torch.float64)
    laws, pulls = [], {}
    for name in ("ns", "saturating"):
        loss = adversarial.LOSSES[name]
        real, fake = scores.clone().requires_grad_(), scores.clone().requires_grad_()
        up, down = torch.autograd.grad(loss.critic(real, fake).sum(), (real, fake))
        (pull,) = torch.autograd.grad(loss.generator(fake, None).sum(), fake)
        pulls[name] = pull
        right = (up < 0) & (down > 0)
        laws += [
            _equal(
                f"{name}: the critic's descent lifts real scores and lowers fake ones",
                GAN,
                right.double().mean(),
                1,
                0,
            ),
            _equal(
                f"{name}: the generator's descent lifts fake scores",
                GAN,
                (pull < 0).double().mean(),
                1,
                0,
            ),
        ]
    ratio = pulls["saturating"] / pulls["ns"] / scores.exp()
    return [
        *laws,
        _equal("slope in f, saturating / ns = s(f) / (1 - s(f))", GAN, ratio.max(), 1, 1e-12),
        _equal("slope in f, saturating / ns, the other end", GAN, ratio.min(), 1, 1e-12),
        _equal("ns: the slope where the critic is sure of a fake", GAN, pulls["ns"][0], -1, 3e-3),
        _equal("saturating: the same slope", GAN, pulls["saturating"][0], 0, 3e-3),
    ]


def generator_descends_a_divergence() -> Sequence[Law]:
    """Differentiate the generator's loss at the best critic, held fixed, in p_g's parameters.

    The saturating loss then has the gradient of 2 JSD, the non-saturating one that of
    KL(p_g ‖ p_data) - 2 JSD (Arjovsky & Bottou, Towards Principled Methods for Training
    Generative Adversarial Networks, 2017, arXiv:1701.04862): both vanish at p_g = p_data.
    """
    p, q = _distributions()
    source = "lecture §4; Arjovsky & Bottou 2017"

    def gradients(name: str, at: Tensor) -> tuple[Tensor, Tensor]:
        theta = at.log().clone().requires_grad_()
        model = theta.softmax(-1)
        fixed = adversarial.optimal_critic(p, model).detach()
        loss = adversarial.LOSSES[name].generator(fixed, None) @ model
        jsd = 2 * adversarial.jensen_shannon(p, model)
        divergence = jsd if name == "saturating" else (model * (model / p).log()).sum() - jsd
        (ours,) = torch.autograd.grad(loss, theta, retain_graph=True)
        (theirs,) = torch.autograd.grad(divergence, theta)
        return ours, theirs

    laws = []
    for name, divergence in (("saturating", "2 JSD"), ("ns", "KL(p_g ‖ p_data) - 2 JSD")):
        ours, theirs = gradients(name, q)
        rest, _ = gradients(name, p)
        laws += [
            _equal(
                f"{name}: at D* the generator's gradient is that of {divergence}",
                source,
                (ours - theirs).norm() / theirs.norm(),
                0,
                1e-10,
            ),
            _equal(f"{name}: it vanishes at p_g = p_data", source, rest.norm(), 0, 1e-10),
        ]
    return laws


def penalty() -> Sequence[Law]:
    """Compute R1 for critics whose slope is known, alone and in the critic's loss."""
    seeded = torch.Generator().manual_seed(5)
    x = torch.randn(7, 3, generator=seeded, dtype=torch.float64, requires_grad=True)
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    a = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    flat = adversarial.squared_slope((x * 0).sum(1) + 3, x)
    linear = adversarial.squared_slope(x @ w, x)
    bowl = adversarial.squared_slope(a / 2 * x.square().sum(1), x)
    (in_w,) = torch.autograd.grad(linear.mean() / 2, w)
    (in_a,) = torch.autograd.grad(bowl.mean(), a)
    x, w, scale = x.detach(), w.detach(), a.item()
    linear, bowl, mean_square = linear.detach(), bowl.detach(), x.square().sum(1).mean()

    gamma = 0.8
    with torch.random.fork_rng(devices=[]):
        generator, critic = nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))
    domain = Domain("points", (3,), Real(location=1.0, spread=2.0))
    gan = Gan(generator, critic, domain, latent=2, gamma=gamma)
    torch.nn.utils.vector_to_parameters(
        torch.cat([w, w.new_zeros(1)]).float(), gan.critic.parameters()
    )
    loss = gan.critic_loss(Examples(x=x.float(), noise=Noise.of(0, len(x))))
    return [
        _equal("R1 of a constant critic", R1, flat.abs().max(), 0, 0),
        _equal("‖∇D‖² of D = w·x is ‖w‖²", R1, linear.max(), w @ w, 1e-12),
        _equal(
            "E‖∇D‖² of D = a‖x‖²/2 is a² E‖x‖²", R1, bowl.mean(), scale**2 * mean_square, 1e-12
        ),
        _equal("its derivative in a is 2 a E‖x‖²", R1, in_a, 2 * scale * mean_square, 1e-12),
        _equal("the gradient of ‖∇D‖²/2 in w is w", R1, (in_w - w).norm(), 0, 1e-12),
        _equal(
            "GAN, linear critic: the penalty in its loss is γ/2 ‖w‖²",
            R1,
            loss.value.item() - loss.terms["game"],
            gamma / 2 * (w @ w),
            1e-6,
        ),
    ]


def dirac_game() -> Sequence[Law]:
    """Linearise the simplest game at its equilibrium: data at 0, a fake at θ, D(x) = ψ x.

    The simultaneous descent of both players has the eigenvalues ±i/2 without a penalty: it goes
    in circles. With R1 they are -γ/2 ± sqrt(γ²/4 - 1/4), all to the left of 0: it converges.
    """

    def rate(gamma: float) -> float:
        loss = adversarial.LOSSES["ns"]

        def descent(state: Tensor) -> Tensor:
            theta, psi = state[:1], state[1:]
            x = torch.zeros(1, 1, dtype=state.dtype, requires_grad=True)
            real = (psi * x).squeeze(1)
            slope = adversarial.squared_slope(real, x)
            critic = loss.critic(real, psi * theta) + gamma / 2 * slope
            in_psi = torch.autograd.grad(critic.sum(), psi, create_graph=True)[0]
            mover = loss.generator(psi * theta, None).sum()
            in_theta = torch.autograd.grad(mover, theta, create_graph=True)[0]
            return -torch.cat([in_theta, in_psi])

        origin = torch.zeros(2, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(descent, origin)
        return torch.linalg.eigvals(jacobian).real.max().item()

    gamma = 0.6
    return [
        _equal("Dirac game without a penalty: growth rate 0", R1, rate(0.0), 0, 1e-9),
        _equal("Dirac game with R1: growth rate -γ/2", R1, rate(gamma), -gamma / 2, 1e-9),
    ]


CHECKS: Sequence[Check] = (
    optimal_critic,
    critic_ascends_the_value,
    slopes,
    generator_descends_a_divergence,
    penalty,
    dirac_game,
)
