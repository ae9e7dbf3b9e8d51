r"""Laws of the adversarial game: its value, its optimum, its penalties and whether it settles.

Distributions are over a handful of points, so that every expectation is a sum: a loss per pair of
scores (r, f) has the mean Σ_ij p_i q_j ℓ(D_i, D_j). All is in float64 but the last check, which
runs the family's own loss.

The laws of the losses side by side are in `laws.games`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Real
from trilemma.core.noise import Noise
from trilemma.families.gan import Gan
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.maths import adversarial

__all__ = ["CHECKS", "GAN", "PairLoss", "descended", "distributions", "equals", "over_pairs"]

GAN = "lecture §4; Goodfellow et al. 2014"
GP = "lecture §4; Gulrajani et al. 2017"
R1 = "lecture §4; Mescheder et al. 2018"
PT = "lecture §4; Zhao, Mathieu & LeCun 2017"
EVERY = "lecture §4; Karras et al. 2020"

PairLoss = Callable[[Tensor, Tensor], Tensor]


def equals(
    name: str, source: str, measured: Tensor | float, expected: Tensor | float, tolerance: float
) -> Law:
    """State that two numbers are the same, given as tensors or not."""
    return equal(name, source, float(measured), float(expected), tolerance)


def distributions(atoms: int = 6) -> tuple[Tensor, Tensor]:
    """Return p_data and p_g over a few points."""
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(2, atoms, generator=generator, dtype=torch.float64)
    p, q = logits.softmax(-1)
    return p, q


def over_pairs(loss: PairLoss, real: Tensor, fake: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Compute E_{i ~ p, j ~ q} ℓ(real_i, fake_j), for one critic [K] or for many [C, K]."""
    return (loss(*torch.broadcast_tensors(real[..., :, None], fake[..., None, :])) @ q) @ p


def descended(
    loss: PairLoss, p: Tensor, q: Tensor, *, step: float, steps: int = 500, start: float = 0.0
) -> Tensor:
    """Find the critic of the smallest loss by descending it from the same score everywhere."""
    critic = torch.full_like(p, start)
    for _ in range(steps):
        critic.requires_grad_()
        (gradient,) = torch.autograd.grad(over_pairs(loss, critic, critic, p, q), critic)
        critic = (critic - step * gradient).detach()
    return critic


# --- The value of the game --------------------------------------------------------------------


@states(GAN)
def optimal_critic() -> Sequence[Law]:
    """Find the best critic by descent and compare it, and its value, with the formulas."""
    p, q = distributions()
    critic = descended(adversarial.LOSSES["ns"].critic, p, q, step=5)
    gap = (critic.sigmoid() - p / (p + q)).abs().max()
    formula = adversarial.optimal_critic(p, q)
    best = over_pairs(adversarial.value, formula, formula, p, q)
    divergence = adversarial.jensen_shannon(p, q)
    m = (p + q) / 2
    kl = (p * (p / m).log()).sum() + (q * (q / m).log()).sum()
    equal_critic = adversarial.optimal_critic(p, p)
    return [
        equals(
            "the best critic found by descent: s(D) = p_data / (p_data + p_g)", GAN, gap, 0, 1e-7
        ),
        equals(
            "its value, found by descent, is 2 JSD - ln 4",
            GAN,
            over_pairs(adversarial.value, critic, critic, p, q),
            2 * divergence - math.log(4),
            1e-12,
        ),
        equals("V(D*) = KL(p_data ‖ m) + KL(p_g ‖ m) - ln 4", GAN, best, kl - math.log(4), 1e-12),
        equals(
            "V(D*) = -ln 4 where p_g = p_data",
            GAN,
            over_pairs(adversarial.value, equal_critic, equal_critic, p, p),
            -math.log(4),
            1e-12,
        ),
    ]


