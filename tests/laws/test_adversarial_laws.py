"""The laws of the adversarial game hold, and each fails when what it speaks of is broken."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch.nn.functional import logsigmoid, softplus

from trilemma.families import gan
from trilemma.laws import adversarial as laws
from trilemma.maths import adversarial

LOSSES, PENALTIES = adversarial.LOSSES, adversarial.PENALTIES
SQUARED_GRADIENT_NORM, APART, RAMP = (
    adversarial.squared_gradient_norm,
    adversarial.pulling_away,
    adversarial.Ramp.__call__,
)
JSD = adversarial.jensen_shannon
CRITIC_LOSS = gan.Gan.critic_loss


def lost(name, **changes):
    """Put another loss in the place of a named one."""
    changed = {**LOSSES, name: dataclasses.replace(LOSSES[name], **changes)}
    return adversarial, "LOSSES", changed


def charged(name, **changes):
    """Put another penalty in the place of a named one."""
    changed = {**PENALTIES, name: dataclasses.replace(PENALTIES[name], **changes)}
    return adversarial, "PENALTIES", changed


def part(name, replacement):
    """Put another function in the place of one of maths.adversarial."""
    return adversarial, name, replacement


def heavy_cost(self, squared):
    """Forget the half."""
    return (squared.clamp_min(1e-12).sqrt() - self.target_norm).square()


def one_sided_loss(self, batch):
    """Take the point between data and fakes to be a datum."""
    penalty = self.penalty
    self.penalty = dataclasses.replace(penalty, points=("real",) if penalty.points else ())
    try:
        return CRITIC_LOSS(self, batch)
    finally:
        self.penalty = penalty


def hasty_loss(self, batch):
    """Take the penalty at every update, whatever was asked for."""
    every, self.every = self.every, 1
    try:
        return CRITIC_LOSS(self, batch)
    finally:
        self.every = every


def charging_loss(self, batch):
    """Add to the loss what is not told."""
    loss = CRITIC_LOSS(self, batch)
    return dataclasses.replace(loss, value=loss.value + 0.1)


def undamped(score, x):
    """Give a slope without a gradient."""
    return SQUARED_GRADIENT_NORM(score, x).detach() + 0 * score


BROKEN = [
    (
        "optimal_critic",
        ("found by descent: s(D)", "value, found by descent"),
        lost("ns", critic=lambda r, f: softplus(-r) + softplus(f) / 2),
    ),
    (
        "optimal_critic",
        ("V(D*) = KL", "V(D*) = -ln 4"),
        part("optimal_critic", lambda p, q: (p / (p + q)).log()),
    ),
    ("optimal_critic", ("value, found",), part("jensen_shannon", lambda p, q: 2 * JSD(p, q))),
    *(
        (
            "critic_ascends_the_value",
            (f"{name}: the critic's loss",),
            lost(name, critic=lambda r, f: logsigmoid(r) + logsigmoid(-f)),
        )
        for name in ("ns", "saturating")
    ),
    (
        "critic_ascends_the_value",
        ("V = E ln",),
        part("value", lambda r, f: logsigmoid(f) + logsigmoid(-r)),
    ),
    (
        "penalty",
        ("of D = w·x is", "E‖∇D‖² of", "derivative in a", "in w is w"),
        part("squared_gradient_norm", lambda score, x: SQUARED_GRADIENT_NORM(score, x).sqrt()),
    ),
    (
        "penalty",
        tuple(f"{name} of D of slope" for name in ("r1", "r2", "r1+r2", "gp")),
        part("squared_gradient_norm", lambda score, x: SQUARED_GRADIENT_NORM(score, x) + 1),
    ),
    (
        "penalty",
        tuple(f"{name} of D = w·x" for name in ("r1", "r2", "r1+r2", "gp")),
        (adversarial.Penalty, "cost", heavy_cost),
    ),
    ("penalty", ("gp of D of slope", "gp of D = w·x"), charged("gp", target_norm=0.0)),
    ("penalty", ("r1+r2 of D = w·x",), charged("r1+r2", points=("real",))),
    (
        "codes_apart",
        ("orthogonal",),
        part("pulling_away", lambda codes: APART(codes + 1)),
    ),
    (
        "codes_apart",
        ("parallel",),
        part("pulling_away", lambda codes: APART(codes) * len(codes) / (len(codes) - 1)),
    ),
    ("codes_apart", ("angle",), part("pulling_away", lambda codes: APART(codes).sqrt())),
    (
        "ramp",
        ("begins", "never rises"),
        (adversarial.Ramp, "__call__", lambda self, share: RAMP(self, self.over - share)),
    ),
    (
        "ramp",
        ("halfway",),
        (adversarial.Ramp, "__call__", lambda self, share: RAMP(self, share**2)),
    ),
    (
        "ramp",
        ("stays",),
        (adversarial.Ramp, "__call__", lambda self, share: RAMP(self, share / 4)),
    ),
    *(
        (
            "dirac_game",
            tuple(f"{name}, Dirac game with {term}:" for term in ("R1", "R2", "R1+R2")),
            part("squared_gradient_norm", undamped),
        )
        for name in ("ns", "rsgan", "wgan")
    ),
    (
        "dirac_game",
        ("ns, Dirac game: growth",),
        lost("ns", generator=lambda fake, real: softplus(fake)),
    ),
    (
        "dirac_game",
        ("rsgan, Dirac game: growth",),
        lost("rsgan", generator=lambda fake, real: softplus(fake - real)),
    ),
    ("dirac_game", ("wgan, Dirac game: growth",), lost("wgan", generator=lambda fake, real: fake)),
    (
        "undamped_wasserstein",
        ("sqrt(1 + h²)",),
        lost("wgan", generator=lambda fake, real: -2 * fake),
    ),
    (
        "undamped_wasserstein",
        ("with R1:", "with R2:", "with R1+R2:"),
        part("squared_gradient_norm", undamped),
    ),
    (
        "penalised_game",
        (
            "linear critic: r1",
            "linear critic: r2",
            "linear critic: gp",
            "bowl: r1 ",
            "bowl: r2",
            "bowl: r1+r2",
            "every 4th",
        ),
        (adversarial.Penalty, "cost", heavy_cost),
    ),
    (
        "penalised_game",
        ("linear critic: r1", "bowl: r1 ", "every 4th"),
        (gan, "squared_gradient_norm", lambda score, x: 2 * SQUARED_GRADIENT_NORM(score, x)),
    ),
    ("penalised_game", ("bowl: gp",), (gan.Gan, "critic_loss", one_sided_loss)),
    ("penalised_game", ("without a penalty",), (gan.Gan, "critic_loss", charging_loss)),
    ("penalised_game", ("between those",), (gan.Gan, "critic_loss", hasty_loss)),
]


def named(check):
    return {law.name: law for law in getattr(laws, check)()}


@pytest.mark.parametrize(
    ("check", "words", "breaks"), BROKEN, ids=lambda v: v if isinstance(v, str) else ""
)
def test_each_law_can_fail(monkeypatch, meant, check, words, breaks):
    monkeypatch.setattr(*breaks)
    assert not [law for law in meant(laws, check, words) if law.holds]


def test_every_law_is_broken_once():
    loss = {check.__name__: list(named(check.__name__)) for check in laws.CHECKS}
    words = {check: [] for check in loss}
    for check, some, _ in BROKEN:
        words[check] += some
    for check, names in loss.items():
        for name in names:
            assert any(word in name for word in words[check]), name


def test_names_are_told_apart():
    loss = [law for check in laws.CHECKS for law in check()]
    assert len({law.name for law in loss}) == len(loss)
    assert all(math.isfinite(law.measured) for law in loss)


def test_laws_leave_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for check in laws.CHECKS:
        check()
    assert torch.equal(before, torch.get_rng_state())
