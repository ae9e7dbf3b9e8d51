r"""Laws of point clouds: symmetry of networks, of codes and of densities; degrees of freedom.

Everything is done on small clouds in float64, with networks whose weights are large enough that
nothing is as symmetric as it should be by being nearly zero.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.domain import Domain, Real
from trilemma.core.noise import Noise
from trilemma.core.point_cloud import centred
from trilemma.families import point_cloud_vae
from trilemma.families.diffusion import diffusion as diffusions
from trilemma.families.diffusion.denoiser import Denoiser
from trilemma.families.diffusion.options import (
    DiffusionSampling,
    DiffusionTraining,
    ForwardProcess,
)
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.maths.diffusion import spaces
from trilemma.maths.diffusion.predictions import Clean
from trilemma.maths.diffusion.samplers import SAMPLERS
from trilemma.maths.diffusion.schedules import SCHEDULES
from trilemma.networks import egnn

__all__ = ["CHECKS"]

PAPER = "lecture §8; Xu, Powers, Dror, Ermon & Leskovec 2023, section 3"
EGNN = "lecture §8; Garcia Satorras, Hoogeboom & Welling 2021, section 3.1"
SPACE = "lecture §8; Köhler, Klein & Noé 2020"
BOUND = "lecture §8; Hoogeboom et al. 2022, eq. 16"
SIZES = (6, 2, 4)
"""Points of the clouds."""
ROOM, FEATURES, KINDS = 6, 2, 3
FORM = egnn.EgnnForm(width=8, layers=2, pairs=6, basis=5, is_normed=True)


def _generator(name: int) -> torch.Generator:
    return torch.Generator().manual_seed(name)


def _mask() -> Tensor:
    return torch.arange(ROOM) < torch.tensor(SIZES)[:, None]


def _clouds(seed: int = 0, columns: int = FEATURES) -> tuple[Tensor, Tensor]:
    """Return positions and features, zeros where there is no point."""
    draw, is_present = _generator(seed), _mask()[..., None]
    x = torch.randn(len(SIZES), ROOM, 3, generator=draw, dtype=torch.float64) * is_present
    h = torch.randn(len(SIZES), ROOM, columns, generator=draw, dtype=torch.float64) * is_present
    return x, h


def _motion(seed: int = 1, *, reflects: bool = False) -> tuple[Tensor, Tensor]:
    """Return a rotation, or one with a reflection, and a translation."""
    draw = _generator(seed)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=draw, dtype=torch.float64)).Q
    rotation = rotation * torch.linalg.det(rotation).sign()
    return -rotation if reflects else rotation, torch.randn(3, generator=draw, dtype=torch.float64)


def _loud(network: nn.Module, seed: int = 2) -> nn.Module:
    """Give a network weights of a size at which nothing is linear."""
    draw = _generator(seed)
    network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
            parameter.add_(0.3 * noise)
    return network


def _moved(x: Tensor, turn: Tensor, shift: Tensor) -> Tensor:
    return (x @ turn.T + shift) * _mask()[..., None]


def _gap(a: Tensor, b: Tensor) -> float:
    with torch.no_grad():
        return float((a - b).abs().max() / b.abs().max().clamp_min(1e-12))


@states(EGNN)
def equivariance() -> list[Law]:
    """Networks turn as clouds turn, are moved where they should, and know no order."""
    network = _loud(egnn.Egnn(FEATURES, FEATURES, FORM))
    x, h = _clouds()
    out, features = network(x, h, _mask())
    laws = []
    for reflects, what in ((False, "rotated and translated"), (True, "reflected")):
        rotation, shift = _motion(reflects=reflects)
        moved, moved_features = network(_moved(x, rotation, shift), h, _mask())
        laws += [
            equal(
                f"positions of clouds {what}",
                EGNN,
                _gap(moved, _moved(out, rotation, shift)),
                0,
                1e-10,
            ),
            equal(f"features of clouds {what}", EGNN, _gap(moved_features, features), 0, 1e-10),
        ]
    order = torch.tensor([1, 0, 2, 3, 4, 5])
    swapped, swapped_features = network(x[:, order], h[:, order], _mask())
    laws.append(
        equal(
            "points in another order",
            EGNN,
            _gap(swapped, out[:, order]) + _gap(swapped_features, features[:, order]),
            0,
            1e-10,
        )
    )
    filled = x + (~_mask())[..., None] * 7.0
    filled_out, filled_features = network(filled, h + (~_mask())[..., None] * 3.0, _mask())
    laws.append(
        equal(
            "what is no point changes nothing",
            EGNN,
            _gap(filled_out, out) + _gap(filled_features, features),
            0,
            1e-10,
        )
    )
    return laws


@states(PAPER)
@torch.no_grad()
def noise() -> list[Law]:
    """The network's noise is rotated and never translated, whatever the slide's last line says."""
    network = _loud(egnn.EgnnDenoiser(FEATURES, FORM))
    x, h = _clouds()
    condition, clock = Condition(points=_mask()), torch.tensor([-1.0, 0.5, 2.0]).double()
    rotation, shift = _motion()
    plain = network(torch.cat([x, h], -1), clock, condition)
    moved = network(torch.cat([_moved(x, rotation, shift), h], -1), clock, condition)
    turned = torch.cat([plain[..., :3] @ rotation.T, plain[..., 3:]], -1)
    slide = torch.cat([_moved(plain[..., :3], rotation, shift), plain[..., 3:]], -1)
    errors = (moved - slide).detach()[..., :3][_mask()].norm(dim=1)
    return [
        equal("eps(R x + t, h) = (R eps_x, eps_h)", PAPER, _gap(moved, turned), 0, 1e-10),
        equal(
            "the slide's R eps + t errs by |t|",
            PAPER,
            float(errors.mean()),
            float(shift.norm()),
            1e-9,
        ),
        equal(
            "the mean of the noise of each cloud",
            PAPER,
            float(plain[..., :3].sum(1).abs().max()),
            0,
            1e-10,
        ),
    ]


class _Vae(point_cloud_vae.PointCloudVae):
    """An autoencoder with weights that were drawn, in float64."""

    def __init__(self) -> None:
        domain = Domain("conformer", (ROOM, 4), Real(0.0, 1.5, "Å"), elements=("H", "C", "O"))
        super().__init__(
            _loud(egnn.Egnn(KINDS, FEATURES, FORM), 3),
            _loud(egnn.Egnn(FEATURES, KINDS, FORM), 4),
            domain,
            features=FEATURES,
        )
        self.double()


@states(PAPER)
def codes() -> list[Law]:
    """Encoder and decoder act on clouds as they lie, and an invariant code has lost the pose."""
    vae, (x, one_hot), (rotation, shift) = _Vae(), _clouds(5, KINDS), _motion()
    mask = _mask()
    with torch.no_grad():
        z = vae.encoded(x, one_hot, mask)
        moved = vae.encoded(_moved(x, rotation, shift), one_hot, mask)
        expected = torch.cat([_moved(z[..., :3], rotation, shift), z[..., 3:]], -1)
        decoded, scores = vae.decoder(z[..., :3], z[..., 3:], mask)
        moved_decoded, moved_scores = vae.decoder(
            _moved(z[..., :3], rotation, shift), z[..., 3:], mask
        )
        # An invariant code: distances to the middle. Two poses of a cloud have one code, so that
        # whatever is decoded errs for one of them by half of their distance at least.
        invariant = centred(x, mask).norm(dim=-1)
        moved_invariant = centred(_moved(x, rotation, shift), mask).norm(dim=-1)
    return [
        equal("E(R x + t, h) = (R z_x + t, z_h)", PAPER, _gap(moved, expected), 0, 1e-10),
        equal(
            "D(R z_x + t, z_h) = (R x + t, h)",
            PAPER,
            _gap(moved_decoded, _moved(decoded, rotation, shift)) + _gap(moved_scores, scores),
            0,
            1e-10,
        ),
        equal(
            "an invariant code of two poses is one code",
            PAPER,
            _gap(moved_invariant, invariant),
            0,
            1e-10,
        ),
        at_most(
            "…so that a pose must be carried apart: no decoder gives both back",
            PAPER,
            -float((centred(_moved(x, rotation, shift), mask) - centred(x, mask)).norm() / 2),
            0.0,
            -0.1,
        ),
    ]


@states(SPACE)
def centre() -> list[Law]:
    """The centred space is a projection; its normal density counts 3 (n - 1) coordinates."""
    mask = _mask()
    space, x = spaces.Centred(mask), torch.cat(_clouds(), -1)
    projected = space.projected(x)
    shifted = space.projected(
        torch.cat([_moved(x[..., :3], torch.eye(3).double(), _motion()[1]), x[..., 3:]], -1)
    )
    points = torch.tensor(SIZES).double()
    expected_degrees = 3 * (points - 1) + FEATURES * points
    # The trace of the projection, by what it makes of the unit vectors of all coordinates.
    size = ROOM * (3 + FEATURES)
    unit = torch.eye(size, dtype=torch.float64).view(size, ROOM, 3 + FEATURES)
    trace = torch.stack(
        [
            torch.stack(
                [(spaces.Centred(mask[i : i + 1]).projected(e[None]) * e).sum() for e in unit]
            ).sum()
            for i in range(len(SIZES))
        ]
    )
    return [
        equal("P P x = P x", SPACE, _gap(space.projected(projected), projected), 0, 1e-12),
        equal("translations drop out of it", SPACE, _gap(shifted, projected), 0, 1e-12),
        equal("degrees of freedom", SPACE, _gap(space.degrees(x), expected_degrees), 0, 1e-12),
        equal("…are the trace of the projection", SPACE, _gap(trace, expected_degrees), 0, 1e-12),
    ]


class _Gaussian(nn.Module):
    """The clean estimate of clouds of N(0, s² I) in the centred space, which is known."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        self.spread = nn.Parameter(torch.tensor(spread).double())

    def forward(self, x: Tensor, log_snr: Tensor, condition: Condition | None = None) -> Tensor:
        """Return alpha s² / (alpha² s² + sigma²) x_t, with alpha + sigma = 1."""
        ratio = (log_snr.double() / 2).exp()
        alpha, sigma = ratio / (1 + ratio), 1 / (1 + ratio)
        weight = alpha * self.spread**2 / ((alpha * self.spread) ** 2 + sigma**2)
        return (weight[:, None, None] * x.double()).to(x)


