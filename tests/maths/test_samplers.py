"""Samplers: what they ask for, what they yield, and Euler's and Heun's churn by the book.

Diffusers' own steps are in test_diffusers_oracle.py, what comes out in the laws of samplers.
"""

from __future__ import annotations

import math

import pytest
import torch

from trilemma.maths.diffusion.samplers import SAMPLERS, Ancestral, Ddim, Euler, Heun
from trilemma.maths.diffusion.sampling_grids import GRIDS, grid
from trilemma.maths.diffusion.schedules import SCHEDULES, Cosine, Linear, Rectified, transition


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


@pytest.mark.parametrize("steps", [1, 2, 10, 20])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_state_for_each_step_and_as_many_calls_as_stated(name, steps):
    sampler, times_asked = SAMPLERS[name](), []
    inner = mixture(Cosine())

    def denoise(x, t):
        times_asked.append(float(t))
        return inner(x, t)

    x = torch.randn(5, dtype=torch.float64)
    times = grid(Cosine(), steps, sampler.grid)
    states = list(sampler(denoise, Cosine(), x, times, lambda: torch.randn(5).double()))
    assert len(states) == steps
    assert len(times_asked) == steps * sampler.calls - (sampler.calls - 1)
    assert min(times_asked) > 0
    assert times_asked == sorted(times_asked, reverse=True)
    assert SAMPLERS[name]().grid in GRIDS


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("schedule", [*SCHEDULES.values(), Rectified(last=1.0)], ids=str)
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_last_state_is_the_last_clean_estimate(name, schedule, kind):
    """Also where the way begins at pure noise, whose log-SNR is minus infinity."""
    estimates = []

    def denoise(x, t):
        estimates.append(torch.tanh(x) + t)
        return estimates[-1]

    x = torch.randn(4, 2, dtype=torch.float64)
    way = SAMPLERS[name]()(denoise, schedule, x, grid(schedule, 7, kind), lambda: 0.1 * x)
    *states, last = way
    torch.testing.assert_close(last, estimates[-1], atol=1e-12, rtol=1e-12)
    assert all(state.isfinite().all() for state in states)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_keeps_nothing_between_calls(name):
    """Two ways taken by turns with one sampler are those taken one after another."""
    sampler, schedule = SAMPLERS[name](), Linear()
    times = grid(schedule, 8, sampler.grid)
    starts = torch.randn(2, 5, dtype=torch.float64)

    def way(x):
        return sampler(mixture(schedule), schedule, x, times, lambda: x)

    alone = [list(way(x)) for x in starts]
    together = list(zip(*(way(x) for x in starts), strict=True))
    for step, pair in enumerate(together):
        for which, state in enumerate(pair):
            assert torch.equal(state, alone[which][step])


@pytest.mark.parametrize("name", SAMPLERS)
def test_states_keep_their_type_and_the_first_is_left_alone(name):
    x = torch.randn(3, 2)
    before = x.clone()
    states = list(
        SAMPLERS[name]()(lambda x, t: 0.5 * x, Linear(), x, grid(Linear(), 4), lambda: x)
    )
    assert all(state.dtype == torch.float32 for state in states)
    assert torch.equal(x, before)
    assert len({state.data_ptr() for state in states}) == 4  # a kept state is not overwritten


def test_without_noise_a_sampler_is_a_function_of_its_first_state():
    x = torch.randn(5, dtype=torch.float64)

    def none():
        raise AssertionError("asked for noise")

    for name in SAMPLERS:
        if name != "ancestral":
            list(SAMPLERS[name]()(mixture(Cosine()), Cosine(), x, grid(Cosine(), 5), none))


