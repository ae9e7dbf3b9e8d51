r"""Laws of a fragment that is kept while the rest of a cloud is drawn.

All points of each cloud but one are known. Networks have weights that were drawn, so that nothing
is near zero; a projection is looked at in float64, the way of a sampler in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.domain import Domain, Real
from trilemma.core.noise import Noise
from trilemma.core.point_cloud import centred
from trilemma.families.diffusion import fragments
from trilemma.families.diffusion.denoiser import Denoiser
from trilemma.families.diffusion.diffusion import Diffusion
from trilemma.families.diffusion.options import (
    DiffusionSampling,
    DiffusionTraining,
    ForwardProcess,
)
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.maths.diffusion.predictions import Velocity
from trilemma.maths.diffusion.samplers import SAMPLERS
from trilemma.maths.diffusion.schedules import SCHEDULES
from trilemma.maths.diffusion.spaces import Centred
from trilemma.networks.egnn import EgnnDenoiser, EgnnForm

__all__ = ["CHECKS"]

INPAINTING = "lecture §8; Schneuing et al. 2022, arXiv:2210.13695, inpainting"
NEAREST = "lecture §8; Wang, Yu & Zhang 2022, arXiv:2212.00490"
SIZES = (6, 2, 4)
"""Points of the clouds, of which all but one are known."""
ROOM, FEATURES = 6, 2
STEPS = 8
AWAY = 3.0
"""How far from the origin the fragment is given."""


def _mask(missing: int = 0) -> Tensor:
    return torch.arange(ROOM) < torch.tensor(SIZES)[:, None] - missing


def _states(seed: int) -> Tensor:
    """Return states of the centred space, float64."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(len(SIZES), ROOM, 3 + FEATURES, generator=draw, dtype=torch.float64)
    x = x * _mask()[..., None]
    return torch.cat([centred(x[..., :3], _mask()), x[..., 3:]], -1)


def _fragment() -> Tensor:
    """Return the codes of a fragment that lies away from the origin, float64."""
    codes = _states(1)
    return torch.cat([codes[..., :3] + AWAY, codes[..., 3:]], -1) * _mask(1)[..., None]


def _rotation() -> Tensor:
    draw = torch.Generator().manual_seed(2)
    return torch.linalg.qr(torch.randn(3, 3, generator=draw, dtype=torch.float64)).Q


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    return torch.cat([x[..., :3] @ turn.T, x[..., 3:]], -1)


def _gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))


def _distances(x: Tensor) -> Tensor:
    """Return the distances of each two known points, 0 elsewhere."""
    known_mask = _mask(1)
    distances = (x[:, :, None, :3] - x[:, None, :, :3]).norm(dim=-1)
    return distances * (known_mask[:, :, None] & known_mask[:, None])


def _network() -> nn.Module:
    network = EgnnDenoiser(FEATURES, EgnnForm(width=8, layers=2))
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=draw))
    return network


@states(NEAREST, INPAINTING)
@torch.no_grad()
def projection() -> list[Law]:
    """A clean estimate becomes the nearest state with the fragment, wherever that was given."""
    clean, codes, known_mask, condition = (
        _states(0),
        _fragment(),
        _mask(1),
        Condition(points=_mask()),
    )
    project = fragments.fragment_projection(codes, known_mask)
    nearest = project(clean, condition)
    # Another state that has the fragment: the change to it is at right angles to what was taken.
    alternative = project(_states(4), condition)
    inner_products = ((nearest - clean) * (alternative - nearest)).sum((1, 2)).abs().max()
    translated_codes = torch.cat([codes[..., :3] - 5.0, codes[..., 3:]], -1)
    translated = fragments.fragment_projection(translated_codes, known_mask)(clean, condition)
    rotation = _rotation()
    project_rotated = fragments.fragment_projection(_turned(codes, rotation), known_mask)
    rotated_nearest = project_rotated(_turned(clean, rotation), condition)
    free = _mask() & ~known_mask
    return [
        equal(
            "nearest: P P y = P y", NEAREST, _gap(project(nearest, condition), nearest), 0, 1e-12
        ),
        equal("nearest: y - P y at right angles", NEAREST, float(inner_products), 0, 1e-10),
        equal("what is not known stays", NEAREST, _gap(nearest[free], clean[free]), 0, 1e-12),
        equal(
            "a translated fragment is the same", INPAINTING, _gap(translated, nearest), 0, 1e-12
        ),
        equal(
            "P(R y; R f) = R P(y; f)",
            INPAINTING,
            _gap(rotated_nearest, _turned(nearest, rotation)),
            0,
            1e-12,
        ),
    ]


