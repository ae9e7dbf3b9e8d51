r"""Laws of the adversarial losses side by side: what each critic's best value measures, and more.

For each game: the best critic D* by its formula and found without it; the divergence that its
loss is; where both players are pulled; and which divergence the generator descends while D* is
held fixed. Distributions are over a handful of points, those of WGAN on a line.

With p the data's distribution, q the generator's and m = (p + q) / 2:

    name         D*               its loss                  the generator at D* descends
    ns           ln p - ln q      ln 4 - 2 JSD(p, q)        KL(q ‖ p) - 2 JSD(p, q)
    saturating   the same         the same                  2 JSD(p, q)
    wgan         slope ±1         -W_1(p, q)                W_1(p, q)
    lsgan        p / (p + q)      1/2 - χ²(p ‖ m) / 2       2 KL(p ‖ m) - χ²(p ‖ m) / 2
    hinge        sign(p - q)      2 - 2 TV(p, q)            2 TV(p, q)
    ebgan        0 or the margin  margin (1 - TV(p, q))     margin TV(p, q)
    rsgan        ln p - ln q      ln 2 - JSD(P, Q)          KL(q ‖ p) - JSD(P, Q)

where P = p ⊗ q and Q = q ⊗ p are tables of pairs. The last entry: while D* is held fixed,
E_P[-ln s(D*_j - D*_i)] changes by Σ δP (ln P/Q - ln P/M), M = (P + Q) / 2; the first part is the
change of KL(q ‖ p), the second, as Q is P transposed, that of JSD(P, Q).

At q = p the best critic of ns, saturating, lsgan and rsgan is a constant, and the generator rests.
Of hinge, ebgan and wgan it is any critic within bounds, so that the generator need not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from trilemma.laws.adversarial import GAN, PairLoss, descended, distributions, equals, over_pairs
from trilemma.laws.law import Check, Law, at_most, has_laws, states
from trilemma.maths import adversarial

__all__ = ["CHECKS"]

Number = Tensor | float

SOURCES: Mapping[str, str] = {
    "ns": GAN,
    "saturating": GAN,
    "wgan": "lecture §4; Arjovsky, Chintala & Bottou 2017",
    "lsgan": "lecture §4; Mao et al. 2017",
    "hinge": "lecture §4; Lim & Ye 2017",
    "ebgan": "lecture §4; Zhao, Mathieu & LeCun 2017",
    "rsgan": "lecture §4; Jolicoeur-Martineau 2019",
}
MARGIN = 1.0
"""That of the named ebgan."""
POINTS = torch.tensor([0.0, 0.3, 1.1, 1.5, 2.6], dtype=torch.float64)
"""Where on a line the points lie whose distributions WGAN tells apart."""


def _games() -> Mapping[str, adversarial.AdversarialLoss]:
    """Return the losses whose laws are written here."""
    return {name: loss for name, loss in adversarial.LOSSES.items() if name in SOURCES}


def _equal(
    game: str, words: str, measured: Number, expected: Number = 0.0, tolerance: float = 1e-12
) -> Law:
    return equals(f"{game}: {words}", SOURCES[game], measured, expected, tolerance)


def _at_most(game: str, words: str, measured: Tensor, limit: float) -> Law:
    return at_most(f"{game}: {words}", SOURCES[game], float(measured), limit)


# --- Divergences and best critics, by their formulas ------------------------------------------


def _kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p / q).log()).sum()


def _chi_squared(p: Tensor, m: Tensor) -> Tensor:
    return ((p - m).square() / m).sum()


def _wasserstein(p: Tensor, q: Tensor) -> Tensor:
    """W_1 on the line: the area between the cumulative distributions."""
    return (p - q).cumsum(0)[:-1].abs() @ POINTS.diff()


def _steepest(p: Tensor, q: Tensor) -> Tensor:
    """Return the critic that climbs with slope 1 where p_g has more behind it, and else falls."""
    slope = (q - p).cumsum(0)[:-1].sign()
    return torch.cat([slope.new_zeros(1), (slope * POINTS.diff()).cumsum(0)])


def _joint_divergence(p: Tensor, q: Tensor) -> Tensor:
    """JSD of p ⊗ q and q ⊗ p."""
    pairs = torch.outer(p, q)
    return adversarial.jensen_shannon(pairs.flatten(), pairs.T.flatten())


def _best(name: str, p: Tensor, q: Tensor) -> Tensor:
    """Return D* of a named game."""
    match name:
        case "lsgan":
            return p / (p + q)
        case "hinge":
            return (p - q).sign()
        case "ebgan":
            return MARGIN * (p < q).to(p)
        case "wgan":
            return _steepest(p, q)
    return adversarial.optimal_critic(p, q)


def _cost(name: str, critic: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Compute E ℓ_G over pairs of a real and a fake example."""
    loss = adversarial.LOSSES[name]

    def of(real: Tensor, fake: Tensor) -> Tensor:
        return loss.generator(fake, real if loss.paired else None)

    return over_pairs(of, critic, critic, p, q)


