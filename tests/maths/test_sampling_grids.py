"""Grids fall from noise to data, evenly in what they say."""

from __future__ import annotations

import math

import pytest
import torch

from trilemma.maths.diffusion.sampling_grids import GRIDS, amplitudes, grid
from trilemma.maths.diffusion.schedules import SCHEDULES, Cosine, Linear, Rectified
from trilemma.maths.diffusion.training_times import log_normal


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_times_fall_to_the_data(schedule, kind, steps):
    times = grid(schedule, steps, kind)
    assert times.dtype == torch.float64
    assert len(times) == steps + 1
    assert times[-1] == 0
    assert 0 < times[0] <= 1
    assert bool((times.diff() < 0).all())
    if kind == "uniform":
        assert times[0] == 1
        torch.testing.assert_close(times.diff(), torch.full((steps,), -1 / steps).double())


def levels(schedule, times):
    alpha, sigma = schedule(times[:-1])
    return sigma / alpha


@pytest.mark.parametrize("kind", ["log-snr", "karras"])
@pytest.mark.parametrize(
    ("schedule", "first", "last"),
    [(Linear(), 80, 0.0100005), (Cosine(), 80, 0.00643), (Rectified(), 80, 0.002)],
    ids=["linear", "cosine", "rectified"],
)
def test_levels_are_even_and_run_from_end_to_end(schedule, first, last, kind):
    computed = levels(schedule, grid(schedule, 20, kind))
    assert float(computed[0]) == pytest.approx(first)
    assert float(computed[-1]) == pytest.approx(last, rel=1e-3)
    even = computed.log() if kind == "log-snr" else computed ** (1 / 7)
    torch.testing.assert_close(even.diff(), even.diff().mean().expand(19), rtol=1e-6, atol=1e-9)


def test_the_levels_of_karras():
    """Equation 5 of the paper, at EDM's own numbers."""
    computed = levels(Rectified(last=1.0), grid(Rectified(last=1.0), 18, "karras"))
    low, high = 0.002 ** (1 / 7), 80 ** (1 / 7)
    expected = [(high + i / 17 * (low - high)) ** 7 for i in range(18)]
    assert computed.tolist() == pytest.approx(expected, rel=1e-9)


def test_log_normal_steps_are_as_dense_as_training_times():
    """As many levels as training draws lie below each level, between the ends."""
    schedule = Rectified()
    computed = levels(schedule, grid(schedule, 1001, "log-normal", most=5, least=0.01))
    t = log_normal(torch.randn(200_000, generator=torch.Generator().manual_seed(0)), schedule)
    training_levels = levels(schedule, torch.cat([t.double(), t.new_zeros(1)]))
    training_levels = training_levels[(training_levels > 0.01) & (training_levels < 5)]
    for level in (0.05, 0.2, 0.3, 1.0, 2.0):
        share = float((training_levels < level).double().mean())
        assert float((computed < level).double().mean()) == pytest.approx(share, abs=5e-3)


@pytest.mark.parametrize("kind", ["log-snr", "karras", "log-normal"])
def test_ends_can_be_moved_but_not_out_of_the_schedule(kind):
    schedule = Linear()
    computed = levels(schedule, grid(schedule, 5, kind, most=3, least=0.1))
    assert computed[[0, -1]].tolist() == pytest.approx([3, 0.1])
    wide = grid(schedule, 5, kind, most=1e9, least=0)
    assert float(wide[0]) == 1
    assert float(wide[-2]) == pytest.approx(1 / 1000)  # no noise below the chain's first step


def test_a_grid_is_the_callers_own():
    first = grid(Cosine(), 9, "karras")
    first.zero_()
    assert grid(Cosine(), 9, "karras")[0] > 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"steps": 0}, "1 or more"),
        ({"steps": 5, "kind": "even"}, "'log-snr'"),
        ({"steps": 5, "kind": "karras", "most": 0.1, "least": 0.2}, "has to fall"),
    ],
)
def test_what_is_no_grid_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        grid(Cosine(), **wrong)


def test_amplitudes_are_infinite_at_the_ends():
    alphas, sigmas, clock = amplitudes(Rectified(last=1.0), torch.tensor([1.0, 0.5, 0.0]))
    assert alphas == [0, 0.5, 1]
    assert sigmas == [1, 0.5, 0]
    assert clock == [-math.inf, 0, math.inf]
