"""What generated molecules are: shares, diversity, distances, and what a search has found."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import wasserstein_distance

from trilemma.core.molecule import sizes
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.data.chemistry import parsed, scaffold, standardised, to_smiles, to_tensors
from trilemma.metrics.chemnet import chemnet
from trilemma.metrics.judge import judge, judge_samples, reference_for
from trilemma.metrics.molecules import cosine, internal_diversity, wasserstein
from trilemma.metrics.trivial_molecules import TRIVIAL, alkanes, random_molecules


@pytest.fixture(scope="module")
def data():
    return sources.load("qm9-small")


@pytest.fixture(scope="module")
def reference(data):
    return reference_for(data, n=120, session=Session())


def tensors(smiles):
    return to_tensors([standardised(parsed(s)) for s in smiles], 48)


def measured(x, reference, *names):
    return judge_samples(x, reference, session=Session(), only=names).metrics


def test_shares_count_what_they_say(data, reference):
    smiles = data.train.names[0]
    x = tensors([smiles, "CCCCCCCCO", "CCCCCCCCO", "CCCCCCCCN"])
    broken = torch.zeros(1, 48, 48, dtype=torch.uint8)
    broken[0, 0, 0] = broken[0, 1, 1] = 6
    broken[0, 0, 1] = broken[0, 1, 0] = 3
    scores = measured(torch.cat([x, broken]), reference, "valid", "unique", "novel")
    assert scores["valid"].value == pytest.approx(4 / 5)
    assert scores["unique"].value == pytest.approx(3 / 4)
    assert scores["novel"].value == pytest.approx(2 / 3)
    assert "RDKit" in scores["valid"].protocol


def test_real_molecules_reach_the_floor_and_trivial_ones_do_not(data, reference):
    draw = torch.Generator().manual_seed(3)
    real = data.train.x[torch.randperm(len(data.train), generator=draw)[:120]]
    names = ("fcd", "fd", "discrepancy", "logp_gap", "internal_diversity", "coverage")
    good = measured(real, reference, *names)
    bad = measured(random_molecules(data, 120, 1), reference, *names)
    for name in ("fcd", "fd", "discrepancy", "logp_gap"):
        assert good[name].value < 2 * good[name].floor + 0.2, name
        assert bad[name].value > good[name].value, name
        assert bad[name].baselines["alkanes"] > bad[name].value, name
    assert good["coverage"].value > bad["coverage"].baselines["alkanes"]


def test_a_set_is_at_no_distance_from_itself():
    spelt = ["CCO", "c1ccccc1", "CC(=O)N", "C1CC1"]
    assert chemnet(spelt).shape == (4, 512)
    assert torch.equal(chemnet(["CCO", ""])[1], torch.zeros(512))
    assert torch.allclose(chemnet(spelt)[1], chemnet(["c1ccccc1"])[0], atol=1e-5)


def test_fcd_is_that_of_its_package():
    fcd_torch = pytest.importorskip("fcd_torch")
    data = sources.load("qm9-small")
    a, b = list(data.train.names[:60]), list(data.test.names[:60])
    from fcd_torch.utils import calculate_frechet_distance

    from trilemma.metrics.frechet import frechet, moments

    ours = frechet(moments(chemnet(a)), moments(chemnet(b)))
    x, y = chemnet(a).double(), chemnet(b).double()
    theirs = calculate_frechet_distance(
        x.mean(0).numpy(), x.T.cov().numpy(), y.mean(0).numpy(), y.T.cov().numpy()
    )
    assert fcd_torch is not None
    assert ours == pytest.approx(theirs, rel=2e-3)


def test_diversity_is_one_less_the_mean_similarity():
    bits = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1]])
    assert internal_diversity(bits) == pytest.approx(1 - (0.5 + 0 + 0) / 3)
    assert internal_diversity(torch.ones(3, 4)) == 0


def test_the_distance_of_wasserstein_is_scipys():
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, generator=draw), torch.randn(50, generator=draw) + 1
    assert wasserstein(x, y) == pytest.approx(wasserstein_distance(x, y), rel=1e-6)
    assert wasserstein(x, x) == pytest.approx(0, abs=1e-12)


def test_copies_are_found_however_they_are_numbered(data, reference):
    copied = data.train.x[:120].flip(1, 2).clone()
    order = [torch.argsort((one.diagonal() > 0).long(), descending=True) for one in copied]
    moved = torch.stack([one[o][:, o] for one, o in zip(copied, order, strict=True)])
    assert not torch.equal(moved, data.train.x[:120])
    assert to_smiles(moved[:3]) == to_smiles(data.train.x[:3])
    scores = measured(moved, reference, "copies")["copies"]
    assert scores.value > 0.8
    assert "alarm: more" in scores.protocol
    honest = measured(data.test.x[:120], reference, "copies")["copies"]
    assert honest.value < 0.05


@pytest.mark.parametrize("name", TRIVIAL)
def test_trivial_molecules_are_valid_and_of_the_datas_sizes(data, name):
    x = TRIVIAL[name](data, 60, 0)
    assert all(to_smiles(x))
    assert int(sizes(x).max()) <= int(sizes(data.train.x).max())
    assert torch.equal(x, TRIVIAL[name](data, 60, 0))


def test_alkanes_are_chains(data):
    assert set("".join(to_smiles(alkanes(data, 20, 0)))) == {"C"}


class Searcher(torch.nn.Module):
    """Has asked for three molecules."""

    seeks, most = "scaffold(c1ccccc1)", 38

    def __init__(self, x):
        super().__init__()
        self.x, self.weight = x, torch.nn.Parameter(torch.zeros(1))

    def call_scores(self):
        return torch.tensor([0.0, 1.0, 0.5])

    def best_found(self):
        return self.x

    def sample(self, n, *, condition=None, noise=None):
        return self.x[torch.arange(n) % len(self.x)]


def test_what_was_sought_is_measured(data, reference):
    x = tensors(["c1ccccc1", "CCO"])
    evaluation = judge(
        Searcher(x), data, n=10, session=Session(), reference=reference,
        only=("top1", "top10", "auc_top10", "reward"),
    ).metrics  # fmt: skip
    assert evaluation["top1"].value == 1
    assert evaluation["top10"].value == pytest.approx(0.5)
    assert evaluation["reward"].value == pytest.approx(0.5)
    assert evaluation["auc_top10"].value == pytest.approx(0.5, abs=0.01)
    assert evaluation["top10"].baselines["straight alkanes up to C38"] == 0
    assert any(name.startswith("screening of") for name in evaluation["top10"].baselines)


def test_scaffolds_are_compared_as_often_as_they_come(data, reference):
    assert scaffold("CC(=O)Nc1ccc(O)cc1") == "c1ccccc1"
    assert scaffold("CCO") == ""
    assert cosine({"a": 3, "b": 4}, {"b": 1, "c": 1}) == pytest.approx(4 / 5 / 2**0.5)
    same = measured(data.test.x, reference, "scaffold_similarity")["scaffold_similarity"]
    assert same.value == pytest.approx(1)
    assert 0 < same.floor < 1
    assert 0 < same.baselines["random"] < 1
    assert same.baselines["alkanes"] == 0