# --- What the best critic measures ------------------------------------------------------------


def _lowest(loss: PairLoss, p: Tensor, q: Tensor, critics: Tensor) -> Tensor:
    """Return the critic [K] of the smallest loss among all [C, K]."""
    return critics[over_pairs(loss, critics, critics, p, q).argmin()]


def _search(name: str, p: Tensor, q: Tensor) -> tuple[str, Tensor]:
    """Find the best critic without its formula, and tell how.

    WGAN's search is exhaustive: a linear loss is lowest at a corner, where all slopes are ±1.
    """
    loss = adversarial.LOSSES[name].critic
    match name:
        case "hinge" | "ebgan":
            values = torch.linspace(0 if name == "ebgan" else -2, 2, 5, dtype=p.dtype)
            grid = torch.cartesian_prod(*[values] * len(p))
            return "among all on a grid", _lowest(loss, p, q, grid)
        case "wgan":
            slopes = torch.linspace(-1, 1, 5, dtype=p.dtype)
            rises = torch.cartesian_prod(*[slopes] * len(POINTS.diff())) * POINTS.diff()
            grid = torch.cat([torch.zeros_like(rises[:, :1]), rises.cumsum(1)], 1)
            return "among all of slope <= 1", _lowest(loss, p, q, grid)
    return "by descent", descended(loss, p, q, steps=300, step=1 if name == "lsgan" else 5)


def _measures(name: str, p: Tensor, q: Tensor) -> tuple[str, str, Tensor]:
    """Return D* and the loss at D* in words, and that loss by its formula."""
    total = adversarial.total_variation(p, q)
    match name:
        case "lsgan":
            words = "p_data / (p_data + p_g)", "1/2 - χ²(p_data ‖ m) / 2"
            return *words, 0.5 - _chi_squared(p, (p + q) / 2) / 2
        case "hinge":
            return "sign(p_data - p_g)", "2 - 2 TV", 2 - 2 * total
        case "ebgan":
            return "0 where p_data >= p_g, else m", "m (1 - TV)", MARGIN * (1 - total)
        case "wgan":
            return "the one of slope ±1 by the cumulatives", "-W_1", -_wasserstein(p, q)
        case "rsgan":
            words = "ln p_data - ln p_g + a constant", "ln 2 - JSD(p ⊗ q, q ⊗ p)"
            return *words, math.log(2) - _joint_divergence(p, q)
    divergence = math.log(4) - 2 * adversarial.jensen_shannon(p, q)
    return "ln p_data - ln p_g", "ln 4 - 2 JSD", divergence


@states(GAN)
def every_game_has_laws() -> Sequence[Law]:
    """Ask of each registered loss whether its best critic and its divergence stand here."""
    return has_laws(adversarial.LOSSES, SOURCES, "laws/games.py", GAN)


