"""Geometric latent diffusion: its variants train and sample, and what it cannot do it says."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from trilemma.cli import main
from trilemma.core.batch import Condition
from trilemma.core.domain import Domain, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import Bounded, Reconstructing
from trilemma.core.noise import Noise
from trilemma.core.point_cloud import mask_of, positions, sizes
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.families.diffusion.geometric import GeometricDiffusion
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.runs import begin, load
from trilemma.training.budget import Budget

SMALL = {"width": 16, "layers": 1, "sample_steps": 3, "batch": 16}
VARIANTS = [
    {},
    {"autoencoder": "fixed"},
    {"autoencoder": "none"},
    {"process": "vp", "sample_steps": 5},
    {"network": "transformer", "width": 32},
    {"prediction": "velocity", "times": "log-normal", "sampler": "heun"},
]


@pytest.fixture(scope="module")
def data():
    data = sources.load("qm9-small").viewed(("conformer",))
    train, test = (
        dataclasses.replace(part, x=part.x[:64], names=None) for part in (data.train, data.test)
    )
    return dataclasses.replace(data, train=train, test=test)


def train(path, data, steps=8, **fields):
    run, events = begin(
        CATALOG["geoldm"](**(SMALL | fields)),
        data,
        source="qm9-small",
        path=path,
        budget=Budget(steps=steps),
        precision="fp32",
        session=Session(),
    )
    return run, list(events)


@pytest.mark.parametrize("fields", VARIANTS, ids=str)
def test_variants_train_and_sample_centred_clouds_of_sizes_that_there_are(fields, data, tmp_path):
    run, events = train(tmp_path / "run", data, **fields)
    assert events[-1].kind == "done"
    stages = {event.stage for event in events if event.kind == "step"}
    assert ("autoencoder" in stages) == (fields.get("autoencoder") != "none")
    model = load(run.path, warn=print).model
    x = model.sample(12, noise=Noise.for_samples(0, 0, 12))
    assert x.shape == (12, *data.domain.shape)
    assert x.isfinite().all()
    assert float(positions(x).sum(1).abs().max()) < 1e-3
    assert set(sizes(x).tolist()) <= set(sizes(data.train.x).tolist())
    assert int(x[..., 3].max()) <= len(data.domain.elements)
    assert isinstance(model, Reconstructing) == (fields.get("autoencoder") != "none")
    assert float(model.position_scale) != 1.0


def test_a_size_that_is_asked_for_is_had(data, tmp_path):
    run, _ = train(tmp_path / "run", data)
    model = load(run.path, warn=print).model
    points = torch.arange(data.domain.shape[0]) < torch.tensor([[5], [9]])
    x = model.sample(2, condition=Condition(points=points), noise=Noise.of(0, 2))
    assert sizes(x).tolist() == [5, 9]
    states = model.path(2, frames=3, noise=Noise.of(0, 2))
    assert torch.equal(states[-1], model.sample(2, noise=Noise.of(0, 2)))


def test_clouds_of_like_size_are_drawn_together_and_are_the_same(data, tmp_path, monkeypatch):
    run, _ = train(tmp_path / "run", data)
    model = load(run.path, warn=print).model
    sizes_seen = []
    real = model.diffusion.sample

    def sample(n, *, condition, noise):
        sizes_seen.append(condition.points.sum(1).tolist())
        return real(n, condition=condition, noise=noise)

    monkeypatch.setattr(model.diffusion, "sample", sample)
    monkeypatch.setattr("trilemma.families.diffusion.geometric.TOGETHER", 5)
    parts = model.sample(12, noise=Noise.of(0, 12))
    assert [len(points) for points in sizes_seen] == [5, 5, 2]
    assert [n for points in sizes_seen for n in points] == sorted(sizes(parts).tolist())
    monkeypatch.setattr("trilemma.families.diffusion.geometric.TOGETHER", 12)
    assert torch.allclose(parts, model.sample(12, noise=Noise.of(0, 12)), atol=1e-4)


def test_reconstruction_is_of_codes_with_their_noise(data, tmp_path):
    run, _ = train(tmp_path / "run", data, code_noise=0.05)
    model = load(run.path, warn=print).model
    x, noise = data.test.x[:32], Noise.of(0, 32)
    mean, with_noise = model.reconstruct(x), model.reconstruct(x, noise=noise)
    apart = (positions(with_noise) - positions(mean)).square().sum(-1)[mask_of(x)].mean().sqrt()
    assert apart == pytest.approx(0.05 * 3**0.5 * data.domain.values.spread, rel=0.3)
    assert torch.equal(model.reconstruct(x), mean)


def test_the_bound_is_of_the_shape_alone(data, tmp_path):
    run, _ = train(tmp_path / "run", data)
    model = load(run.path, warn=print).model
    assert isinstance(model, Bounded)
    x = data.test.x[:6]
    mask = mask_of(x)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0))).Q
    moved = x.clone()
    moved[..., :3] = (positions(x) @ turn + 3.0) * mask[..., None]
    one, other = (
        torch.stack([model.bound(y, noise=Noise.of(k, 6)) for k in range(40)]) for y in (x, moved)
    )
    gap = (one - other).mean(0) / ((one - other).std(0) / 40**0.5)
    assert float(gap.abs().max()) < 5
    assert one.isfinite().all()


def test_samples_are_written_as_molecules_in_space(data, tmp_path, capsys):
    run, _ = train(tmp_path / "run", data)
    for name in ("x.xyz", "x.npz", "x.png", "x.gif"):
        out = tmp_path / name
        assert main(["sample", str(run.path), "-n", "3", "--out", str(out)]) == 0
        assert out.stat().st_size > 100
    assert (
        main(["sample", str(run.path), "-n", "2", "--steps", "2", "--out", str(tmp_path / "f")])
        == 0
    )
    assert len(list((tmp_path / "f").glob("*.xyz"))) == 2
    # After eight steps RDKit accepts none of them: that is said, and no empty file is written.
    status = main(["sample", str(run.path), "-n", "3", "--out", str(tmp_path / "x.sdf")])
    assert status in (0, 2)
    assert (tmp_path / "x.sdf").exists() == (status == 0)


def test_molecules_that_an_sdf_has_no_room_for_are_counted(data, tmp_path, capsys, monkeypatch):
    run, _ = train(tmp_path / "run", data)
    x = data.test.x[:3].clone()
    x[1, :, :3] *= 0.6  # all atoms are bonded to each other
    monkeypatch.setattr(GeometricDiffusion, "sample", lambda *_, **__: x)
    out = tmp_path / "x.sdf"
    assert main(["sample", str(run.path), "-n", "3", "--out", str(out)]) == 0
    assert out.read_text().count("$$$$") == 2
    assert "1 of 3 samples are not in x.sdf: RDKit refuses them" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"code_noise": 0.0}, "above 0 and below 1"),
        ({"features": 0}, "--features takes 1 or more"),
        ({"sample_steps": -1}, "--sample-steps takes 0 or more"),
        ({"network": "transformer", "width": 20}, "multiple of 16"),
    ],
)
def test_fields_out_of_range_are_one_sentence(fields, words, data):
    with pytest.raises(BadInput, match=words):
        CATALOG["geoldm"](**fields).model(data.domain)


def test_clouds_too_large_are_refused_with_the_memory_that_they_would_take():
    domain = Domain("point-cloud", (900, 4), Real())
    with pytest.raises(BadInput, match=r"900 points.*GiB"):
        CATALOG["geoldm"]().model(domain)
