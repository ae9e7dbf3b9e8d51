"""The laws of the losses side by side hold, and each fails when a loss is broken."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch.nn.functional import logsigmoid, relu, softplus

from trilemma.laws import games as laws
from trilemma.laws.book import timed
from trilemma.maths import adversarial

LOSSES = adversarial.LOSSES
JSD, TV, BEST = (
    adversarial.jensen_shannon,
    adversarial.total_variation,
    adversarial.optimal_critic,
)
ENERGIES = adversarial.energy_based


def critic(name, replacement):
    """Put another critic's loss in the place of a named one."""
    changed = {**LOSSES, name: dataclasses.replace(LOSSES[name], critic=replacement)}
    return adversarial, "LOSSES", changed


def generator(name, replacement):
    """Put another generator's loss in the place of a named one."""
    changed = {**LOSSES, name: dataclasses.replace(LOSSES[name], generator=replacement)}
    return adversarial, "LOSSES", changed


def part(name, replacement):
    """Put another function in the place of one of maths.adversarial."""
    return adversarial, name, replacement


def negated(name):
    """Turn the generator round: it makes large what it should make small."""
    right = LOSSES[name].generator
    return generator(name, lambda f, r: -right(f, r))


def upside_down(name):
    """Give the critic the form to be maximised, to be minimised."""
    right = LOSSES[name].critic
    return critic(name, lambda r, f: -right(r, f))


def swapped(name):
    """Let the critic take real for fake."""
    right = LOSSES[name].critic
    return critic(name, lambda r, f: right(f, r))


def replaced(name):
    """Weigh pairs by their place, not by their scores alone."""
    right = LOSSES[name].generator
    weights = torch.linspace(0, 1, 5, dtype=torch.float64)
    return generator(name, lambda f, r: right(f, r) * weights)


def uneven_energies(margin):
    """Forget the margin in the critic's loss."""
    right = ENERGIES(margin)
    return dataclasses.replace(right, critic=lambda r, f: r + relu(1 - f))


def costly_energies(margin):
    """Charge the generator twice its energy."""
    return dataclasses.replace(ENERGIES(margin), generator=lambda f, r: 2 * f)


# One slip for each critic that leaves another optimum with another loss.
FORGETFUL = {
    "ns": lambda r, f: softplus(-r) + softplus(f) / 2,
    "saturating": lambda r, f: softplus(-r) + softplus(f) / 2,
    "wgan": lambda r, f: r - f,
    "lsgan": lambda r, f: (r - 1).square() + f.square() / 2,
    "hinge": lambda r, f: relu(1 - r) + relu(1 + f) / 4,
    "ebgan": lambda r, f: r + relu(1 - f) / 4,
    "rsgan": lambda r, f: softplus(2 * (f - r)),
}
NAMES = tuple(LOSSES)

ALL_FORGETFUL = {
    name: dataclasses.replace(loss, critic=FORGETFUL[name]) for name, loss in LOSSES.items()
}
ALL_UPSIDE_DOWN = {
    name: dataclasses.replace(loss, critic=lambda r, f, right=loss.critic: -right(r, f))
    for name, loss in LOSSES.items()
}