@states(*dict.fromkeys(SOURCES.values()))
def best_critics() -> Sequence[Law]:
    """Find each game's best critic; compare it with its formula, and both losses with theirs."""
    p, q = distributions(5)
    laws = []
    for name, loss in _games().items():
        formula, (how, numerical) = _best(name, p, q), _search(name, p, q)
        what, value, divergence = _measures(name, p, q)
        gap = numerical - formula - (numerical - formula)[0] * (name == "rsgan")
        losses = [over_pairs(loss.critic, critic, critic, p, q) for critic in (formula, numerical)]
        laws += [
            _equal(name, f"the best critic, found {how}, is {what}", gap.abs().max(), 0, 1e-6),
            _equal(name, f"the loss of {what} is {value}", losses[0], divergence),
            _equal(name, f"the loss found {how} is {value}", losses[1], divergence),
        ]
    return laws


@states("lecture §4; Zhao, Mathieu & LeCun 2017")
def level_energies() -> Sequence[Law]:
    """Play EBGAN at p_g = p_data, where any constant energy up to the margin is an equilibrium."""
    p, _ = distributions(5)
    margin = 1.6
    game, default_game = adversarial.energy_based(margin), adversarial.LOSSES["ebgan"]
    energy = margin * torch.linspace(0, 1, 5, dtype=p.dtype)
    level = energy[:, None].expand(-1, len(p))
    critic = over_pairs(game.critic, level, level, p, p) - margin
    generator = over_pairs(lambda _, fake: game.generator(fake, None), level, level, p, p) - energy
    unlike = adversarial.energy_based(MARGIN).critic(energy, energy) - default_game.critic(
        energy, energy
    )
    title = "where p_g = p_data the loss of any constant energy up to m is m"
    return [
        _equal("ebgan", title, critic.abs().max()),
        _equal("ebgan", "there the generator's loss is that energy", generator.abs().max()),
        _equal("ebgan", "the game of that name has the margin 1", unlike.abs().max()),
    ]


@states("lecture §4; Jolicoeur-Martineau 2019", "lecture §4; Arjovsky, Chintala & Bottou 2017")
def free_constants() -> Sequence[Law]:
    """Shift, stretch and turn round the scores of WGAN and RSGAN."""
    p, q = distributions(5)
    wgan, rsgan = adversarial.LOSSES["wgan"], adversarial.LOSSES["rsgan"]
    shift = torch.tensor([0, 7], dtype=p.dtype)[:, None]
    critics = adversarial.optimal_critic(p, q) + shift
    blind = over_pairs(rsgan.critic, critics, critics, p, q).diff()
    steep = 1000 * _steepest(p, q)
    steep_loss = over_pairs(wgan.critic, steep, steep, p, q)
    scores = torch.linspace(-6, 6, 9, dtype=p.dtype)
    real, fake = torch.meshgrid(scores, scores, indexing="ij")
    critic = wgan.critic(-real, -fake) - (real - fake)
    generator = wgan.generator(-scores, None) - scores
    return [
        _equal("rsgan", "a critic with 7 more for everything has the same loss", blind),
        _equal(
            "wgan", "1000 D* has the loss -1000 W_1", steep_loss, -1000 * _wasserstein(p, q), 1e-9
        ),
        _at_most("wgan", "a critic without a bound has no lowest loss", steep_loss, -10),
        _equal("wgan", "with D for -D its critic makes r - f small", critic.abs().max()),
        _equal("wgan", "with D for -D its generator makes f small", generator.abs().max()),
    ]


# --- Where scores are pulled ------------------------------------------------------------------

SURE: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("ns", "wgan", "rsgan"), (-6, -1)),
    "saturating": (-6, 0),
    "lsgan": (0, -2),
    "hinge": (-1, -1),
    "ebgan": (MARGIN, 1),
}
"""A fake's score at which the critic is sure, and the slope of the generator's loss there."""


