"""Samplers step by step against the schedulers of diffusers, on the same noise levels."""

from __future__ import annotations

import pytest
import torch

from trilemma.maths.diffusion.predictions import Clean, NoisePrediction, Velocity
from trilemma.maths.diffusion.samplers import SAMPLERS, Ancestral, Ddim
from trilemma.maths.diffusion.schedules import Cosine, Linear

KINDS = {"epsilon": NoisePrediction(), "sample": Clean(), "v_prediction": Velocity(2)}
SCHEDULES = pytest.mark.parametrize("schedule", [Linear(), Cosine()], ids=["linear", "cosine"])
LEADING = torch.arange(981, -20, -20, dtype=torch.float64).clamp(min=0) / 1000
"""Times of 50 'leading' steps in diffusers, index i being time (i + 1) / 1000."""


def peer():
    """Import diffusers where it is asked for: that takes longer than all of these tests."""
    return pytest.importorskip("diffusers")


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
@SCHEDULES
@pytest.mark.parametrize("eta", [None, 0.0, 0.6, 1.0])
def test_ancestral_and_ddim(schedule, kind, clip, eta):
    options = {
        "beta_schedule": "linear" if isinstance(schedule, Linear) else "squaredcos_cap_v2",
        "prediction_type": kind,
        "clip_sample": clip,
        "timestep_spacing": "leading",
    }
    if eta is None:
        scheduler = peer().DDPMScheduler(variance_type="fixed_small", **options)
    else:
        scheduler = peer().DDIMScheduler(set_alpha_to_one=True, **options)
    scheduler.betas = scheduler.betas.double()  # its own betas, without the rounding of 1 - abar
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = scheduler.alphas.cumprod(0)
    scheduler.set_timesteps(50)
    sampler = Ancestral() if eta is None else Ddim(eta)
    mine, theirs = (torch.Generator().manual_seed(3) for _ in range(2))

    for number in (0, 1, 25, 48, 49):
        x = torch.randn(4, 1, 8, 8)
        i = int(scheduler.timesteps[number])
        times = LEADING[number : number + 2]
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


MEANS = torch.tensor([-0.6, 0.7], dtype=torch.float64)
SPREADS = torch.tensor([0.5, 0.3], dtype=torch.float64)


def mixture(x, alpha, sigma):
    """Return E[x | x_t] where each coordinate of x is of two Gaussians, equally often."""
    v = alpha**2 * SPREADS**2 + sigma**2
    each = (alpha * SPREADS**2 * x[..., None] + sigma**2 * MEANS) / v
    log_p = -0.5 * v.log() - 0.5 * (x[..., None] - alpha * MEANS) ** 2 / v
    return (log_p.softmax(-1) * each).sum(-1)