BROKEN = [
    (
        "best_critics",
        (
            *(f"{name}: the best" for name in NAMES),
            *(f"{name}: the loss of" for name in NAMES),
            # WGAN's turned round is as low at the critic turned round, as is RSGAN's that is twice
            # as steep at half the critic.
            *(f"{name}: the loss found" for name in NAMES if name not in ("wgan", "rsgan")),
        ),
        (adversarial, "LOSSES", ALL_FORGETFUL),
    ),
    (
        "best_critics",
        tuple(f"{name}: the loss found" for name in NAMES if name != "wgan"),
        (adversarial, "LOSSES", ALL_UPSIDE_DOWN),
    ),
    (
        "best_critics",
        ("wgan: the loss of", "wgan: the loss found"),
        critic("wgan", lambda r, f: 2 * (f - r)),
    ),
    (
        "best_critics",
        (
            "ns: the loss of",
            "saturating: the loss of",
            "rsgan: the loss of",
            "rsgan: the loss found",
        ),
        part("jensen_shannon", lambda p, q: 2 * JSD(p, q)),
    ),
    (
        "best_critics",
        ("hinge: the loss of", "hinge: the loss found", "ebgan: the loss of"),
        part("total_variation", lambda p, q: 2 * TV(p, q)),
    ),
    (
        "best_critics",
        ("ns: the best", "ns: the loss of", "saturating: the best", "rsgan: the best"),
        part("optimal_critic", lambda p, q: (p / (p + q)).log()),
    ),
    ("level_energies", ("ebgan: where",), part("energy_based", uneven_energies)),
    ("level_energies", ("ebgan: there",), part("energy_based", costly_energies)),
    (
        "level_energies",
        ("ebgan: the game of",),
        critic("ebgan", lambda r, f: r + relu(2 - f)),
    ),
    ("free_constants", ("rsgan",), critic("rsgan", lambda r, f: softplus(-r) + softplus(f))),
    (
        "free_constants",
        ("wgan: 1000", "wgan: with D for -D its critic", "wgan: a critic without"),
        upside_down("wgan"),
    ),
    ("free_constants", ("wgan: with D for -D its generator",), negated("wgan")),
    *(
        (
            "gradients",
            (f"{name}: the critic's descent",),
            breaks(name),
        )
        for name in NAMES
        for breaks in (upside_down, swapped)
    ),
    *(("gradients", (f"{name}: the generator's descent",), negated(name)) for name in NAMES),
    (
        "gradients",
        ("saturating: its generator",),
        generator("saturating", LOSSES["ns"].generator),
    ),
    *(("sure_critics", (f"{name}: ",), negated(name)) for name in NAMES if name != "saturating"),
    (
        "sure_critics",
        ("saturating: ",),
        generator("saturating", LOSSES["ns"].generator),
    ),
    ("sure_critics", ("ns: ",), generator("ns", LOSSES["saturating"].generator)),
    *(("lower_ends", (f"{name}: ",), upside_down(name)) for name in NAMES if name != "wgan"),
    # The deck's slips: the hinge's objective to be maximised, and RSGAN's lost minus signs.
    ("lower_ends", ("hinge: ",), critic("hinge", lambda r, f: -relu(1 - r) - relu(1 + f))),
    ("lower_ends", ("rsgan: ",), critic("rsgan", lambda r, f: logsigmoid(r - f))),
    *(("players_progress", (f"{name}: each step",), upside_down(name)) for name in NAMES),
    *(("players_progress", (f"{name}: its generator's loss",), negated(name)) for name in NAMES),
    (
        "players_progress",
        ("hinge: each step",),
        critic("hinge", lambda r, f: -relu(1 - r) - relu(1 + f)),
    ),
    (
        "players_progress",
        ("rsgan: each step",),
        critic("rsgan", lambda r, f: logsigmoid(r - f)),
    ),
    (
        "players_progress",
        ("rsgan: its generator's loss",),
        generator("rsgan", lambda f, r: softplus(f - r)),
    ),
    *(("generator_descends_a_divergence", (f"{name}: ",), negated(name)) for name in NAMES),
    (
        "generator_descends_a_divergence",
        ("ns: ",),
        generator("ns", LOSSES["saturating"].generator),
    ),
    (
        "generator_descends_a_divergence",
        ("saturating: ",),
        generator("saturating", LOSSES["ns"].generator),
    ),
    ("generator_descends_a_divergence", ("lsgan: ",), generator("lsgan", lambda f, r: -2 * f)),
    *(
        ("equilibria", (f"{name}: at D*",), replaced(name))
        for name in ("ns", "saturating", "lsgan", "rsgan")
    ),
    (
        "equilibria",
        ("ns: at D*", "saturating: at D*", "rsgan: at D*"),
        part("optimal_critic", lambda p, q: BEST(p, q) + p),
    ),
    *(
        (
            "equilibria",
            (f"{name}: at p_g = p_data an uneven",),
            critic(name, LOSSES["lsgan"].critic),
        )
        for name in ("hinge", "ebgan", "wgan")
    ),
    *(
        (
            "equilibria",
            (f"{name}: at p_g = p_data that critic",),
            generator(name, lambda f, r: 0 * f),
        )
        for name in ("hinge", "ebgan", "wgan")
    ),
]