def _signs(name: str, real: Tensor, fake: Tensor) -> tuple[str, str, Tensor, Tensor, Tensor]:
    """Return in words, and as signs of gradients in r, f and f, where the players must pull."""
    one, toward = torch.ones_like(real), "lifts fake scores"
    match name:
        case "lsgan":
            words = "pulls real scores to 1 and fake ones to 0", "pulls fake scores to 1"
            return *words, (real - 1).sign(), fake.sign(), (fake - 1).sign()
        case "hinge":
            words = "lifts real scores below 1, lowers fake ones above -1, and leaves the rest"
            return words, toward, -1.0 * (real < 1), 1.0 * (fake > -1), -one
        case "ebgan":
            words = "lowers real energies, lifts fake ones below the margin, and leaves the rest"
            return words, "lowers fake energies", one, -1.0 * (fake < MARGIN), one
    return "lifts real scores and lowers fake ones", toward, -one, one, -one


@states(*dict.fromkeys(SOURCES.values()))
def gradients() -> Sequence[Law]:
    """Differentiate the losses in the scores: signs for both players, and how they saturate."""
    laws, pulls = [], {}
    grid = torch.linspace(-6, 6, 24, dtype=torch.float64)  # no kink of a loss is on it
    for name, loss in _games().items():
        scores = grid if loss.score == "number" else (grid + 6.1) / 4
        real, fake = (x.requires_grad_() for x in torch.meshgrid(scores, scores, indexing="ij"))
        up, down = torch.autograd.grad(loss.critic(real, fake).sum(), (real, fake))
        cost = loss.generator(fake, real if loss.paired else None)
        (pulls[name],) = torch.autograd.grad(cost.sum(), fake)
        critic, generator, *signs = _signs(name, real.detach(), fake.detach())
        critic_matches = (up.sign() == signs[0]) & (down.sign() == signs[1])
        generator_matches = pulls[name].sign() == signs[2]
        laws += [
            _equal(name, f"the critic's descent {critic}", critic_matches.double().mean(), 1),
            _equal(
                name, f"the generator's descent {generator}", generator_matches.double().mean(), 1
            ),
        ]
    ratio = pulls["saturating"] / pulls["ns"] / grid.exp()
    title = "its generator's slope is s(f) / (1 - s(f)) times that of ns"
    return [*laws, _equal("saturating", title, (ratio - 1).abs().max())]


@states(*dict.fromkeys(SOURCES.values()))
def sure_critics() -> Sequence[Law]:
    """Differentiate the generator's loss at a fake which the critic knows to be one."""
    laws = []
    for name, (score, slope) in SURE.items():
        loss = adversarial.LOSSES[name]
        fake = torch.tensor([score], dtype=torch.float64, requires_grad=True)
        cost = loss.generator(fake, -fake.detach() if loss.paired else None)
        (gradient,) = torch.autograd.grad(cost.sum(), fake)
        title = f"the generator's slope where the critic is sure of a fake (f = {score:g})"
        laws.append(_equal(name, f"{title} is {slope:g}", gradient, slope, 3e-3))
    return laws


@states(*dict.fromkeys(SOURCES.values()))
def lower_ends() -> Sequence[Law]:
    """Look for the lowest loss of each critic but WGAN's: what is minimised ends at 0.

    A form to be maximised, or one that has lost a minus sign, goes below.
    """
    scores = torch.linspace(-6, 6, 25, dtype=torch.float64)
    laws = []
    for name, loss in _games().items():
        allowed = scores.clamp_min(0) if loss.score == "energy" else scores
        lowest = loss.critic(*torch.broadcast_tensors(allowed[:, None], allowed)).min()
        if not loss.lipschitz:
            laws.append(_at_most(name, "the critic's loss is never below 0", -lowest, 0))
    return laws