SPREAD = 0.7
FINE = 20_000
"""Steps of the bound's chain: its gap is 27 / 4 ln²(SNR) / T nats, .06 here."""


def _model(sampler: str = "ddim", steps: int = 10) -> diffusions.Diffusion:
    schedule = SCHEDULES["rectified"]
    return diffusions.Diffusion(
        Denoiser(_Gaussian(SPREAD), ForwardProcess(schedule, 0, spaces.Centred()), Clean()),
        Domain("point-cloud", (ROOM, 3 + FEATURES), Real()),
        training=DiffusionTraining(label_dropout=0.0),
        sampling=DiffusionSampling(sampler, steps),
    )


@states(SPACE)
def samples() -> list[Law]:
    """The mean of the points is 0 at every step of every sampler."""
    condition, laws = Condition(points=_mask()), []
    for name in SAMPLERS:
        model = _model(name)
        trajectory = model.trajectory(
            model.space_of(condition).normal(Noise.of(0, len(SIZES)), (ROOM, 3 + FEATURES)),
            model.times(),
            condition,
            Noise.of(1, len(SIZES)),
        )
        with torch.no_grad():
            worst = max(float(step.state[..., :3].sum(1).abs().max()) for step in trajectory)
        laws.append(equal(f"centre of mass on the way of {name}", SPACE, worst, 0, 1e-4))
    return laws