@states(GAN)
def critic_ascends_the_value() -> Sequence[Law]:
    """Compare what the critic minimises with -V, for any scores."""
    p, q = distributions()
    critic = torch.linspace(-3, 5, len(p), dtype=torch.float64)
    value = over_pairs(adversarial.value, critic, critic, p, q)
    probability = critic.sigmoid()
    written_out = p @ probability.log() + q @ (1 - probability).log()
    return [
        equals("V = E ln s(D(x)) + E ln(1 - s(D(G(z))))", GAN, value, written_out, 1e-12),
        *(
            equals(
                f"{name}: the critic's loss, minimised, is -V",
                GAN,
                over_pairs(adversarial.LOSSES[name].critic, critic, critic, p, q),
                -value,
                1e-12,
            )
            for name in ("ns", "saturating")
        ),
    ]


# --- Penalties on the critic's gradient --------------------------------------------------------


def _cost(name: str, w: Tensor, x: Tensor) -> Tensor:
    """Compute a penalty, γ = 1, of the critic D(x) = w·x + 3, at every place that it names."""
    penalty = adversarial.PENALTIES[name]
    costs = []
    for _ in penalty.points:
        inputs = x.detach().requires_grad_()
        costs.append(
            penalty.cost(adversarial.squared_gradient_norm(inputs @ w + 3, inputs)).mean()
        )
    return torch.stack(costs).sum()


