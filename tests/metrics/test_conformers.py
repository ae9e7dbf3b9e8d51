"""Metrics of molecules in space and of point clouds, against counts by loops."""

from __future__ import annotations

import math

import pytest
import torch

from trilemma.core.point_cloud import mask_of, positions
from trilemma.core.session import Session
from trilemma.data import point_clouds, sources
from trilemma.metrics import (
    conformers,
    energy_ratio,
    judge,
    point_cloud_features,
    pose_checks,
    strain,
    trivial_point_clouds,
)
from trilemma.metrics import nearest_neighbour_accuracy as nearest
from trilemma.metrics.cloud_reconstruction import reconstruction_errors


@pytest.fixture(scope="module")
def data():
    return sources.load("qm9-small").viewed(("conformer",))


def turned(x, seed=0):
    """Rotate, move and reorder clouds."""
    draw = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=draw)).Q
    out = x.clone()
    out[..., :3] = (x[..., :3] @ turn.T + 2.0) * mask_of(x)[..., None]
    for row, one in enumerate(x):
        n = int(mask_of(one).sum())
        order = torch.randperm(n, generator=draw)
        out[row, :n] = out[row, :n][order]
    return out


class TestGeometry:
    def test_lengths_angles_and_dihedrals_by_loops(self, data):
        x, elements = data.test.x[:6], data.domain.elements
        joined = conformers.bond_orders(x, elements) > 0
        want = {2: [], 3: [], 4: []}
        for b, one in enumerate(x):
            at = one[:, :3].double()
            near = [joined[b, i].nonzero()[:, 0].tolist() for i in range(len(one))]
            for j in range(len(one)):
                for i in near[j]:
                    if i < j:
                        want[2].append(float((at[i] - at[j]).norm()))
                    for k in near[j]:
                        if i < k:
                            u, v = at[i] - at[j], at[k] - at[j]
                            want[3].append(
                                math.degrees(math.acos(float(u @ v / u.norm() / v.norm())))
                            )
                        for m in near[k]:
                            if k > j and i != k and m not in (j, i):
                                p = torch.linalg.cross(at[i] - at[j], at[k] - at[j])
                                q = torch.linalg.cross(at[m] - at[k], at[k] - at[j])
                                c = float(p @ q / p.norm() / q.norm())
                                want[4].append(math.degrees(math.acos(min(1.0, max(-1.0, c)))))
        for size, of in (
            (2, conformers.bonds_of),
            (3, conformers.angles_of),
            (4, conformers.dihedrals_of),
        ):
            result = of(x, elements)
            values = torch.cat(list(result.values())).double().sort().values
            assert all(len(kind) == size and kind <= kind[::-1] for kind in result)
            assert len(values) == len(want[size])
            assert torch.allclose(
                values, torch.tensor(want[size]).double().sort().values, atol=0.1
            )

    def test_nothing_changes_with_the_pose(self, data):
        x, elements = data.test.x[:40], data.domain.elements
        for of in (conformers.bonds_of, conformers.angles_of, conformers.dihedrals_of):
            one, other = of(x, elements), of(turned(x), elements)
            assert one.keys() == other.keys()
            gap, kinds = conformers.wasserstein_by_kind(one, other)
            assert gap < 0.05
            assert kinds > 2

    def test_longer_bonds_are_seen(self, data):
        x, elements = data.test.x[:60], data.domain.elements
        longer = x.clone()
        longer[..., :3] *= 1.02
        gap, _ = conformers.wasserstein_by_kind(
            conformers.bonds_of(longer, elements), conformers.bonds_of(x, elements)
        )
        assert 0.01 < gap < 0.05


class TestFeatures:
    def test_they_know_neither_pose_nor_order(self, data):
        x, elements = data.test.x[:30], data.domain.elements
        one = point_cloud_features.describe(x, elements)
        other = point_cloud_features.describe(turned(x), elements)
        assert one.shape[1] == point_cloud_features.dimension(elements)
        assert torch.allclose(one, other, atol=2e-3)

    def test_quantiles_by_numpy(self):
        x = torch.zeros(1, 7, 4)
        x[0, :5, :3] = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
        x[0, :5, 3] = 1
        at = x[0, :5, :3] - x[0, :5, :3].mean(0)
        apart = torch.pdist(at)
        result = point_cloud_features.describe(x)[0]
        want = torch.quantile(apart, torch.linspace(0, 1, point_cloud_features.DISTANCES))
        assert torch.allclose(result[: point_cloud_features.DISTANCES], want, atol=1e-5)


