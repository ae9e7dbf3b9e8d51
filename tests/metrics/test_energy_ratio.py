"""The energy check of PoseBusters: known molecules, and the ratio by its definition."""

from __future__ import annotations

import math

import pytest
import torch

from trilemma.core.errors import Interrupted
from trilemma.core.noise import mix
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.data.bond_perception import to_mol_in_space
from trilemma.data.chemistry import chemistry
from trilemma.metrics import energy_ratio as checks
from trilemma.metrics import judge
from trilemma.metrics.score import wilson

pytest.importorskip("posebusters")
ELEMENTS = ("H", "C", "N", "O", "F")


@pytest.fixture(scope="module")
def data():
    return sources.load("qm9-small").viewed(("conformer",))


@pytest.fixture(scope="module")
def ethanol():
    """Return relaxed ethanol, [9, 4], by the force field MMFF94."""
    all_chem = pytest.importorskip("rdkit.Chem.AllChem")
    mol = chemistry().AddHs(chemistry().MolFromSmiles("CCO"))
    all_chem.EmbedMolecule(mol, randomSeed=1)
    all_chem.MMFFOptimizeMolecule(mol)
    kinds = [ELEMENTS.index(atom.GetSymbol()) + 1 for atom in mol.GetAtoms()]
    at = torch.tensor(mol.GetConformer().GetPositions(), dtype=torch.float32)
    return torch.cat([at, torch.tensor(kinds)[:, None]], 1)


class TestKnownMolecules:
    def test_relaxed_ethanol_passes_and_a_stretched_one_fails(self, ethanol):
        mol = to_mol_in_space(ethanol, ELEMENTS)
        good, why = checks.energy_ratio(mol, 100.0, 20)
        assert why == ""
        assert 0 < good < 5
        conformer = mol.GetConformer()
        for i in range(mol.GetNumAtoms()):
            conformer.SetAtomPosition(i, [1.6 * v for v in conformer.GetAtomPosition(i)])
        bad, why = checks.energy_ratio(mol, 100.0, 20)
        assert why == ""
        assert bad > 100

    def test_the_ratio_is_the_energy_over_the_mean_of_relaxed_conformations(self, ethanol):
        all_chem = pytest.importorskip("rdkit.Chem.AllChem")
        mol = to_mol_in_space(ethanol, ELEMENTS)
        ratio, _ = checks.energy_ratio(mol, 100.0, 10)
        energy = all_chem.UFFGetMoleculeForceField(mol).CalcEnergy()
        other = chemistry().AddHs(chemistry().MolFromSmiles("CCO"))
        all_chem.EmbedMultipleConfs(other, 10, randomSeed=5)
        energies = [e for _, e in all_chem.UFFOptimizeMoleculeConfs(other, maxIters=2000)]
        assert ratio == pytest.approx(energy / (sum(energies) / 10), rel=0.1)

    def test_what_is_no_molecule_fails_by_its_reason(self, ethanol):
        refused = torch.tensor([[0.0, 0, 0, 1], [0.7, 0, 0, 1], [0.35, 0.6, 0, 1]])
        radical = ethanol[:-1]
        apart = torch.cat([ethanol, ethanol + torch.tensor([30.0, 0, 0, 0])])
        x = torch.zeros(4, len(apart), 4)
        for row, one in zip(x, (ethanol, refused, radical, apart), strict=True):
            row[: len(one)] = one
        result = checks.energy_ratios(x, ELEMENTS)
        assert result.passed == 1
        assert result.share == 0.25
        assert [math.isnan(ratio) for ratio in result.ratios] == [False, True, True, True]
        assert result.reasons == (checks.REFUSED, checks.RADICAL, checks.PIECES)
        assert result.limit > 1
        assert result.conformations > 1


class TestMetric:
    """Which molecules are looked at, and what is said of them; the ratio itself is given."""

    @pytest.fixture(autouse=True)
    def cheap_ratio(self, monkeypatch):
        monkeypatch.setattr(checks, "MOST", 3)
        monkeypatch.setattr(checks, "energy_ratio", lambda mol, *_: (mol.GetNumAtoms() / 10, ""))

    def measured(self, data, samples, **named):
        reference = judge.reference_for(data, n=len(samples), session=Session())
        evaluation = judge.judge_samples(
            samples, reference, session=Session(**named), only={"posebusters_energy"}
        )
        return evaluation.metrics["posebusters_energy"]

    def test_samples_are_drawn_by_the_seed_and_stated(self, data):
        x = data.train.x[:40].clone()
        order = torch.randperm(40, generator=torch.Generator().manual_seed(mix(0, "energy ratio")))
        x[order[0], :, :3] = 0.0
        steps = []
        score = self.measured(data, x, progress=lambda *step: steps.append(step))
        assert score.value == pytest.approx(2 / 3)
        assert score.n == 3
        assert score.floor is not None
        assert (score.low, score.high) == wilson(2 / 3, 3)
        assert score.baselines["normal"] < 0.5
        assert "share of 3 samples, drawn by the seed, that pass" in score.protocol
        assert "fail: refused 1; floor: 3 test molecules" in score.protocol
        ours = [step for step in steps if step[0] == "energy ratio"]
        assert ours[:3] == [("energy ratio", done, 3) for done in range(3)]

    def test_what_lies_above_the_limit_fails(self, data, monkeypatch):
        monkeypatch.setattr(checks, "energy_ratio", lambda *_: (100.5, ""))
        score = self.measured(data, data.train.x[:40])
        assert score.value == 0.0
        assert "median ratio 100" in score.protocol
        assert "above the limit 3" in score.protocol

    def test_no_molecule_is_begun_after_the_time(self, data, monkeypatch):
        monkeypatch.setattr(checks, "SECONDS", -1.0)
        score = self.measured(data, data.train.x[:40])
        assert score.n == 1
        assert "share of 1 samples, drawn by the seed, of 3, in" in score.protocol
        assert "floor: 1 test molecules" in score.protocol

    def test_it_stops_when_that_is_asked_for(self, data):
        calls = []

        def check():
            calls.append(1)
            if len(calls) > 2:
                raise Interrupted(15, "stopped")

        with pytest.raises(Interrupted):
            self.measured(data, data.train.x[:40], guard=check)

    def test_marks_are_made_once_for_all_models(self, data, monkeypatch):
        reference = judge.reference_for(data, n=40, session=Session())
        counts, ratios = [], checks.energy_ratios
        monkeypatch.setattr(checks, "energy_ratios", lambda *a: counts.append(1) or ratios(*a))
        for _ in range(2):
            judge.judge_samples(
                data.train.x[:40], reference, session=Session(), only={"posebusters_energy"}
            )
        assert len(counts) == 1 + 3 + 1