@pytest.mark.parametrize(
    ("check", "words", "breaks"), BROKEN, ids=lambda v: v if isinstance(v, str) else ""
)
def test_each_law_can_fail(monkeypatch, meant, check, words, breaks):
    monkeypatch.setattr(*breaks)
    assert not [law for law in meant(laws, check, words) if law.holds]


def test_every_law_is_broken_once():
    beginnings = {(check, word) for check, words, _ in BROKEN for word in words}
    for check in laws.CHECKS:
        if check is laws.every_game_has_laws:  # broken below, by a loss that has none
            continue
        for law in check():
            assert any(
                name == check.__name__ and law.name.startswith(word) for name, word in beginnings
            ), law.name


def test_every_loss_of_the_library_has_its_laws():
    """A new loss is refused until its best critic is known here."""
    assert set(laws.SOURCES) == set(LOSSES)
    for check in (laws.best_critics, laws.gradients, laws.generator_descends_a_divergence):
        assert {law.name.split(":")[0] for law in check()} == set(LOSSES)


def test_names_are_told_apart():
    all_laws = [law for check in laws.CHECKS for law in check()]
    assert len({law.name for law in all_laws}) == len(all_laws)
    assert all(math.isfinite(law.measured) for law in all_laws)


def test_the_line_agrees_with_optimal_transport():
    ot = pytest.importorskip("ot")
    at = laws.POINTS[:, None]
    cost = (at - at.T).abs().numpy()
    seeded = torch.Generator().manual_seed(11)
    for _ in range(10):
        p, q = torch.rand(2, len(at), generator=seeded, dtype=torch.float64)
        p, q = p / p.sum(), q / q.sum()
        exact = ot.emd2(p.numpy(), q.numpy(), cost)
        best = laws._best("wgan", p, q)
        assert laws._wasserstein(p, q).item() == pytest.approx(exact, abs=1e-12)
        all_laws = laws.over_pairs(LOSSES["wgan"].critic, best, best, p, q)
        assert all_laws.item() == pytest.approx(-exact, abs=1e-12)
        assert laws._search("wgan", p, q)[1].sub(best).abs().max() < 1e-12


def test_the_plane_agrees_with_optimal_transport():
    """The potential that linear programming finds is the critic of the lowest loss."""
    ot = pytest.importorskip("ot")
    seeded = torch.Generator().manual_seed(12)
    x = torch.randn(7, 2, generator=seeded, dtype=torch.float64)
    y = torch.randn(9, 2, generator=seeded, dtype=torch.float64) + 0.5
    p, q = (torch.rand(n, generator=seeded, dtype=torch.float64) for n in (7, 9))
    p, q = p / p.sum(), q / q.sum()
    exact, log = ot.emd2(p.numpy(), q.numpy(), torch.cdist(x, y).numpy(), log=True)
    heights = torch.as_tensor(log["v"])
    points = torch.cat([x, y])

    def cones(tips):
        """The lowest of cones of slope 1 over fakes: a function of slope 1 at most."""
        return (torch.cdist(points, y) - tips).min(1).values

    def loss(critic):
        real, fake = critic.split([7, 9])
        return laws.over_pairs(LOSSES["wgan"].critic, real, fake, p, q).item()

    critic = cones(heights)
    rises = (critic[:, None] - critic).abs() - torch.cdist(points, points)
    assert rises.max() < 1e-9
    assert loss(critic) == pytest.approx(-exact, abs=1e-9)
    for _ in range(50):
        other = cones(heights + torch.randn(9, generator=seeded, dtype=torch.float64))
        assert loss(other) >= -exact - 1e-9


def test_a_loss_without_laws_fails_by_its_name_and_stops_no_other(monkeypatch):
    monkeypatch.setitem(adversarial.LOSSES, "mine", adversarial.LOSSES["hinge"])
    computed = [law for law, _ in timed(laws.CHECKS)]
    (failed,) = (law.name for law in computed if not law.holds)
    assert failed.startswith("adversarial loss 'mine' of ")
    assert failed.endswith(" has no law; write it in laws/games.py")
    assert len(computed) > 40