@states(R1, GP)
def penalty() -> Sequence[Law]:
    """Compute gradient norms, and their penalties, for critics whose gradient is known."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(7, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    w = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    a = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    linear = adversarial.squared_gradient_norm(x @ w, x)
    bowl = adversarial.squared_gradient_norm(a / 2 * x.square().sum(1), x)
    (grad_w,) = torch.autograd.grad(linear.mean() / 2, w)
    (grad_a,) = torch.autograd.grad(bowl.mean(), a)
    x, w, scale = x.detach(), w.detach(), a.item()
    mean_square, norm = x.square().sum(1).mean(), w.norm()
    minimisers = {"r1": 0 * w, "r2": 0 * w, "r1+r2": 0 * w, "gp": w / norm}
    coefficients = {"r1": 0.5, "r2": 0.5, "r1+r2": 1.0, "gp": 0.5}
    laws = [
        equals("‖∇D‖² of D = w·x is ‖w‖²", R1, linear.detach().max(), w @ w, 1e-12),
        equals(
            "E‖∇D‖² of D = a‖x‖²/2 is a² E‖x‖²",
            R1,
            bowl.detach().mean(),
            scale**2 * mean_square,
            1e-12,
        ),
        equals("its derivative in a is 2 a E‖x‖²", R1, grad_a, 2 * scale * mean_square, 1e-12),
        equals("the gradient of ‖∇D‖²/2 in w is w", R1, (grad_w - w).norm(), 0, 1e-12),
    ]
    for name, minimiser in minimisers.items():
        source, c = (GP, 1) if name == "gp" else (R1, 0)
        laws += [
            equals(f"{name} of D of slope {c} is 0", source, _cost(name, minimiser, x), 0, 1e-12),
            equals(
                f"{name} of D = w·x costs {coefficients[name]:g} γ (‖w‖ - {c})²",
                source,
                _cost(name, w, x),
                coefficients[name] * (norm - c).square(),
                1e-11,
            ),
        ]
    return laws


@states(PT)
def codes_apart() -> Sequence[Law]:
    """Compute the pulling-away term for codes at known angles."""

    def term(*codes: Sequence[float]) -> Tensor:
        return adversarial.pulling_away(torch.tensor(codes, dtype=torch.float64))

    third = math.pi / 3
    return [
        equals("pulling away of orthogonal codes is 0", PT, term((2, 0), (0, 0.5)), 0, 1e-12),
        equals(
            "pulling away of parallel codes, also of opposite ones, is 1",
            PT,
            term((2, 1), (4, 2), (-6, -3)),
            1,
            1e-12,
        ),
        equals(
            "pulling away of two codes at an angle is its squared cosine",
            PT,
            term((3, 0), (math.cos(third), math.sin(third))),
            0.25,
            1e-12,
        ),
    ]


@states("lecture §4; Huang et al. 2024")
def ramp() -> Sequence[Law]:
    """Read a ramp at its ends, at its middle and on its way."""
    schedule = adversarial.Ramp(2.0, 0.5, over=0.4)
    shares = torch.linspace(0, 1, 51, dtype=torch.float64).tolist()
    values = torch.tensor([schedule(share) for share in shares], dtype=torch.float64)
    source = "lecture §4; Huang et al. 2024"
    return [
        equals("a ramp begins at its first number", source, schedule(0.0), 2, 1e-12),
        equals("a ramp is halfway at half its share", source, schedule(0.2), 1.25, 1e-12),
        equals(
            "a ramp stays at its last number", source, values[20:].sub(0.5).abs().max(), 0, 1e-12
        ),
        at_most("a falling ramp never rises", source, float(values.diff().max()), 0),
    ]


# --- Whether the game settles -----------------------------------------------------------------


def _dirac(name: str, penalty: str, gamma: float) -> Callable[[Tensor], Tensor]:
    """Return the velocity of (θ, ψ), both players descending, where D(x) = ψ x, G(z) = θ."""
    loss, term = adversarial.LOSSES[name], adversarial.PENALTIES[penalty]

    def velocity(state: Tensor) -> Tensor:
        theta, psi = state[:1], state[1:]
        critic = loss.critic(psi * 0, psi * theta)
        for location in term.points:
            x = (0 * theta if location == "real" else theta).detach()[:, None].requires_grad_()
            critic = critic + gamma * term.cost(
                adversarial.squared_gradient_norm((psi * x).squeeze(1), x)
            )
        grad_psi = torch.autograd.grad(critic.sum(), psi, create_graph=True)[0]
        generator_loss = loss.generator(psi * theta, psi * 0 if loss.paired else None).sum()
        grad_theta = torch.autograd.grad(generator_loss, theta, create_graph=True)[0]
        return -torch.cat([grad_theta, grad_psi])

    return velocity


@states(R1)
def dirac_game() -> Sequence[Law]:
    """Linearise the simplest game at its equilibrium: data at 0, a fake at θ, D(x) = ψ x.

    The simultaneous descent of both players has the eigenvalues ±i/2 without a penalty: it goes
    in circles. With R1 they are -γ/2 ± sqrt(γ²/4 - 1/4), all to the left of 0: it converges; R1
    and R2 together, of slopes which are the same here, act as R1 with 2 γ. RSGAN's are the same;
    WGAN's are ±i and -γ/2 ± sqrt(γ²/4 - 1).
    """

    def rate(name: str, penalty: str, gamma: float) -> float:
        origin = torch.zeros(2, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(_dirac(name, penalty, gamma), origin)
        return torch.linalg.eigvals(jacobian).real.max().item()

    gamma, growth_rates = 0.3, {"R1": -0.15, "R2": -0.15, "R1+R2": -0.3}
    laws = []
    for name in ("ns", "rsgan", "wgan"):
        undamped = rate(name, "none", 0.0)
        laws.append(equals(f"{name}, Dirac game: growth rate 0", R1, undamped, 0, 1e-9))
        for term, growth in growth_rates.items():
            damping = "-γ" if term == "R1+R2" else "-γ/2"
            title = f"{name}, Dirac game with {term}: growth rate {damping}"
            laws.append(equals(title, R1, rate(name, term.lower(), gamma), growth, 1e-9))
    return laws


@states(R1)
def undamped_wasserstein() -> Sequence[Law]:
    """Play the Dirac game of WGAN step by step, both players descending at once.

    With steps of length h, (θ, ψ) is turned and made sqrt(1 + h²) times as long by each.
    """
    h, steps = 0.2, 50

    def played(penalty: str) -> float:
        state, velocity = torch.tensor([0.6, 0.8], dtype=torch.float64), _dirac("wgan", penalty, 1)
        for _ in range(steps):
            state = (state + h * velocity(state.requires_grad_())).detach()
        return state.norm().item()

    growth = (1 + h**2) ** (steps / 2)
    return [
        equals(
            "wgan, Dirac game: a step of h leads sqrt(1 + h²) times as far out",
            R1,
            played("none"),
            growth,
            1e-9,
        ),
        *(
            at_most(f"wgan, Dirac game with {name.upper()}: it settles", R1, played(name), 0.02)
            for name in ("r1", "r2", "r1+r2")
        ),
    ]


# --- The family's own loss --------------------------------------------------------------------


class _Maker(nn.Module):
    """A generator that makes one point, whatever the noise."""

    def __init__(self, point: Tensor) -> None:
        super().__init__()
        self.point = nn.Parameter(point)

    def forward(self, z: Tensor, condition: Condition | None = None) -> Tensor:
        return self.point.expand(len(z), -1)


class _Bowl(nn.Module):
    """D(x) = a ‖x‖²/2 + w·x, of the gradient a x + w."""

    score = "number"

    def __init__(self, a: float, w: Tensor) -> None:
        super().__init__()
        self.a, self.w = nn.Parameter(torch.tensor(a)), nn.Parameter(w)

    def forward(self, x: Tensor, condition: Condition | None = None) -> Tensor:
        return self.a / 2 * x.square().sum(1) + x @ self.w


def _charged(gan: Gan, batch: Examples, update: int = 0) -> float:
    """Return what is in the critic's loss beside the game, at one of its updates."""
    critic = gan.objectives()[0]
    if critic.before is not None:
        critic.before(update, 0.0)
    loss = critic.loss(batch)
    return loss.value.item() - float(loss.terms["game"])


