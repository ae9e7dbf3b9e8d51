r"""Laws of latent diffusion: its first stage, its whitening, and how a condition gets in.

Where a first stage is wanted, it is a linear one whose answers are known: E(x) = x, D(z) = A z,
on pixels of real numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.domain import Domain, Real
from trilemma.core.noise import Noise
from trilemma.families.diffusion import latent
from trilemma.families.diffusion.denoiser import Denoiser
from trilemma.families.diffusion.diffusion import Diffusion
from trilemma.families.diffusion.options import DiffusionSampling, ForwardProcess
from trilemma.families.first_stage import FirstStage
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.maths import distributions, quantisation
from trilemma.maths.diffusion.predictions import Velocity
from trilemma.maths.diffusion.schedules import SCHEDULES
from trilemma.networks import first_stage as networks
from trilemma.networks.condition_encoder import ConditionEncoder
from trilemma.networks.unet import UNet

__all__ = ["CHECKS"]

LECTURE = "lecture 6, latent diffusion; arXiv:2112.10752"
QUANTISED = "arXiv:1711.00937, section 3"
SHAPE = (2, 4, 4)


def _draws(name: str, rows: int, *shape: int) -> Tensor:
    return Noise.of(0, rows).named(name).normal(*shape).double()


def _largest(gap: Tensor) -> float:
    return float(gap.detach().abs().max())


def _codes(rows: int = 64) -> Tensor:
    """Return codes whose channels differ in mean and spread."""
    z = _draws("codes", rows, *SHAPE)
    scale = torch.tensor([3.0, 0.02], dtype=torch.float64).view(1, 2, 1, 1)
    return z * scale + torch.tensor([-5.0, 7.0], dtype=torch.float64).view(1, 2, 1, 1)


class _Twice(nn.Module):
    """E of the linear first stage: mean x, and log-variance -4, of the kl regulariser."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, torch.full_like(x, -4.0)], dim=1)


def _model() -> latent.LatentDiffusion:
    """Return a linear first stage with a diffusion that has learnt nothing."""
    domain = Domain("image", SHAPE, Real())
    mixing = nn.Conv2d(2, 2, 1)
    with torch.no_grad():
        mixing.weight.copy_(torch.tensor([[1.0, 0.5], [-0.3, 2.0]])[:, :, None, None])
        mixing.bias.copy_(torch.tensor([0.1, -0.2]))  # type: ignore[union-attr]
    first = FirstStage(_Twice(), mixing, domain, SHAPE)
    schedule = SCHEDULES["cosine"]
    network = UNet(2, width=16, multipliers=(1, 2), patch=1)
    diffusion = Diffusion(
        Denoiser(network, ForwardProcess(schedule), Velocity(schedule.power)),
        domain,
        sampling=DiffusionSampling(steps=2),
    )
    return latent.LatentDiffusion(first, diffusion, domain).double()


@states(LECTURE)
def whitened() -> list[Law]:
    """Whitening gives each channel mean 0 and variance 1, and what is decoded does not change."""
    model, z = _model(), _codes()
    model.measure(z)
    y = model.whiten(z)
    plain = model.first_stage.images(z)
    gap = model.images(y) - plain
    return [
        equal("whitened codes have mean 0", LECTURE, _largest(y.mean((0, 2, 3))), 0, 1e-9),
        equal(
            "whitened codes have variance 1",
            LECTURE,
            _largest(y.var((0, 2, 3), correction=0) - 1),
            0,
            1e-9,
        ),
        equal(
            "D(whitened codes, brought back) = D(codes)",
            LECTURE,
            _largest(gap) / _largest(plain),
            0,
            1e-5,  # images are float32
        ),
    ]


@states("lecture 3; arXiv:1312.6114, appendix B")
def kl_term() -> list[Law]:
    """The regulariser is KL(q || N(0, I)) = E_q[ln q - ln p], by its closed form."""
    model, x = _model().first_stage, _draws("images", 3, *SHAPE).float()
    _, price = model._coded(x, Noise.of(1, 3))
    # E_q[ln q(z) - ln p(z)] by Gauss-Hermite points, exact for polynomials.
    log_var = -4.0
    nodes = torch.tensor([-(3.0**0.5), 0.0, 3.0**0.5], dtype=torch.float64)
    weights = torch.tensor([1.0, 4.0, 1.0], dtype=torch.float64) / 6
    mu = x.double()[..., None]
    z = mu + torch.exp(torch.tensor(log_var / 2).double()) * nodes
    ratio = distributions.log_normal(
        z, mu, torch.full_like(z, log_var)
    ) - distributions.log_normal(z, torch.zeros_like(z), torch.zeros_like(z))
    expected = (ratio * weights).sum((1, 2, 3, 4))
    return [
        equal(
            "the price of codes = E_q[ln q(z) - ln p(z)], relative",
            "lecture 3; arXiv:1312.6114, appendix B",
            _largest(price.double() / expected - 1),
            0,
            1e-5,
        )
    ]


