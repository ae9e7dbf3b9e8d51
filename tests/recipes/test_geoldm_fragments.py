"""A fragment is kept exactly, in its own frame, while the rest of a molecule is drawn."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from trilemma.core.batch import Condition
from trilemma.core.domain import Domain, PropertyStatistics, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import Completing
from trilemma.core.noise import Noise
from trilemma.core.point_cloud import mask_of, point_cloud, positions, sizes
from trilemma.core.sampling import draw
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.editing import completing

ELEMENTS = ("H", "C", "O")
ROOM = 9
DOMAIN = Domain("conformer", (ROOM, 4), Real(0.0, 1.4, "Å"), elements=ELEMENTS)
SMALL = {"width": 8, "layers": 1, "sample_steps": 4}
VARIANTS = {
    "trained": {},
    "fixed": {"autoencoder": "fixed"},
    "none": {"autoencoder": "none"},
    "vp": {"process": "vp", "sample_steps": 6},
    "transformer": {"network": "transformer", "width": 16},
}
TWO = point_cloud(
    [[20.0, -3.0, 1.0], [21.2, -3.0, 1.0], [20.0, 4.0, 2.0], [20.9, 4.5, 2.4]], [2, 3, 2, 1], ROOM
)
"""Two fragments, away from the origin."""
ALL = (3, 4, 5, 6, 8)
"""Sizes of the training clouds."""


def build(domain=DOMAIN, **fields):
    """Make a model with weights at which nothing is near zero, and sizes to be drawn from."""
    model = CATALOG["geoldm"](**(SMALL | fields)).model(domain).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        model.position_scale.fill_(1.3)
        model.feature_mean.fill_(0.1)
    points = torch.arange(ROOM) < torch.tensor(ALL)[:, None]
    properties = torch.tensor(ALL)[:, None] * 10.0 if domain.properties else None
    model.diffusion.prompts.fill(Condition(points=points, properties=properties))
    return model


@pytest.fixture(scope="module", params=VARIANTS)
def model(request):
    return build(**VARIANTS[request.param])


@pytest.fixture(scope="module")
def plain():
    return build(autoencoder="none")


def prompt(x, n):
    """Return a fragment n times, and where it is known."""
    is_known = mask_of(x)[:, None].expand(ROOM, 4)
    return x.expand(n, ROOM, 4), is_known.expand(n, ROOM, 4)


def complete(model, n, seed=0, x=TWO, **options):
    return model.complete(*prompt(x, n), noise=Noise.for_samples(seed, 0, n), **options)


def test_the_fragment_stays_where_it_is_and_the_rest_differs(model):
    assert isinstance(model, Completing)
    x = complete(model, 12)
    fragment_size = int(sizes(TWO))
    assert x.isfinite().all()
    assert torch.equal(x[:, :fragment_size, 3], TWO[:fragment_size, 3].expand(12, fragment_size))
    assert float((x[:, :fragment_size] - TWO[:fragment_size]).abs().max()) < 1e-4
    assert 1 < len(set(sizes(x).tolist())) <= len(set(sizes(x).tolist()) | {5, 6, 8}) == 3
    assert torch.equal(mask_of(x), torch.arange(ROOM) < sizes(x)[:, None])
    added = x[:, fragment_size]  # the first point beside the fragment
    assert torch.pdist(added[:, :3]).min() > 1e-3
    other = complete(model, 12, seed=1)
    assert float((other[:, fragment_size, :3] - added[:, :3]).abs().min(1).values.max()) > 1e-3


def test_a_completion_depends_on_its_seed_and_index_alone(model):
    completion = completing(SimpleNamespace(model=model), *(v[0] for v in prompt(TWO, 1)))
    many = draw(completion, 70, seed=3)
    for n in (1, 3):
        first_samples = draw(completion, n, seed=3)
        assert torch.equal(first_samples[..., 3], many[:n, :, 3])
        assert float((first_samples - many[:n]).abs().max()) < 1e-4
    assert torch.equal(draw(completion, 2, seed=3, start=66)[..., 3], many[66:68, :, 3])


class Turned(Noise):
    """The same noise, with turned positions."""

    def __init__(self, noise, turn):
        super().__init__(noise.blocks, noise.device, noise.order)
        self.turn = turn

    def named(self, name):
        return Turned(super().named(name), self.turn)

    def normal(self, *shape):
        eps = super().normal(*shape)
        return torch.cat([eps[..., :3] @ self.turn.T, eps[..., 3:]], -1)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "transformer"])
def test_a_moved_fragment_under_turned_noise_gives_the_moved_completion(name):
    model, noise = build(**VARIANTS[name]), Noise.for_samples(0, 0, 6)
    draw_from = torch.Generator().manual_seed(5)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=draw_from)).Q
    shift = torch.tensor([1.0, -7.0, 4.0])
    fragment_mask = mask_of(TWO)[:, None]
    moved = torch.cat([(TWO[:, :3] @ turn.T + shift) * fragment_mask, TWO[:, 3:]], -1)
    x = model.complete(*prompt(TWO, 6), noise=noise)
    y = model.complete(*prompt(moved, 6), noise=Turned(noise, turn))
    expected = (positions(x) @ turn.T + shift) * mask_of(x)[..., None]
    assert torch.equal(y[..., 3], x[..., 3])
    assert float((positions(y) - expected).abs().max()) < 1e-3
    # Under noise that is not turned another completion is drawn.
    z = model.complete(*prompt(moved, 6), noise=noise)
    assert float((positions(z) - expected).abs().max()) > 1e-2


def test_sizes_are_those_of_training_clouds_that_are_larger(plain):
    n = 4000
    noise, least = Noise.of(0, n), torch.full((n,), 5)
    _, points = plain.sized(None, noise, least)
    prompts = plain.diffusion.prompts
    fragment_sizes = prompts.points.sum(1)
    larger = fragment_sizes[fragment_sizes >= 5]
    for size in ALL:
        share = float((points.sum(1) == size).float().mean())
        expected = float((larger == size).float().mean())
        assert abs(share - expected) < 4 * (0.25 / n) ** 0.5
    mixed = torch.tensor([1, 8]).repeat(32)
    _, points = plain.sized(None, Noise.of(0, 64), mixed)
    assert set(points.sum(1)[mixed == 8].tolist()) == {8}
    assert 3 in points.sum(1)[mixed == 1]


def test_sizes_near_a_property_are_larger_too():
    property_domain = Domain(
        "conformer",
        (ROOM, 4),
        Real(0.0, 1.4, "Å"),
        elements=ELEMENTS,
        properties=(PropertyStatistics("alpha", "", 50.0, 20.0, 30.0, 80.0),),
    )
    model = build(property_domain, autoencoder="none", property="alpha")
    expected = Condition(properties=torch.full((16, 1), 30.0))
    assert set(sizes(model.sample(16, condition=expected, noise=Noise.of(0, 16))).tolist()) == {3}
    x = complete(model, 16, condition=expected)
    assert set(sizes(x).tolist()) == {5}
    cloud_sizes, points = model.sized(None, Noise.of(0, 64), torch.full((64,), 6))
    assert torch.equal(cloud_sizes.properties[:, 0], points.sum(1) * 10.0)
    assert int(points.sum(1).min()) == 6


def test_a_size_that_is_asked_for_is_had_and_must_hold_the_fragment(plain):
    points = torch.arange(ROOM) < torch.tensor([[5], [9]])
    assert sizes(complete(plain, 2, condition=Condition(points=points))).tolist() == [5, 9]
    for size in (3, 4):
        points = torch.arange(ROOM) < torch.tensor([[9], [size]])
        with pytest.raises(BadInput, match="at least one more"):
            complete(plain, 2, condition=Condition(points=points))


def test_nothing_known_is_a_sample(model):
    x = torch.full((5, ROOM, 4), 3.0)
    done = model.complete(x, torch.zeros_like(x, dtype=torch.bool), noise=Noise.of(2, 5))
    assert torch.allclose(done, model.sample(5, noise=Noise.of(2, 5)), atol=1e-4)


def test_one_known_atom_and_rows_that_are_not_the_first(plain):
    one = point_cloud([[5.0, 5.0, 5.0]], [3], ROOM)
    x = complete(plain, 4, x=one)
    assert torch.equal(x[:, 0], one[:1].expand(4, 4))
    later = torch.zeros(ROOM, 4)
    later[[1, 4]] = TWO[:2]
    x = complete(plain, 4, x=later)
    assert torch.equal(x[:, [1, 4]], TWO[:2].expand(4, 2, 4))
    assert int(sizes(x).min()) >= 5


def test_the_pose_is_kept_without_an_autoencoder(plain):
    """Positions are codes there: what is decoded has the fragment before it is put in place."""
    x, is_known = prompt(TWO, 4)
    cloud_sizes = []
    clouds = plain.clouds
    plain.clouds = lambda y, mask: cloud_sizes.append(clouds(y, mask)) or cloud_sizes[-1]
    try:
        done = plain.complete(x, is_known, noise=Noise.of(0, 4))
    finally:
        del plain.clouds
    fragment_sizes = int(sizes(TWO))
    one, other = (positions(v)[:, :fragment_sizes] for v in (cloud_sizes[-1], done))
    centre = one.mean(1, keepdim=True), other.mean(1, keepdim=True)
    assert float(((one - centre[0]) - (other - centre[1])).abs().max()) < 1e-4
    assert float(positions(cloud_sizes[-1]).sum(1).abs().max()) < 1e-4


def test_the_fragment_is_encoded_within_the_whole_at_each_step():
    model, encoded = build(), []
    codes = model.first_stage.codes
    model.first_stage.codes = lambda x: encoded.append(x) or codes(x)
    x = complete(model, 4)
    assert len(encoded) == SMALL["sample_steps"]
    fragment_size = int(sizes(TWO))
    for cloud in encoded:
        assert torch.equal(
            cloud[:, :fragment_size], TWO[:fragment_size].expand(4, fragment_size, 4)
        )
        assert torch.equal(mask_of(cloud), mask_of(x))


def test_a_fragment_that_no_training_cloud_exceeds_is_refused(plain):
    large = point_cloud(torch.arange(24.0).view(8, 3), [2] * 8, ROOM)
    with pytest.raises(BadInput, match=r"9 points or more.*8 at most"):
        complete(plain, 2, x=large)
