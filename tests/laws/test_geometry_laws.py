"""The laws of point clouds hold, and each fails when the code is broken."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trilemma.families import point_cloud_vae
from trilemma.families.diffusion import bound as diffusion_bound
from trilemma.families.diffusion import diffusion
from trilemma.laws import geometry as laws
from trilemma.maths.diffusion import spaces
from trilemma.networks import egnn

LAYER, NETWORK, DENOISER = egnn.EgnnLayer.forward, egnn.Egnn.forward, egnn.EgnnDenoiser.forward
PROJECTED, TOTAL = spaces.Centred.projected, spaces.Centred.total
ENCODED = point_cloud_vae.PointCloudVae.encoded


def sees_positions(self, x, h, *rest):
    """Messages that see more than distances."""
    return LAYER(self, x, h + x.mean(-1, keepdim=True), *rest)


def sees_order(self, x, h, mask):
    index = torch.arange(x.shape[1])[None, :, None].to(x) / 10
    return NETWORK(self, x, h + index, mask)


def sees_padding(self, x, h, initial, pairs, point_mask, basis):
    everywhere = torch.ones_like(pairs), torch.ones_like(point_mask)
    return LAYER(self, x, h, initial, *everywhere, basis)


def drifts(self, x, h, mask):
    """Positions that do not move with the cloud."""
    out, features = NETWORK(self, x, h, mask)
    return out - x.mean(1, keepdim=True), features


def translated(self, x, log_snr, condition=None):
    """The slide's last line: what is given is moved with the cloud."""
    out = DENOISER(self, x, log_snr, condition)
    mean = x[..., :3].sum(1, keepdim=True) / condition.points.sum(1)[:, None, None]
    return torch.cat([out[..., :3] + mean * condition.points[..., None], out[..., 3:]], -1)


def squeezed(self, x, log_snr, condition=None):
    """Noise whose mean is not taken off."""
    out = DENOISER(self, x, log_snr, condition)
    return torch.cat([out[..., :3] + 0.1 * condition.points[..., None], out[..., 3:]], -1)


def posed(self, at, one_hot, mask):
    """A code of the positions' absolute values."""
    z = ENCODED(self, at, one_hot, mask)
    return torch.cat([z[..., :3].abs(), z[..., 3:]], -1)


def uncentred(self, x):
    return x * self._point_mask(x)


def all_rooms(self, x):
    """A mean over the room of a cloud, points that are not there included."""
    at = x[..., :3] - x[..., :3].mean(-2, keepdim=True)
    return torch.cat([at, x[..., 3:]], -1) * self._point_mask(x)


def three_more(self, each, at_zero):
    """All coordinates of the points counted, the mean's too."""
    return (each * self._point_mask(each)).flatten(1).sum(1)


def plain_noise(self, condition):
    return spaces.Euclidean()


BREAKS = [
    (laws.equivariance, egnn.EgnnLayer, "forward", sees_positions),
    (laws.equivariance, egnn.EgnnLayer, "forward", sees_padding),
    (laws.equivariance, egnn.Egnn, "forward", sees_order),
    (laws.equivariance, egnn.Egnn, "forward", drifts),
    (laws.noise, egnn.EgnnDenoiser, "forward", translated),
    (laws.noise, egnn.EgnnDenoiser, "forward", squeezed),
    (laws.codes, point_cloud_vae.PointCloudVae, "encoded", posed),
    (laws.codes, egnn.Egnn, "forward", drifts),
    (laws.centre, spaces.Centred, "projected", uncentred),
    (laws.centre, spaces.Centred, "projected", all_rooms),
    (laws.centre, spaces.Centred, "total", three_more),
    (laws.samples, spaces.Centred, "projected", all_rooms),
    (laws.samples, diffusion.Diffusion, "space_of", plain_noise),
    (laws.likelihood, spaces.Centred, "total", three_more),
    (laws.likelihood, diffusion.Diffusion, "space_of", plain_noise),
]


@pytest.mark.parametrize(("check", "owner", "name", "broken"), BREAKS)
def test_a_broken_part_is_noticed(check, owner, name, broken, monkeypatch):
    monkeypatch.setattr(owner, name, broken)
    assert not all(law.holds for law in check())


def test_a_bound_that_forgets_the_prior_is_noticed(monkeypatch):
    monkeypatch.setattr(
        diffusion_bound.VariationalBound, "prior", lambda self, x: -3 * torch.ones(len(x))
    )
    assert not all(law.holds for law in laws.likelihood())


@torch.no_grad()
def test_nothing_is_near_zero():
    network = laws._loud(egnn.Egnn(2, 2, laws.FORM))
    assert isinstance(network, nn.Module)
    x, h = laws._clouds()
    moved, features = network(x, h, laws._mask())
    assert float((moved - x).abs().max()) > 0.1
    assert float(features.abs().max()) > 0.1
