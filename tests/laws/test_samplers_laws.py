"""Each law of samplers and guidance holds, and fails when the code that it is about is broken."""

from __future__ import annotations

import pytest
import torch

from trilemma.laws import oracles
from trilemma.laws import samplers as laws
from trilemma.maths.diffusion import guidance, multistep
from trilemma.maths.diffusion.multistep import DpmSolver1, DpmSolver2, DpmSolver3, UniPc
from trilemma.maths.diffusion.predictions import Velocity
from trilemma.maths.diffusion.samplers import Ancestral, Ddim, Euler, Heun
from trilemma.maths.diffusion.schedules import Cosine

KINDS = {
    "ancestral": Ancestral,
    "ddim": Ddim,
    "euler": Euler,
    "heun": Heun,
    "dpm++1": DpmSolver1,
    "dpm++2m": DpmSolver2,
    "dpm++3m": DpmSolver3,
    "unipc": UniPc,
}


def broken(check, saying):
    """Return how many laws of a check whose name starts with these words hold, and fail."""
    named = [law.holds for law in check() if law.name.startswith(saying)]
    return named.count(True), named.count(False)


def misled(monkeypatch, wrong):
    """Give every sampler a wrong clean estimate."""
    for kind in KINDS.values():
        original = kind.__call__

        def call(self, denoise, *args, full=original):
            return full(self, lambda x, t: wrong(denoise(x, t)), *args)

        monkeypatch.setattr(kind, "__call__", call)


def test_samplers_that_shrink_are_seen(monkeypatch):
    misled(monkeypatch, lambda clean: 0.7 * clean)
    assert broken(laws.one_law, "") == (0, 11)
    assert broken(laws.whole_distribution, "") == (0, 16)


def test_a_flipped_velocity_is_seen(monkeypatch):
    original = Velocity.target
    monkeypatch.setattr(Velocity, "target", lambda self, *args: -original(self, *args))
    assert broken(laws.one_law, "") == (0, 11)


@pytest.mark.parametrize("kind", [Euler, Heun])
def test_churn_of_too_much_noise_is_seen(monkeypatch, kind):
    full, name = kind.__call__, kind.__name__.lower()

    def call(self, denoise, schedule, x, times, noise):
        return full(self, denoise, schedule, x, times, lambda: 2 * noise())

    monkeypatch.setattr(kind, "__call__", call)
    assert broken(laws.one_law, f"{name}, churn") == (0, 1)
    assert broken(laws.one_law, f"{name}:") == (1, 0)
    if kind is Heun:
        assert broken(laws.whole_distribution, "heun, churn") == (0, 2)


def test_an_ancestral_sampler_without_noise_is_seen(monkeypatch):
    original = Ancestral.__call__

    def call(self, denoise, schedule, x, times, noise):
        return original(self, denoise, schedule, x, times, lambda: 0 * x)

    monkeypatch.setattr(Ancestral, "__call__", call)
    assert broken(laws.one_law, "ancestral") == (0, 1)
    assert broken(laws.implicit, "DDIM(eta = 1)") == (0, 1)


def test_a_ddim_that_keeps_other_noise_is_seen(monkeypatch):
    original = Ddim.__call__
    monkeypatch.setattr(
        Ddim, "__call__", lambda self, *args: original(Ddim(0.1 + 0.8 * self.eta), *args)
    )
    numbers = torch.randn(40, 8, dtype=torch.float64)
    monkeypatch.setattr(torch, "randn", lambda *args, **more: numbers[: args[0]])
    assert broken(laws.implicit, "DDIM(eta = 1)") == (0, 1)


@pytest.mark.parametrize(("kind", "saying"), [(Euler, "Euler"), (DpmSolver1, "DPM")])
def test_a_ddim_by_another_name_that_is_not_is_seen(monkeypatch, kind, saying):
    monkeypatch.setattr(kind, "__call__", lambda self, *args: Heun()(*args))
    assert broken(laws.implicit, saying) == (0, 1)


