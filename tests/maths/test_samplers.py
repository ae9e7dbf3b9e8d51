"""Samplers step by step against diffusers, and against each other on a mixture."""

from __future__ import annotations

import pytest
import torch

from trilemma.maths.predictions import Clean, NoisePrediction, Velocity
from trilemma.maths.samplers import SAMPLERS, Ancestral, Ddim, Euler, Heun
from trilemma.maths.schedules import SCHEDULES, Cosine, Linear, grid

KINDS = {"epsilon": NoisePrediction(), "sample": Clean(), "v_prediction": Velocity(2)}
TIMES = torch.arange(981, -20, -20, dtype=torch.float64).clamp(min=0) / 1000
"""Those of 50 'leading' steps in diffusers, index i being time (i + 1) / 1000."""


def network(x, i):
    """Stand for a network: anything smooth."""
    return torch.sin(x) + 0.3 * x + i / 1000


def denoiser(schedule, prediction, clip):
    def denoise(x, t):
        alpha, sigma = (number.to(x) for number in schedule(t))
        clean = prediction.denoised(network(x, t.item() * 1000 - 1), x, alpha, sigma)
        return clean.clamp(-1, 1) if clip else clean

    return denoise


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", [Linear(), Cosine()], ids=["linear", "cosine"])
@pytest.mark.parametrize("eta", [None, 0.0, 0.6])
def test_every_step_is_that_of_diffusers(schedule, kind, clip, eta):
    diffusers = pytest.importorskip("diffusers")
    options = {
        "beta_schedule": "linear" if isinstance(schedule, Linear) else "squaredcos_cap_v2",
        "prediction_type": kind,
        "clip_sample": clip,
        "timestep_spacing": "leading",
    }
    if eta is None:
        scheduler = diffusers.DDPMScheduler(variance_type="fixed_small", **options)
    else:
        scheduler = diffusers.DDIMScheduler(set_alpha_to_one=True, **options)
    scheduler.betas = scheduler.betas.double()  # its own betas, without the rounding of 1 - abar
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = scheduler.alphas.cumprod(0)
    scheduler.set_timesteps(50)
    sampler = Ancestral() if eta is None else Ddim(eta)
    mine, theirs = (torch.Generator().manual_seed(3) for _ in range(2))

    for number in (0, 1, 25, 48, 49):
        x = torch.randn(4, 1, 8, 8)
        i = int(scheduler.timesteps[number])
        times = TIMES[number : number + 2]
        assert times[0] == pytest.approx((i + 1) / 1000)
        (ours,) = sampler(
            denoiser(schedule, KINDS[kind], clip),
            schedule,
            x,
            times,
            lambda: torch.randn(4, 1, 8, 8, generator=mine),
        )
        extra = {} if eta is None else {"eta": eta, "use_clipped_model_output": True}
        step = scheduler.step(network(x, i), i, x, generator=theirs, **extra)
        scale = max(1.0, float(step.prev_sample.abs().max()))
        torch.testing.assert_close(ours / scale, step.prev_sample / scale, atol=1e-5, rtol=0)
        if eta and times[1] == 0:  # diffusers draws noise of variance 0 there
            break


def mixture(schedule):
    """Return the exact denoiser of (1/3) N(-1, 0.2^2) + (2/3) N(1, 0.3^2)."""
    mean, spread = torch.tensor([-1.0, 1.0]).double(), torch.tensor([0.2, 0.3]).double()
    weight = torch.tensor([1 / 3, 2 / 3]).double()

    def denoise(x, t):
        alpha, sigma = schedule(t)
        v = alpha**2 * spread**2 + sigma**2
        log_p = weight.log() - 0.5 * v.log() - 0.5 * (x[..., None] - alpha * mean) ** 2 / v
        each = (alpha * spread**2 * x[..., None] + sigma**2 * mean) / v
        return (log_p.softmax(-1) * each).sum(-1)

    return denoise


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("sampler", [Ancestral(), Ddim(), Ddim(0.5), Euler(), Heun()], ids=str)
def test_a_mixture_is_drawn_with_its_moments(sampler, name):
    schedule, n = SCHEDULES[name], 8_000
    x = torch.randn(n, dtype=torch.float64)
    *_, x = sampler(
        mixture(schedule), schedule, x, grid(60), lambda: torch.randn(n, dtype=torch.float64)
    )
    left = x[x < 0]
    assert len(left) / n == pytest.approx(1 / 3, abs=0.02)
    assert float(left.mean()) == pytest.approx(-1, abs=0.03)
    assert float(x[x > 0].mean()) == pytest.approx(1, abs=0.03)
    assert float(left.std()) == pytest.approx(0.2, abs=0.04)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_state_for_each_step_and_as_many_calls_as_stated(name):
    sampler, asked = SAMPLERS[name](), []
    inner = mixture(Cosine())

    def denoise(x, t):
        asked.append(float(t))
        return inner(x, t)

    x = torch.randn(5, dtype=torch.float64)
    states = list(sampler(denoise, Cosine(), x, grid(10), lambda: torch.randn(5).double()))
    assert len(states) == 10
    assert len(asked) == 10 * sampler.calls - (sampler.calls - 1)
    assert min(asked) > 0


def test_without_noise_a_sampler_is_a_function_of_its_first_state():
    x = torch.randn(5, dtype=torch.float64)

    def none():
        raise AssertionError("asked for noise")

    for sampler in (Ddim(), Euler(), Heun()):
        list(sampler(mixture(Cosine()), Cosine(), x, grid(5), none))