def peer_scheduler(name, schedule, steps, from_index=None, **options):
    """Return a scheduler that has taken its timesteps, its indices, and their times and 0.

    Its own noise levels, which are rounded to float32, are ours, and are then replaced by ours.
    """
    scheduler = getattr(peer(), name)(trained_betas=schedule.betas().numpy(), **options)
    if from_index is None:
        scheduler.set_timesteps(steps)
    else:
        scheduler.set_timesteps(timesteps=torch.linspace(from_index, 0, steps).round().tolist())
    indices = list(dict.fromkeys(scheduler.timesteps.tolist()))  # Heun's are there twice
    times = torch.tensor([*((i + 1) / 1000 for i in indices), 0.0], dtype=torch.float64)
    alpha, sigma = schedule(times)
    levels = sigma / alpha
    doubled = len(scheduler.sigmas) > len(levels)
    if doubled:
        levels = torch.cat([levels[:1], levels[1:-1].repeat_interleave(2), levels[-1:]])
    if isinstance(schedule, Linear):  # of the cosine, float32 leaves nothing of alpha at the end
        torch.testing.assert_close(scheduler.sigmas.double(), levels, rtol=1e-3, atol=1e-6)
    scheduler.sigmas = levels
    return scheduler, times


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs.double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [4, 10, 25])
@SCHEDULES
@pytest.mark.parametrize("name", ["dpm++1", "dpm++2m", "dpm++3m", "unipc2", "unipc"])
def test_multistep(name, schedule, steps, kind):
    # Common ground throughout: both raise their order from 1 at the start, lower it at the end
    # (DPM-Solver++ below 15 steps, UniPC always) and end at sigma = 0. The states of UniPC are
    # the predicted ones, in diffusers too.
    if name.startswith("unipc"):
        order = 2 if name == "unipc2" else 3
        sampler = SAMPLERS["unipc"](order)
        oracle, options = "UniPCMultistepScheduler", {"solver_type": "bh2"}
    else:
        sampler, order = SAMPLERS[name](), int(name[5])
        oracle, options = "DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}
    scheduler, times = peer_scheduler(
        oracle, schedule, steps, solver_order=order, prediction_type=kind, **options
    )

    def denoise(x, t):
        return mixture(x, *schedule(t))

    x = torch.randn(4, 1, 3, 3, dtype=torch.float64)
    theirs = x
    for i, ours in enumerate(sampler(denoise, schedule, x, times, None)):
        alpha, sigma = schedule(times[i])
        clean = mixture(theirs, alpha, sigma)
        output = KINDS[kind].target(clean, (theirs - alpha * clean) / sigma, alpha, sigma)
        theirs = scheduler.step(output, scheduler.timesteps[i], theirs).prev_sample
        same(ours, theirs)
    assert i == steps - 1


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", [4, 10, 25])
@SCHEDULES
def test_euler(schedule, steps, kind):
    # Diffusers' state is x / alpha in float32, in which nothing is left of the data where alpha
    # is 5e-5: hence not from the cosine's very end. Its churn is left out: it asks the network
    # before it adds the noise, where EDM's algorithm asks after (see test_samplers.py).
    scheduler, times = peer_scheduler(
        "EulerDiscreteScheduler", schedule, steps, from_index=900, prediction_type=kind
    )
    alphas, sigmas = schedule(times)

    def denoise(x, t):
        return mixture(x, *schedule(t))

    x = torch.randn(4, 1, 3, 3, dtype=torch.float64)
    theirs = x / alphas[0]
    for i, ours in enumerate(SAMPLERS["euler"]()(denoise, schedule, x, times, None)):
        scaled = scheduler.scale_model_input(theirs, scheduler.timesteps[i])
        clean = mixture(scaled, alphas[i], sigmas[i])
        noise = (scaled - alphas[i] * clean) / sigmas[i]
        output = KINDS[kind].target(clean, noise, alphas[i], sigmas[i])
        theirs = scheduler.step(output, scheduler.timesteps[i], theirs).prev_sample
        same(ours, theirs * alphas[i + 1])


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", [4, 10, 25])
@SCHEDULES
def test_heun(schedule, steps, kind):
    # Diffusers' state is x / alpha; a step of ours is two of theirs, the last one is one.
    scheduler, times = peer_scheduler(
        "HeunDiscreteScheduler", schedule, steps, prediction_type=kind
    )
    alphas, sigmas = schedule(times)

    def denoise(x, t):
        return mixture(x, *schedule(t))

    x = torch.randn(4, 1, 3, 3, dtype=torch.float64)
    theirs, call = x / alphas[0], 0
    for i, ours in enumerate(SAMPLERS["heun"]()(denoise, schedule, x, times, None)):
        for index in (i, i + 1) if i < steps - 1 else (i,):
            scaled = scheduler.scale_model_input(theirs, scheduler.timesteps[call])
            clean = mixture(scaled, alphas[index], sigmas[index])
            noise = (scaled - alphas[index] * clean) / sigmas[index]
            output = KINDS[kind].target(clean, noise, alphas[index], sigmas[index])
            theirs = scheduler.step(output, scheduler.timesteps[call], theirs).prev_sample
            call += 1
        scale = max(1.0, float(ours.abs().max()))  # few steps from much noise overshoot
        same(ours / scale, theirs * alphas[i + 1] / scale)
