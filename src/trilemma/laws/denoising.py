r"""Laws of what a denoiser is trained on, and of what can be asked of a trained one.

The ground is that of `diffusion`: data x ~ N(m, s^2) with the exact posterior mean. There the
probability flow is known too: it carries x to its code, at t = 1,

    x_1 = alpha_1 m + v_1 (x - m) / s,     v_1^2 = alpha_1^2 s^2 + sigma_1^2,

and ln p(x) is that of the Gaussian.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Column, Columns, Domain, Levels
from trilemma.core.noise import Noise
from trilemma.families.diffusion.bound import VariationalBound, reverse_variance
from trilemma.families.diffusion.denoiser import Denoiser
from trilemma.families.diffusion.diffusion import Diffusion
from trilemma.families.diffusion.options import DiffusionTraining, ForwardProcess
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.laws.oracles import (
    MEAN,
    POINTS,
    SPREAD,
    D,
    GaussianNetwork,
    JointCubature,
    every_prediction,
    mean_of_points,
)
from trilemma.maths.diffusion import predictions, samplers, schedules, training_times
from trilemma.maths.diffusion.spaces import Euclidean

__all__ = ["CHECKS"]

WHERE = "lecture 6; arXiv:2102.09672"
COUNT = 256
ROWS = 512
"""Levels that are weighed."""
V = 0.3
"""Of a learned variance."""
ERROR = 0.01
"""By which an erring network is off, in units of its output's spread."""
TRUTH = float(-(0.5 + 0.5 * math.log(2 * math.pi) + SPREAD.log()).sum())
"""E ln p(x) of the Gaussian, nats."""


def _model(
    schedule: schedules.Schedule | None = None,
    *,
    chain: int = 1000,
    variance: str = "posterior",
    **options: Any,  # noqa: ANN401
) -> Diffusion:
    """Return the perfect denoiser of Gaussian points, trained by these options."""
    process = ForwardProcess(schedule or schedules.Cosine(), chain)
    return Diffusion(
        Denoiser(GaussianNetwork(), process, predictions.NoisePrediction(), variance=variance),
        POINTS,
        training=DiffusionTraining(**options),
    )


@states(WHERE, "arXiv:2206.00364, table 1")
def drawing() -> list[Law]:
    """Times of another density, weighted by what they lack, leave a mean as it was."""
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    laws, schedule = [], schedules.Linear()
    for chain in (50, 0):
        t, weight = training_times.importance(u, schedule, chain)
        uniform_times = training_times.uniform(u.float(), chain)
        a, b = (float((value**2).double().mean()) for value in (uniform_times, t * weight.sqrt()))
        name = f"importance-sampled times, {f'chain of {chain}' if chain else 'continuous'}"
        mean = float(weight.double().mean())
        laws.append(equal(f"{name}: E[1/p] = 1", WHERE, mean, 1, 1e-3))
        laws.append(equal(f"{name}: E[t^2 / p] = E_uniform[t^2]", WHERE, b, a, 1e-3))
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)
    gap = 0.0
    for noise_schedule in (schedules.Cosine(), schedules.Rectified()):
        level = -noise_schedule.log_snr(training_times.log_normal(z, noise_schedule)) / 2
        gap = max(gap, float((level - (1.2 * z - 1.2)).abs().max()))
    name = "log-normal times: ln(sigma / alpha) = -1.2 + 1.2 z"
    laws.append(equal(name, "arXiv:2206.00364, table 1", gap, 0, 2e-3))
    return laws


@states("arXiv:2303.09556")
def weighted() -> list[Law]:
    """No weight of min-SNR is above the paper's 5, and below it is the noise's."""
    model, t = _model(weighting="min-snr"), torch.linspace(0.05, 1, 40)
    alpha, sigma = schedules.Cosine()(t.double())
    snr = (alpha / sigma) ** 2
    gap = float((model._weight(t).double() - snr.clamp(max=5)).abs().max())
    return [equal("min-SNR: w = min(SNR, 5)", "arXiv:2303.09556", gap, 0, 1e-4)]