class TestNeighbours:
    def test_chamfer_by_a_loop(self):
        data = point_clouds.shapes3d()
        at, mask = nearest.posed(data.test.x[:4])
        result = nearest.chamfer(at[0][mask[0]], at, mask)
        for k in range(4):
            each = []
            for turn in nearest.TURNS:
                a, b = at[0][mask[0]] * turn, at[k][mask[k]]
                d = torch.cdist(a, b).square()
                each.append(float(d.amin(1).mean() + d.amin(0).mean()))
            assert float(result[k]) == pytest.approx(min(each), abs=1e-5)
        assert float(result[0]) == pytest.approx(0.0, abs=1e-5)

    def test_half_of_one_set_and_all_of_noise(self):
        data = point_clouds.shapes3d()
        one, other = data.test.x[:40], data.train.x[:40]
        assert 0.25 < nearest.accuracy(one, other) < 0.75
        assert nearest.accuracy(trivial_point_clouds.normal(data, 40, 0), other) > 0.95
        assert nearest.accuracy(turned(one), other) == pytest.approx(
            nearest.accuracy(one, other), abs=0.08
        )


class TestPhysics:
    def test_real_molecules_lie_low_and_moved_ones_high(self, data):
        elements = data.domain.elements
        x = data.test.x[data.test.x[..., 3].bool().sum(1).argsort()[:3]]
        low = strain.quantiles(strain.strains(x, elements))[1]
        assert 0 <= low < 5
        bent = x.clone()
        bent[:, 1, 0] += 0.09
        high = strain.quantiles(strain.strains(bent, elements))[1]
        assert high > low + 0.5

    def test_a_relaxation_goes_down_and_pieces_are_infinite(self, data):
        water = torch.tensor([[0.0, 0, 0.119, 4], [0, 0.8, -0.477, 1], [0, -0.8, -0.477, 1]])
        (one,) = strain.strains(water[None], data.domain.elements)
        assert 0 < one < 30
        two = torch.cat([water, water + torch.tensor([9.0, 0, 0, 0])])
        assert strain.strains(two[None], data.domain.elements) == [math.inf]

    def test_quartiles_with_infinities(self):
        assert strain.quantiles([1.0, math.inf, math.inf]) == (1.0, math.inf, math.inf)
        assert strain.quantiles([1.0] * 3 + [math.inf])[0] == 1.0

    def test_checks_pass_real_molecules_and_name_what_fails(self, data):
        x, elements = data.test.x[:5], data.domain.elements
        assert pose_checks.passed(x, elements) == (5, {})
        broken = x.clone()
        broken[:, :, :3] *= 0.5
        good, fails = pose_checks.passed(broken, elements)
        assert good == 0
        assert fails


def test_all_metrics_of_real_molecules_say_that_they_are_real(data, monkeypatch):
    monkeypatch.setattr(strain, "MOST", 4)
    monkeypatch.setattr(strain, "REAL", 2)
    monkeypatch.setattr(pose_checks, "REAL", 4)
    monkeypatch.setattr(energy_ratio, "MOST", 3)
    monkeypatch.setattr(energy_ratio, "energy_ratio", lambda *_: (1.0, ""))
    reference = judge.reference_for(data, n=100, session=Session())
    evaluation = judge.judge_samples(data.train.x[:100], reference, session=Session())
    assert evaluation.metrics["posebusters"].value > 0.95
    assert evaluation.metrics["posebusters_energy"].value == 1.0
    assert evaluation.metrics["strain"].value < 10
    assert evaluation.metrics["connected_valid"].value > 0.95
    assert evaluation.metrics["atom_stability"].value > 0.98
    assert evaluation.metrics["unique"].value == 1.0
    assert evaluation.metrics["novel"].value < 0.1
    assert evaluation.metrics["copies"].value > 0.9  # they are the training molecules
    assert evaluation.metrics["bond_gap"].value < 0.02
    assert evaluation.metrics["atom_stability"].baselines["normal"] < 0.5
    assert not [reason for reason in evaluation.skipped.values() if "failed" in reason]


def test_reconstruction_errors_count_points():
    x = torch.zeros(1, 3, 4)
    x[0, :2] = torch.tensor([[0.0, 0, 0, 1], [2.0, 0, 0, 2]])
    y = x.clone()
    y[0, 1] = torch.tensor([4.0, 0, 0, 1])
    result = reconstruction_errors(x, y)
    assert result["reconstruction_rmsd"] == pytest.approx(1.0)
    assert result["type_accuracy"] == 0.5
    assert positions(x).shape == (1, 3, 3)