@states(BOUND)
def likelihood() -> list[Law]:
    """The bound of Gaussian clouds is below their density, near it, and the same of all poses."""
    count = 1500
    mask = _mask()[:1].expand(count, -1)[:, : SIZES[0]]
    model = _model()
    model.steps = FINE
    condition = Condition(points=mask)
    space = spaces.Centred(mask)
    x = SPREAD * space.normal(Noise.of(5, count), (SIZES[0], 3 + FEATURES)).double()
    degrees = space.degrees(x)
    exact = -x.square().sum((1, 2)) / (2 * SPREAD**2) - degrees / 2 * math.log(
        2 * math.pi * SPREAD**2
    )
    bounds = model.bound(
        x.float(), condition=condition, noise=Noise.of(6, count), draws=32
    ).double()
    gap = exact - bounds
    error = float(gap.std() / math.sqrt(count))
    rotation = _motion()[0]
    turned = torch.cat([x[..., :3] @ rotation.T, x[..., 3:]], -1)
    turned_bounds = model.bound(
        turned.float(), condition=condition, noise=Noise.of(7, count), draws=32
    ).double()
    change = (turned_bounds - bounds).mean()
    spread = float((turned_bounds - bounds).std() / math.sqrt(count))
    return [
        at_most("bound of Gaussian clouds, above ln p", BOUND, -float(gap.mean()), 0.0, 4 * error),
        at_most("…and below it, nats", BOUND, float(gap.mean()), 0.0, 0.1 + 4 * error),
        equal("p(R z_x, z_h) = p(z_x, z_h) by the bound", BOUND, float(change), 0, 4 * spread),
    ]


CHECKS: tuple[Check, ...] = (
    equivariance,
    noise,
    codes,
    centre,
    samples,
    likelihood,
)