@states(*dict.fromkeys(SOURCES.values()))
def players_progress() -> Sequence[Law]:
    """Descend each critic's loss from one score everywhere, then make the fakes more real."""
    p, q = distributions(5)
    nearer = [q + t * (p - q) for t in torch.linspace(0, 1, 6, dtype=p.dtype)]
    laws = []
    for name, loss in _games().items():
        start, direction, sign = (MARGIN / 2, "below", -1) if name == "ebgan" else (0, "above", 1)
        step = partial(descended, loss.critic, p, q, step=0.05, start=start)
        gaps = torch.stack([(p - q) @ step(steps=steps) for steps in range(0, 12, 2)]) * sign
        costs = torch.stack([_cost(name, _best(name, p, q), p, fakes) for fakes in nearer])
        shrinks, costlier = (-gaps).diff().max(), costs.diff().max()
        laws += [
            _at_most(
                name,
                f"each step of its critic puts data further {direction} fakes",
                shrinks,
                -1e-4,
            ),
            _at_most(
                name, "its generator's loss falls as fakes become more real", costlier, -1e-4
            ),
        ]
    return laws


# --- What the generator descends --------------------------------------------------------------


def _descends(name: str, p: Tensor, q: Tensor) -> tuple[str, Tensor]:
    """Return the divergence whose gradient the generator's loss has at D*, and its name."""
    m = (p + q) / 2
    match name:
        case "saturating":
            return "2 JSD", 2 * adversarial.jensen_shannon(p, q)
        case "wgan":
            return "W_1", _wasserstein(p, q)
        case "lsgan":
            return "2 KL(p_data ‖ m) - χ²(p_data ‖ m) / 2", 2 * _kl(p, m) - _chi_squared(p, m) / 2
        case "hinge":
            return "2 TV", 2 * adversarial.total_variation(p, q)
        case "ebgan":
            return "m TV, m the margin", MARGIN * adversarial.total_variation(p, q)
        case "rsgan":
            return "KL(p_g ‖ p_data) - JSD(p ⊗ q, q ⊗ p)", _kl(q, p) - _joint_divergence(p, q)
    return "KL(p_g ‖ p_data) - 2 JSD", _kl(q, p) - 2 * adversarial.jensen_shannon(p, q)


def _in_logits(at: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Compute the gradient of loss(q) in the logits of q."""
    logits = at.log().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits.softmax(-1)), logits)
    return gradient


@states(*dict.fromkeys(SOURCES.values()))
def generator_descends_a_divergence() -> Sequence[Law]:
    """Differentiate the generator's loss at the best critic, held fixed, in p_g's parameters.

    For ns and saturating see Arjovsky & Bottou, Towards Principled Methods for Training Generative
    Adversarial Networks, 2017, arXiv:1701.04862.
    """
    p, q = distributions(5)
    laws = []
    for name in _games():
        ours = _in_logits(q, partial(_cost, name, _best(name, p, q), p))
        theirs = _in_logits(q, lambda model, name=name: _descends(name, p, model)[1])
        words = f"at D* the generator's gradient is that of {_descends(name, p, q)[0]}"
        laws.append(_equal(name, words, (ours - theirs).norm() / theirs.norm(), 0, 1e-10))
    return laws


@states(*dict.fromkeys(SOURCES.values()))
def equilibria() -> Sequence[Law]:
    """Hold a best critic fixed at p_g = p_data and ask whether the generator rests."""
    p, _ = distributions(5)
    uneven = torch.linspace(0.1, 0.9, len(p), dtype=p.dtype) * MARGIN
    laws = []
    for name, loss in _games().items():
        level = _best(name, p, p)
        if name not in ("hinge", "ebgan", "wgan"):
            pull = _in_logits(p, partial(_cost, name, level, p)).norm()
            laws.append(_equal(name, "at D* and p_g = p_data the generator rests", pull, 0, 1e-10))
            continue
        flat, hilly = (over_pairs(loss.critic, d, d, p, p) for d in (level, uneven))
        pull = _in_logits(p, partial(_cost, name, uneven, p)).norm()
        words = "at p_g = p_data an uneven critic is as good as a level one"
        laws += [
            _equal(name, words, hilly, flat),
            _at_most(name, "at p_g = p_data that critic moves the generator", -pull, -0.01),
        ]
    return laws


CHECKS: Sequence[Check] = (
    every_game_has_laws,
    best_critics,
    level_energies,
    free_constants,
    gradients,
    sure_critics,
    lower_ends,
    players_progress,
    generator_descends_a_divergence,
    equilibria,
)
