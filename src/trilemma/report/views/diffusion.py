r"""Models that exchange data for noise: both ways, the score, the number of steps, the bound.

Time t runs from 0 (data) to 1 (noise), and the noise of every picture is fixed, so that two
reports differ by what was learnt alone.

    forward chain     x_t = alpha_t x + sigma_t eps
    reverse chain     x_t on the way of `sample`, and what is expected of it, E[x | x_t]
    score field       grad ln p_t(x_t), on the plane
    few or many steps the same noise, sampled in 5, 10, 20 and 50 steps
    bound             L_0 + (L_1 + … + L_{T-1}) + L_T >= -ln p(x), over the log-SNR
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.model import (
    Adjustable,
    BoundTimed,
    Estimating,
    Gradual,
    Noising,
    Restoring,
    Scored,
    Termwise,
)
from trilemma.core.noise import Noise
from trilemma.core.words import brief
from trilemma.pictures import charts, point_clouds, scatter
from trilemma.pictures.image_strips import strips
from trilemma.report.model_view import ACROSS, EXAMPLES, POINTS, Subject
from trilemma.report.page import Picture
from trilemma.report.view import View

__all__ = ["VIEWS"]

STEPS = (5, 10, 20, 50)
TIMES = (0.1, 0.4, 0.8)
"""At which the score is drawn."""
ARROWS = 20
"""Along each side of the frame."""
CLOUDS = 6
"""Clouds that are drawn in few and in many steps."""
TERMS = 2
"""Test examples whose bound is drawn term by term, which takes T network calls."""
DRAWS = 60
"""Terms that are computed of a bound whose noise is known."""


def _forward(subject: Subject[Noising]) -> list[Picture]:
    """Draw test examples with ever more noise."""
    rows = subject.rows(EXAMPLES if subject.is_image else POINTS)
    x = subject.data.test.x[rows]
    frames = ACROSS if subject.is_image else 6
    states = list(subject.model.forward_path(x, frames=frames, noise=Noise.of(0, len(x))))
    times = [i / max(len(states) - 1, 1) for i in range(len(states))]
    above = [f"t = {t:.2f}" for t in times]
    if subject.is_image:
        lines = [torch.stack([s[i] for s in states]) for i in range(len(x))]
        image = strips(lines, subject.levels, column_labels=above)
    else:
        frame = scatter.frame_of(*states)
        image = scatter.clouds([states], frame, column_labels=above, family=subject.family)
    caption = "Test examples, and the same with ever more noise: what the model learns to undo."
    return [Picture("the forward chain", image, caption, wide=True)]


def _reverse(subject: Subject[Estimating]) -> list[Picture]:
    """Draw the states on the way of a sample, and what is expected of each."""
    n = EXAMPLES - 1 if subject.is_image else POINTS
    condition = None
    if isinstance(subject.model, Restoring):
        condition = subject.condition(subject.rows(n))
        n = min(n, len(subject.data.test))
    frames = ACROSS if subject.is_image else 6
    trajectory = subject.model.estimates(
        n, frames=frames, condition=condition, noise=Noise.for_samples(0, 0, n)
    )
    above = [f"t = {t:.2f}" for t, _, _ in trajectory]
    names = ("xₜ", "E[x | xₜ]")
    if subject.is_image:
        chains = [
            torch.stack([s[1] for s in trajectory], 1),
            torch.stack([s[2] for s in trajectory], 1),
        ]
        lines = [chain[i] for i in range(n) for chain in chains]
        image = strips(
            lines, subject.levels, row_labels=names * n, column_labels=above, together=2
        )
    else:
        lines = [[s[1] for s in trajectory], [s[2] for s in trajectory]]
        frame = scatter.frame_of(*lines[0], subject.data.test.x[:POINTS])
        image = scatter.clouds(
            lines, frame, row_labels=names, column_labels=above, family=subject.family
        )
    caption = (
        "Above the state on the way from noise to a sample, below what the model expects of it: "
        "the mean of all data that could lie behind, blurred while much is open."
    )
    return [
        Picture("the reverse chain, and what is expected on the way", image, caption, wide=True)
    ]


def _score(subject: Subject[Scored]) -> list[Picture]:
    """Draw the score field of the plane at some times, over the density of the noisy data."""
    model, domain = subject.model, subject.domain
    if domain.dimensions != 2:
        return []
    x = subject.data.train.x[: 2 * POINTS]
    states = model.forward_path(x, frames=11, noise=Noise.of(0, len(x)))
    scaled = [domain.values.scale(states[round(10 * t)]) for t in TIMES]
    frame = scatter.frame_of(*scaled)
    across, up = (torch.linspace(frame[i], frame[i + 1], ARROWS + 2)[1:-1] for i in (0, 2))
    grid_points = torch.cartesian_prod(across, up)
    panels = [
        scatter.ArrowField(f"t = {t:g}", points, grid_points, model.score_field(grid_points, t))
        for t, points in zip(TIMES, scaled, strict=True)
    ]
    caption = (
        "∇ ln pₜ as learnt (arrows) over the density of data with the noise of time t (green); "
        "each panel has its own scale of length."
    )
    return [Picture("the score field", scatter.fields(panels, frame), caption, wide=True)]


def _few_or_many(subject: Subject[Adjustable]) -> list[Picture]:
    """Draw samples of the same noise in few and in many steps."""
    if "steps" not in {option.name for option in dataclasses.fields(subject.model.sampling)}:
        return []
    in_space = subject.domain.kind in ("conformer", "point-cloud")
    n = CLOUDS if in_space else 8 if subject.is_image else POINTS
    condition = None
    if isinstance(subject.model, Restoring):
        n = min(n, len(subject.data.test))
        condition = subject.condition(subject.rows(n))
    samples_by_steps: dict[int, Tensor] = {}
    for steps in STEPS:
        try:
            model = subject.model.adjusted(steps=steps)
        except BadInput:  # more than this sampler's schedule has
            continue
        samples_by_steps[steps] = model.sample(
            n, condition=condition, noise=Noise.for_samples(0, 0, n)
        )
    if len(samples_by_steps) < 2:
        return []
    names = [f"{steps} steps" for steps in samples_by_steps]
    if in_space:
        rows = torch.cat(list(samples_by_steps.values()))
        image = point_clouds.sheet(rows, subject.domain.elements, columns=n)
        caption = f"A row each: {', '.join(names)}; the same noise in each."
        return [Picture("few or many steps", image, caption, wide=True)]
    if subject.is_image:
        image = strips(list(samples_by_steps.values()), subject.levels, row_labels=names)
    else:
        frame = scatter.frame_of(subject.data.test.x[:POINTS])
        image = scatter.clouds(
            [list(samples_by_steps.values())], frame, column_labels=names, family=subject.family
        )
    return [Picture("few or many steps", image, "The same noise in each.", wide=True)]


def _terms(subject: Subject[Termwise]) -> list[Picture]:
    """Draw the terms of the bound, over the log-SNR where it is known."""
    model = subject.model
    x, log_snr = subject.data.test.x[:TERMS], None
    if isinstance(model, BoundTimed):
        x = subject.data.test.x[: 4 * TERMS]
        log_snr, terms = model.bound_over_noise(x, draws=DRAWS, noise=Noise.of(0, len(x)))
    else:
        terms = model.bound_terms(x, noise=Noise.of(0, len(x)))
    terms = terms.double().mean(0)
    bits = terms / (math.log(2) * subject.domain.dimensions)
    bits = -bits if bits.sum() < 0 and subject.is_image else bits
    total, ends = float(bits.sum()), (float(bits[0]), float(bits[-1]))
    chart = charts.bound_terms(
        bits.tolist(),
        subject.family,
        log_snr=None if log_snr is None else log_snr.tolist(),
    )
    caption = (
        f"L₀ {brief(ends[0])}, those between {brief(total - sum(ends))}, the last "
        f"{brief(ends[1])}: together {total:.3f} bits per dimension, mean of {len(x)} test "
        "examples."
    )
    return [Picture("the bound, term by term", chart, caption)]


VIEWS = (
    View(name="forward chain", section="noise", needs=(Noising,), draw=_forward),
    View(name="reverse chain", section="noise", needs=(Estimating,), draw=_reverse),
    View(name="score field", section="noise", needs=(Scored,), kinds=("points",), draw=_score),
    View(
        name="few or many steps",
        section="noise",
        needs=(Gradual, Adjustable),
        draw=_few_or_many,
    ),
    View(name="bound by terms", section="noise", needs=(Termwise,), draw=_terms),
)