@states(QUANTISED, "arXiv:1711.00937, appendix A.1")
def quantising() -> list[Law]:
    """Quantisation takes the nearest vector and hands the decoder's gradient on."""
    vectors, z = _draws("vectors", 12, 3), _draws("points", 40, 3)
    indices = quantisation.nearest(z, vectors)
    distances = (z[:, None] - vectors[None]).square().sum(2)
    chosen = distances.gather(1, indices[:, None])[:, 0]
    decoder = nn.Sequential(nn.Linear(3, 5), nn.SiLU(), nn.Linear(5, 2)).double()
    with torch.no_grad():
        for i, weight in enumerate(decoder.parameters()):
            weight.copy_(_draws(f"decoder {i}", 1, *weight.shape)[0])
    q = vectors[indices].requires_grad_()
    (at_vector,) = torch.autograd.grad(decoder(q).sin().sum(), q)
    code = z.clone().requires_grad_()
    through = quantisation.straight_through(code, vectors[indices])
    (at_code,) = torch.autograd.grad(decoder(through).sin().sum(), code)
    counts, sums = torch.ones(12).double(), vectors.clone()
    for _ in range(400):
        counts, sums = quantisation.moved(counts, sums, z, indices, 0.9)
    moved = quantisation.codebook(counts, sums)
    used = [k for k in range(12) if bool((indices == k).any())]
    means = torch.stack([z[indices == k].mean(0) for k in used])
    return [
        equal(
            "no vector is nearer than the chosen one",
            QUANTISED,
            _largest(chosen - distances.min(1).values),
            0,
            0,
        ),
        equal(
            "what is quantised is the vector in value",
            QUANTISED,
            _largest(through - vectors[indices]),
            0,
            1e-12,
        ),
        equal(
            "the code's gradient is the decoder's at the vector",
            QUANTISED,
            _largest(at_code - at_vector),
            0,
            1e-12,
        ),
        equal(
            "vectors become the means of what they stand for",
            "arXiv:1711.00937, appendix A.1",
            _largest(moved[used] - means),
            0,
            1e-9,
        ),
    ]


@states("arXiv:1801.03924, equation 1")
def perception() -> list[Law]:
    """The perceptual distance of an image to itself is 0, and is not of two images."""
    layers = [nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2), nn.ReLU()]
    with torch.no_grad():
        for i in (0, 2):
            for name, weight in layers[i].named_parameters():
                weight.copy_(_draws(f"layer {i} {name}", 1, *weight.shape)[0].float())
    distance = networks.Perception(layers, (1, 3), size=16)
    x, y = _draws("x", 2, 3, 8, 8).float(), _draws("y", 2, 3, 8, 8).float()
    source = "arXiv:1801.03924, equation 1"
    distance_xy = distance(x, y)
    return [
        equal("d(x, x) = 0", source, _largest(distance(x, x)), 0, 0),
        equal("d(x, y) = d(y, x)", source, _largest(distance_xy - distance(y, x)), 0, 1e-6),
        at_most(
            "d(x, y) > 0 for other images (0.01 at least)", source, 0.01, float(distance_xy.min())
        ),
    ]


@states("arXiv:2207.12598, section 3.2", LECTURE)
def condition() -> list[Law]:
    """A condition reaches the sample through cross-attention, and in no other way."""
    network = _conditional_network()
    x, log_snr = _draws("states", 3, *SHAPE).float(), torch.zeros(3)
    cond = Condition(
        tokens=torch.tensor([[1, 2], [3, 4], [5, 6]]), mask=torch.ones(3, 2, dtype=torch.bool)
    )
    unconditional, conditional = network(x, log_snr, None), network(x, log_snr, cond)
    partly_dropped = network(x, log_snr, cond.dropped(torch.tensor([True, False, True])))
    expected = torch.stack([unconditional[0], conditional[1], unconditional[2]])
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if ".answer." in name:
                weight.zero_()
    difference = network(x, log_snr, cond) - network(x, log_snr, None)
    return [
        equal(
            "a row whose condition is hidden is as one without",
            "arXiv:2207.12598, section 3.2",
            _largest(partly_dropped - expected),
            0,
            1e-5,
        ),
        at_most(
            "the condition changes the output (0.01 at least)",
            LECTURE,
            1e-2,
            _largest(conditional - unconditional),
        ),
        equal(
            "without keys and values of tau(y) it changes nothing",
            LECTURE,
            _largest(difference),
            0,
            0,
        ),
    ]


def _conditional_network() -> UNet:
    """Return a network with cross-attention in which no layer is zero."""
    context = ConditionEncoder(16, words=6, length=2, depth=1, head=16)
    network = UNet(2, width=16, multipliers=(1, 2), patch=1, context=context)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            values = _draws(name, 1, *weight.shape)[0]
            weight.copy_(values.float() * (0.5 if weight.dim() < 2 else weight[0].numel() ** -0.5))
    return network


CHECKS: tuple[Check, ...] = (whitened, kl_term, quantising, perception, condition)