@pytest.mark.parametrize("name", ["euler", "heun"])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_churn_is_the_algorithm_of_edm(name, schedule):
    """Karras et al., algorithm 2, as it stands there: in y = x / alpha and noise levels."""
    steps, churn, lowest, highest, inflate = 12, 9.0, 0.05, 30.0, 1.007
    times = grid(schedule, steps, "karras")
    alpha, sigma = schedule(times)
    level = (sigma / alpha).tolist()
    draw = torch.randn(steps, 6, dtype=torch.float64)
    denoise = mixture(schedule)

    def estimate(y, noise_level):
        t = schedule.time_of(torch.tensor(-2 * math.log(noise_level)))
        return denoise(schedule(t)[0] * y, t)

    y = torch.randn(6, dtype=torch.float64) * level[0]
    kind, numbers = {"euler": Euler, "heun": Heun}[name], iter(draw)
    sampler = kind(churn=churn, lowest=lowest, highest=highest, inflate=inflate)
    way = sampler(denoise, schedule, alpha[0] * y, times, lambda: next(numbers))
    book, churned = iter(draw), 0
    for i, ours in enumerate(way):
        gamma = min(churn / steps, math.sqrt(2) - 1) if lowest <= level[i] <= highest else 0.0
        lifted = level[i] + gamma * level[i]
        if gamma > 0:
            y = y + math.sqrt(lifted**2 - level[i] ** 2) * inflate * next(book)
            churned += 1
        slope = (y - estimate(y, lifted)) / lifted
        ahead = y + (level[i + 1] - lifted) * slope
        if name == "heun" and level[i + 1] > 0:
            second = (ahead - estimate(ahead, level[i + 1])) / level[i + 1]
            ahead = y + (level[i + 1] - lifted) * (slope + second) / 2
        y = ahead
        torch.testing.assert_close(ours, alpha[i + 1] * y, atol=1e-7, rtol=1e-7)
    assert 0 < churned < steps


def test_churn_does_not_leave_the_schedule():
    times_asked = []

    def denoise(x, t):
        times_asked.append(float(t))
        return 0 * x

    x = torch.randn(3, dtype=torch.float64)
    list(Euler(churn=100)(denoise, Rectified(), x, grid(Rectified(), 5), lambda: x))
    assert max(times_asked) <= 1


def test_a_given_variance_is_that_of_the_step():
    """With the chain's own upper variance, sigma_ts^2, for one; asked after each estimate."""
    schedule, x = Linear(), torch.randn(4, 2, dtype=torch.float64)
    times, times_asked = grid(schedule, 10), []

    def denoise(x, t):
        times_asked.append(("clean", float(t)))
        return 0.5 * x

    def variance(t, s):
        times_asked.append(("variance", float(t)))
        return transition(schedule, s, t)[1].expand(4, 1)

    z = torch.randn(4, 2, dtype=torch.float64)
    usual = list(Ancestral()(denoise, schedule, x, times, lambda: z))
    times_asked.clear()
    wider = list(Ancestral()(denoise, schedule, x, times, lambda: z, variance))
    assert times_asked[:2] == [("clean", 1.0), ("variance", 1.0)]
    assert len(times_asked) == 19  # the last step, to t = 0, has none
    upper = transition(schedule, times[1], times[0])[1].sqrt()
    mean = next(iter(Ancestral()(denoise, schedule, x, times, lambda: 0 * z)))
    torch.testing.assert_close(wider[0], mean + upper * z)
    assert not torch.allclose(usual[0], wider[0], atol=1e-6)


def test_the_others_take_a_variance_and_leave_it():
    x = torch.randn(3, dtype=torch.float64)
    times = grid(Cosine(), 4)
    for name in SAMPLERS.keys() - {"ancestral"}:
        sampler = SAMPLERS[name]()
        plain = list(sampler(mixture(Cosine()), Cosine(), x, times, lambda: x))
        states = list(sampler(mixture(Cosine()), Cosine(), x, times, lambda: x, lambda t, s: x))
        assert torch.equal(plain[-1], states[-1])


def test_eta_between_keeps_the_marginal():
    """Of data that are all 0, x_t ~ N(0, sigma_t^2), whatever eta."""
    schedule, n = Cosine(), 40_000
    times = grid(schedule, 6)[:-1]
    x = torch.randn(n, dtype=torch.float64) * schedule(times[0])[1]
    way = Ddim(0.7)(lambda x, t: 0 * x, schedule, x, times, lambda: torch.randn(n).double())
    for t, state in zip(times[1:], way, strict=True):
        assert float(state.std()) == pytest.approx(float(schedule(t)[1]), rel=0.02)