@states(R1, GP, GAN, EVERY)
def penalised_game() -> Sequence[Law]:
    """Find the penalty in the critic's loss of the family, for critics whose gradient is known."""
    domain, gamma, a = Domain("points", (1,), Real(location=1.0, spread=2.0)), 0.8, 1.5
    x, fake = torch.full((4096, 1), 7.0), torch.ones(1)  # the data lie at 3 in scaled space
    batch = Examples(x=x, noise=Noise.of(0, len(x)))

    def gan(critic: nn.Module, name: str, every: int = 1) -> Gan:
        term, weight = adversarial.PENALTIES[name], adversarial.Ramp(gamma, gamma)
        generator = _Maker(fake)
        return Gan(generator, critic, domain, 2, penalty=term, gamma=weight, every=every)

    bowl, linear = _Bowl(a, torch.zeros(1)), _Bowl(0.0, torch.tensor([-2.5]))
    cost_between = ((3 * a - 1) ** 3 - (a - 1) ** 3) / (6 * a) / 2  # (a y - 1)²/2 over y in [1, 3]
    cases = {
        "r1": ("the slope at data", a**2 * 9 / 2, 1e-5),
        "r2": ("the slope at fakes", a**2 / 2, 1e-5),
        "r1+r2": ("the slopes at both", a**2 * 10 / 2, 1e-5),
        "gp": ("the slope evenly between data and fakes", cost_between, 0.15),
    }
    unpenalised = _charged(gan(bowl, "none"), batch)
    charges = [_charged(gan(linear, "r1", 4), batch, update) for update in range(4)]
    return [
        *(
            equals(
                f"GAN, linear critic: {name} in its loss is γ/2 (‖w‖ - {c})²",
                GP if c else R1,
                _charged(gan(linear, name), batch),
                gamma / 2 * (2.5 - c) ** 2,
                1e-5,
            )
            for name, c in (("r1", 0), ("r2", 0), ("gp", 1))
        ),
        *(
            equals(
                f"GAN, bowl: {name} charges for {where}",
                GP if name == "gp" else R1,
                _charged(gan(bowl, name), batch),
                gamma * cost,
                tolerance,
            )
            for name, (where, cost, tolerance) in cases.items()
        ),
        equals("GAN: without a penalty its loss is the game", GAN, unpenalised, 0, 0),
        equals(
            "GAN: a penalty at every 4th update weighs as much as one at each",
            EVERY,
            sum(charges) / 4,
            gamma / 2 * 2.5**2,
            1e-5,
        ),
        equals("GAN: between those there is no penalty", EVERY, max(map(abs, charges[1:])), 0, 0),
    ]


CHECKS: Sequence[Check] = (
    optimal_critic,
    critic_ascends_the_value,
    penalty,
    codes_apart,
    ramp,
    dirac_game,
    undamped_wasserstein,
    penalised_game,
)
