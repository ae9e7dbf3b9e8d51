"""Schedules against their definitions and against diffusers."""

from __future__ import annotations

import math

import pytest
import torch

from trilemma.maths.diffusion.schedules import (
    SCHEDULES,
    Cosine,
    Linear,
    Rectified,
    chain,
    grid,
    posterior,
    transition,
)

T = torch.linspace(0.001, 1, 1000, dtype=torch.float64)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(Linear(), "linear"), (Cosine(), "squaredcos_cap_v2")]
)
def test_tables_are_those_of_diffusers(ours, theirs):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=1000, beta_schedule=theirs)
    tables = chain(ours, 1000)
    torch.testing.assert_close(tables.betas.float(), scheduler.betas, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(tables.abar.float(), scheduler.alphas_cumprod, atol=1e-6, rtol=1e-3)


def test_linear_chain_has_the_given_betas():
    tables = chain(Linear(100, 1e-3, 0.2), 100)
    expected = torch.linspace(1e-3, 0.2, 100, dtype=torch.float64)
    torch.testing.assert_close(tables.betas, expected)
    torch.testing.assert_close(tables.alphas, 1 - expected)
    torch.testing.assert_close(tables.abar, (1 - expected).cumprod(0))
    assert tables.beta_tilde[0] == 0


def test_cosine_is_a_squared_cosine_with_its_last_beta_cut():
    alpha, _ = Cosine()(T[:-1])
    f = torch.cos((T[:-1] + 0.008) / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(alpha**2, f / math.cos(0.008 / 1.008 * math.pi / 2) ** 2)
    assert chain(Cosine(), 1000).betas[-1] == pytest.approx(0.999)


def test_rectified_is_a_straight_line():
    alpha, sigma = Rectified(last=1.0)(T)
    torch.testing.assert_close(sigma, T)
    torch.testing.assert_close(alpha, 1 - T)


@pytest.mark.parametrize("name", SCHEDULES)
def test_single_precision_agrees_with_double(name):
    for single, double in zip(SCHEDULES[name](T.float()), SCHEDULES[name](T), strict=True):
        torch.testing.assert_close(single.double(), double, atol=2e-6, rtol=2e-4)


@pytest.mark.parametrize("name", SCHEDULES)
def test_time_of_inverts_log_snr(name):
    schedule = SCHEDULES[name]
    torch.testing.assert_close(schedule.time_of(schedule.log_snr(T)), T, atol=1e-7, rtol=0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_two_transitions_make_one(name):
    schedule = SCHEDULES[name]
    r, s, t = (torch.tensor(v, dtype=torch.float64) for v in (0.2, 0.5, 0.8))
    (a, va), (b, vb), (c, vc) = (transition(schedule, *p) for p in ((r, s), (s, t), (r, t)))
    torch.testing.assert_close(a * b, c)
    torch.testing.assert_close(b**2 * va + vb, vc)


def test_posterior_ends_in_the_data():
    zero, t = torch.zeros((), dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    of_state, of_clean, variance = posterior(Linear(), zero, t)
    assert (float(of_state), float(variance)) == (0, 0)
    assert float(of_clean) == pytest.approx(1)


def test_grid_falls_from_one_to_zero():
    assert grid(4).tolist() == [1, 0.75, 0.5, 0.25, 0]