@states(WHERE)
def variances() -> list[Law]:
    """A learned variance is between the posterior's and the chain's, and costs as the KL does."""
    schedule, template = schedules.Cosine(), torch.zeros(1, D, dtype=torch.float64)
    s, t = (torch.tensor(v, dtype=torch.float64) for v in (0.39, 0.4))
    tilde = schedules.posterior(schedule, s, t)[2]
    _, beta = schedules.transition(schedule, s, t)
    laws = []
    for v, expected, name in ((0.0, tilde, "beta~"), (1.0, beta, "beta")):
        interpolation = torch.full_like(template, v)
        variance = reverse_variance(schedule, s, t, "learned", interpolation, template)
        gap = float((variance / expected - 1).abs().max())
        laws.append(equal(f"learned variance at v = {v:g} is {name}", WHERE, gap, 0, 1e-9))
    x, clean = torch.randn(2, 5, D, generator=torch.Generator().manual_seed(0)).double()
    learned = VariationalBound(schedule, POINTS, Euclidean(), 100, "learned", "time")
    cost = learned.divergence(x, clean, s, t, torch.zeros_like(x))
    snr = [(a / b) ** 2 for a, b in (schedule(s), schedule(t))]
    closed_form = (snr[0] - snr[1]) / 2 * (x - clean) ** 2
    name = "L_{t-1} with S = beta~ = (SNR_{t-1} - SNR_t) / 2 |x - xhat|^2"
    laws.append(equal(name, WHERE, float((cost - closed_form).abs().max()), 0, 1e-8))
    best = learned.divergence(x, x, s, t, torch.zeros_like(x)).abs().max()
    laws.append(equal("L_{t-1} = 0 at the posterior itself", WHERE, float(best), 0, 1e-9))
    noise = JointCubature()
    upper = _model(chain=200, variance="upper").bound_terms(noise.x, noise=noise)
    name = "bound with S = beta <= E ln p(x)"
    laws.append(at_most(name, WHERE, -float(upper.sum(1).mean()), TRUTH))
    return laws


@states("arXiv:2011.13456, 4.3")
def flow() -> list[Law]:
    """The probability flow of the exact denoiser is the Gaussian's, there and back."""
    where = "arXiv:2011.13456, 4.3"
    model, x = _model(), (MEAN + SPREAD * torch.tensor([[1.0, -1.0], [-0.4, 0.9]])).float()
    truncated = schedules.Linear(last=0.01)  # ends early, so that alpha_1 m is not next to nothing
    alpha, sigma = truncated(torch.ones((), dtype=torch.float64))
    v = (alpha**2 * SPREAD**2 + sigma**2).sqrt()
    exact = alpha * MEAN + v * (x - MEAN) / SPREAD
    noise = JointCubature()
    return [
        equal(
            "code of x = alpha_1 m + v_1 (x - m) / s",
            where,
            _gap(_model(truncated).encode(x), exact),
            0,
            5e-3,
        ),
        equal("decode(encode(x)) = x", where, _gap(model.decode(model.encode(x)), x), 0, 5e-3),
        equal(
            "ln p(x) by the flow's density, in mean = -entropy",
            where,
            float(model.ode_log_prob(noise.x, noise=noise).mean()),
            TRUTH,
            0.03,
        ),
    ]


class _Erring(torch.nn.Module):
    """A network for standard normal data that errs, as trained ones do, at all noise levels.

    It is off by e in the second half of the rows, and exact in the first.

    Its clean estimate is alpha x_t / (alpha^2 + sigma^2), in the words of a prediction.
    """

    def __init__(self, schedule: schedules.Schedule, prediction: predictions.Prediction) -> None:
        super().__init__()
        self.power, self.prediction = schedule.power, prediction
        self.error = torch.nn.Parameter(torch.tensor([[0.0]] * 4 + [[ERROR]] * 4))

    def forward(self, x: Tensor, log_snr: Tensor, condition: object) -> Tensor:
        share = (self.power * log_snr.double() / 2).sigmoid()[:, None]
        alpha, sigma = share ** (1 / self.power), (1 - share) ** (1 / self.power)
        x_t = x.double() / self.prediction.scale(alpha, sigma)
        clean = alpha * x_t / (alpha**2 + sigma**2)
        noise = (x_t - alpha * clean) / sigma
        return (self.prediction.target(clean, noise, alpha, sigma) + self.error).float()