@states(INPAINTING)
@torch.no_grad()
def completion() -> list[Law]:
    """At every step the mean is 0, and at the end the known points are the fragment's."""
    codes, known_mask, condition = _fragment().float(), _mask(1), Condition(points=_mask())
    free, laws, schedule = _mask() & ~known_mask, [], SCHEDULES["rectified"]
    for name, sampler in SAMPLERS.items():
        model = Diffusion(
            Denoiser(_network(), ForwardProcess(schedule, 0, Centred()), Velocity(schedule.power)),
            Domain("point-cloud", (ROOM, 3 + FEATURES), Real()),
            training=DiffusionTraining(label_dropout=0.0),
            sampling=DiffusionSampling(sampler(), STEPS),
        )
        ends = []
        for seed in (0, 1):
            start = model.space_of(condition).normal(Noise.of(seed, len(SIZES)), codes.shape[1:])
            project = fragments.fragment_projection(codes, known_mask)
            trajectory = model.trajectory(
                start, model.times(), condition, Noise.of(9, len(SIZES)), project
            )
            states = [step.state for step in trajectory]
            ends.append(states[-1])
        worst = max(float(state[..., :3].sum(1).abs().max()) for state in states)
        distance_gap = _gap(_distances(ends[-1]), _distances(codes))
        feature_gap = _gap(ends[-1][..., 3:][known_mask], codes[..., 3:][known_mask])
        laws += [
            equal(f"mean of a cloud on its way, {name}", INPAINTING, worst, 0, 1e-4),
            equal(f"distances of known points, {name}", INPAINTING, distance_gap, 0, 1e-4),
            equal(f"features of known points, {name}", INPAINTING, feature_gap, 0, 1e-4),
            at_most(
                f"other noise, another rest, {name}",
                INPAINTING,
                -_gap(ends[0][free], ends[1][free]),
                0.0,
                -1e-2,
            ),
        ]
    return laws


@states(INPAINTING)
@torch.no_grad()
def frame() -> list[Law]:
    """A completion lies in the frame of the fragment, and nothing but a translation is done."""
    kinds = torch.ones(len(SIZES), ROOM, 1, dtype=torch.float64)
    samples, fragment = (
        torch.cat([x[..., :3], kinds], -1) * mask[..., None]
        for x, mask in ((_states(5), _mask()), (_fragment(), _mask(1)))
    )
    known_mask, mask = _mask(1), _mask()
    free = mask & ~known_mask
    # What is drawn has the fragment already, elsewhere: then all distances stay.
    translated = torch.cat([fragment[..., :3] - AWAY / 2, fragment[..., 3:]], -1)
    samples = torch.where(known_mask[..., None], translated, samples)
    completed = fragments.in_frame(samples, fragment, known_mask)
    pairs = mask[:, :, None] & mask[:, None]
    distances_before, distances_after = (
        (x[:, :, None, :3] - x[:, None, :, :3]).norm(dim=-1) * pairs for x in (samples, completed)
    )
    shift = (completed - samples)[free][:, :3]
    return [
        equal(
            "known points lie where they were given",
            INPAINTING,
            _gap(completed[known_mask], fragment[known_mask]),
            0,
            0,
        ),
        equal(
            "distances within a moved cloud",
            INPAINTING,
            _gap(distances_after, distances_before),
            0,
            1e-12,
        ),
        equal(
            "a cloud is moved with its fragment",
            INPAINTING,
            _gap(shift, torch.full_like(shift, AWAY / 2)),
            0,
            1e-12,
        ),
    ]


CHECKS: tuple[Check, ...] = (projection, completion, frame)