def test_samplers_that_do_not_converge_are_seen(monkeypatch):
    misled(monkeypatch, lambda clean: clean + 0.01)
    matching = [law for law in laws.orders() if ": order" in law.name]
    assert len(matching) == 16
    assert not any(law.holds for law in matching)


def test_samplers_of_a_lower_order_are_seen(monkeypatch):
    lower = {Heun: Euler, DpmSolver2: Euler, DpmSolver3: DpmSolver1, UniPc: DpmSolver1}
    for kind, other in lower.items():
        monkeypatch.setattr(kind, "__call__", lambda self, *args, other=other: other()(*args))
    failed = {law.name.split(":")[0] for law in laws.orders() if not law.holds}
    assert {f"{name}, cosine" for name in ("heun", "dpm++2m", "dpm++3m", "unipc")} <= failed


def test_a_third_estimate_that_is_not_used_is_seen(monkeypatch):
    monkeypatch.setattr(DpmSolver3, "__call__", lambda self, *args: DpmSolver2()(*args))
    assert broken(laws.orders, "dpm++3m, cosine: error") == (0, 1)
    original = UniPc.__call__
    monkeypatch.setattr(UniPc, "__call__", lambda self, *args: original(UniPc(2), *args))
    assert broken(laws.orders, "unipc, cosine: error") == (0, 1)


def test_a_wrong_moment_is_seen(monkeypatch):
    original = multistep._moments
    monkeypatch.setattr(
        multistep,
        "_moments",
        lambda h, n: [original(h, n)[0], *(0.9 * m for m in original(h, n)[1:])],
    )
    failed = {law.name.split(",")[0] for law in laws.orders() if not law.holds}
    assert failed == {"dpm++2m", "dpm++3m", "unipc"}


def test_another_guidance_is_seen(monkeypatch):
    original = guidance.guided
    monkeypatch.setattr(
        guidance,
        "guided",
        lambda conditional, unconditional, w, over: original(unconditional, conditional, w, over),
    )
    assert broken(laws.intervals, "guidance") == (0, 5)


def test_guidance_without_its_interval_is_seen(monkeypatch):
    original = guidance.guided
    monkeypatch.setattr(
        guidance,
        "guided",
        lambda conditional, unconditional, w, over: original(conditional, unconditional, w),
    )
    assert broken(laws.intervals, "guidance with weight 3 is the conditional") == (0, 1)
    assert broken(laws.intervals, "guidance with weight 0 is the conditional") == (0, 1)


def test_another_classifier_guidance_is_seen(monkeypatch):
    original = guidance.classifier_guided
    monkeypatch.setattr(
        guidance, "classifier_guided", lambda *args: original(*args[:3], 1.01 * args[3])
    )
    assert broken(laws.classified, "") == (0, 3)


def test_nothing_here_is_the_code_itself():
    """The mixture's denoiser and its quantiles are Bayes' rule and integration on a grid."""
    alpha, sigma = Cosine()(torch.tensor(0.4, dtype=torch.float64))
    x = torch.linspace(-8, 8, 40_001, dtype=torch.float64)
    log_each = -0.5 * ((x[:, None] - oracles.MEANS) / oracles.SPREADS) ** 2
    density = (oracles.SHARES / oracles.SPREADS * log_each.exp()).sum(1)
    weight = density * (-0.5 * ((0.7 - alpha * x) / sigma) ** 2).exp()
    mean = (weight * x).sum() / weight.sum()
    log_p, clean = oracles.mixture_joint(torch.tensor(0.7, dtype=torch.float64), alpha, sigma)
    torch.testing.assert_close((log_p.softmax(-1) * clean).sum(), mean, atol=1e-6, rtol=0)
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    median = oracles.mixture_quantile(one / 2, one, zero)
    share = density[x < median].sum() / density.sum()
    assert float(share) == pytest.approx(0.5, abs=1e-3)