@states(WHERE)
@torch.no_grad()
def erring() -> list[Law]:
    """A network's small error is a small error of samples, of codes and of their way back."""
    laws, row_pairs = [], torch.arange(4).repeat(2)
    x = Noise.of(1, 4).reordered(row_pairs).normal(D)
    for name in every_prediction(schedules.Cosine()):
        errors = {"samples": 0.0, "codes and their way back": 0.0}
        for schedule in schedules.SCHEDULES.values():
            prediction = every_prediction(schedule)[name]
            network = _Erring(schedule, prediction)
            model = Diffusion(Denoiser(network, ForwardProcess(schedule), prediction), POINTS)
            samples = []
            for sampler in samplers.SAMPLERS.values():
                view = model.adjusted(sampler=sampler(), steps=10)
                samples.append(view.sample(8, noise=Noise.of(0, 4).reordered(row_pairs)))
            codes = [model.encode(x), model.decode(x)]
            for kind, outputs in zip(errors, (samples, codes), strict=True):
                gaps = [_gap(output[4:], output[:4]) / ERROR for output in outputs]
                errors[kind] = max(errors[kind], *gaps)
        laws += [
            at_most(f"{name} off by e: {kind} off by 20 e at most", WHERE, gap, 20)
            for kind, gap in errors.items()
        ]
    return laws


class _OfLevels(torch.nn.Module):
    """Gives the posterior mean of the noise on every k-th of L levels, all alike."""

    at: Tensor

    def __init__(self, count: int = COUNT, every: int = 1) -> None:
        super().__init__()
        self.extra = torch.nn.Parameter(torch.zeros(()))
        levels = torch.linspace(-1, 1, count, dtype=torch.float64)[::every]
        self.register_buffer("at", levels)

    def forward(self, x: Tensor, log_snr: Tensor, condition: object) -> Tensor:
        alpha, sigma = (torch.sigmoid(s * log_snr.double()).sqrt()[:, None] for s in (1, -1))
        y = x.double()
        clean = mean_of_points(y, self.at, alpha, sigma)
        return ((y - alpha * clean) / sigma).float() + self.extra * x


@states("arXiv:2011.13456, 4.3")
def flow_of_levels() -> list[Law]:
    """The flow of the exact denoiser of known levels is never below their entropy."""
    where = "arXiv:2011.13456, 4.3"
    domain = Domain("points", (1,), Levels(COUNT))
    process = ForwardProcess(schedules.Linear(), chain=0)
    model = Diffusion(Denoiser(_OfLevels(), process, predictions.NoisePrediction()), domain)
    x = torch.arange(COUNT, dtype=torch.uint8)[:, None]
    nats = model.ode_log_prob(x, noise=Noise.of(0, COUNT))
    bits = -nats / math.log(2)
    error = float(bits.std()) / math.sqrt(COUNT)
    subset_nats = model.ode_log_prob(x[:3], noise=Noise.of(0, COUNT)[:3])
    return [
        at_most(
            "entropy of 256 levels <= bits of the flow of their denoiser",
            where,
            8.0,
            float(bits.mean()) + 0.005 + 2 * error,
        ),
        at_most("and by little", where, float(bits.mean()), 8.1 + 2 * error),
        equal(
            "ln p(x) by the flow does not depend on the batch",
            where,
            _gap(subset_nats, nats[:3]),
            0,
            1e-4,
        ),
    ]


@states(WHERE)
def fineness() -> list[Law]:
    """Of levels with gaps between them, chain and flow begin at a noise that tells them apart.

    Every other level is as likely as any of them. What a chain begins at is decoded by a normal
    distribution as wide as its noise: were it as wide as a bin, a half of it would lie in gaps.
    """
    laws = []
    column = Columns((Column("whole", location=8.5, spread=8.0, count=17),))
    cases = ((Levels(256), 256, 0), (Levels(17), 17, 0), (Levels(17), 17, 1000), (column, 17, 0))
    for values, count, chain in cases:
        domain, levels = Domain("points", (1,), values), range(0, count, 2)
        network, process = _OfLevels(count, 2), ForwardProcess(schedules.Linear(), chain)
        model = Diffusion(Denoiser(network, process, predictions.NoisePrediction()), domain)
        x = torch.tensor(levels, dtype=torch.uint8)[:, None].repeat(ROWS // len(levels), 1)
        x = x.float() if values is column else x
        noise, entropy = Noise.of(0, len(x)), math.log2(len(levels))
        time = f"chain of {chain}" if chain else "continuous time"
        time = f"a column, {time}" if values is column else time
        for kind, nats in (
            ("bound", model.bound(x, noise=noise[:], draws=64)),
            ("flow", model.ode_log_prob(x, noise=noise[:])),
        ):
            bits = -nats.double() / math.log(2)
            error = float(bits.std()) / math.sqrt(len(bits))
            laws += [
                at_most(
                    f"{kind}, {time}: bits of every other of {count} levels <= their entropy + .2",
                    WHERE,
                    float(bits.mean()),
                    entropy + 0.2 + 2 * error,
                ),
                at_most(
                    f"{kind}, {time}: entropy of every other of {count} levels <= its bits",
                    WHERE,
                    entropy,
                    float(bits.mean()) + 0.005 + 2 * error,
                ),
            ]
    return laws


class _Doubtful(GaussianNetwork):
    """The perfect network, with one v of the learned variance for all."""

    def forward(self, x: Tensor, log_snr: Tensor, condition: Condition | None) -> Tensor:
        output = super().forward(x, log_snr, condition)
        return torch.cat([output, torch.full_like(output, math.log(V / (1 - V)))], dim=1)


@states("arXiv:2102.09672, equation 16")
def hybrid() -> list[Law]:
    """With learned variances the loss is L_simple + .001 (L_1 + … + L_{T-1}) / D."""
    laws, schedule = [], schedules.Linear()
    for steps in (25, 100):
        noise = JointCubature(copies=steps)
        process = ForwardProcess(schedule, steps)
        prediction = predictions.NoisePrediction()
        model = Diffusion(Denoiser(_Doubtful(), process, prediction, variance="learned"), POINTS)
        loss = float(model.loss(Examples(noise.x, noise=noise)).value.detach())
        t = torch.arange(1, steps + 1, dtype=torch.float64)[:, None] / steps
        alpha, sigma = schedule(t)
        spread = alpha**2 * SPREAD**2 + sigma**2
        simple = (alpha**2 * SPREAD**2 / spread).mean()
        _, of_clean, tilde = schedules.posterior(schedule, t[:-1], t[1:])
        _, beta = schedules.transition(schedule, t[:-1], t[1:])
        learned_variance = beta**V * tilde ** (1 - V)
        error = (SPREAD**2 * sigma**2 / spread)[1:]
        terms = (
            tilde / learned_variance
            - 1
            - (tilde / learned_variance).log()
            + of_clean**2 * error / learned_variance
        ) / 2
        weight = (loss - float(simple)) * D / float(terms.sum())
        name = f"weight of L_1 + … + L_{{T-1}} in the hybrid loss, T = {steps}"
        laws.append(equal(name, "arXiv:2102.09672, equation 16", weight, 1e-3, 2e-5))
    return laws


@states(WHERE, "arXiv:2010.02502, 5.3", "arXiv:2108.01073")
def edited() -> list[Law]:
    """A completion keeps what is known, and a way between two examples begins and ends at them."""
    model, generator = _model().adjusted(steps=10), torch.Generator().manual_seed(0)
    x, y = (MEAN + SPREAD * torch.randn(2, 6, D, generator=generator)).float()
    known_mask = torch.tensor([True, False]).expand(6, D)
    completed = model.complete(x, known_mask, noise=Noise.of(0, 6))
    unconstrained = model.complete(x, torch.zeros_like(known_mask), noise=Noise.of(0, 6))
    interpolation = model.between(x, y, 3)
    difference = model.edit(x, 1.0, noise=Noise.of(0, 6)) - model.sample(6, noise=Noise.of(0, 6))
    return [
        equal("a completion keeps what is known", WHERE, _gap(completed[:, 0], x[:, 0]), 0, 0),
        equal(
            "with nothing known it is a sample",
            WHERE,
            _gap(unconstrained, model.sample(6, noise=Noise.of(0, 6))),
            0,
            1e-6,
        ),
        equal(
            "the way between two examples begins and ends at them",
            "arXiv:2010.02502, 5.3",
            max(_gap(interpolation[0], x), _gap(interpolation[-1], y)),
            0,
            5e-3,
        ),
        equal(
            "an edit of strength 1 keeps nothing: it is a sample",
            "arXiv:2108.01073",
            float(difference.abs().max()),
            0,
            1e-2,
        ),
    ]


def _gap(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).abs().max())


CHECKS: Sequence[Check] = (
    drawing,
    weighted,
    variances,
    flow,
    erring,
    flow_of_levels,
    fineness,
    hybrid,
    edited,
)
