"""Pickles are read by an unpickler that trusts nobody; forests and machines by numpy."""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import SVC

from trilemma.core.errors import BadInput
from trilemma.data import oracles, wheel
from trilemma.data.chemistry import parsed
from trilemma.data.oracles import Inert, by_forest, by_machine, restricted

SMILES = ["CCO", "c1ccccc1", "CC(=O)Nc1ccc(O)cc1", "CCN(CC)CC", "FC(F)(F)C", "C1CCNCC1"] * 8
INHIBITORS = {
    "SB-216763": "CN1C=C(C2=CC=CC=C21)C3=C(C(=O)NC3=O)C4=C(C=C(C=C4)Cl)Cl",
    "AS601245": "C1=CC=C2C(=C1)N=C(S2)C(C#N)C3=NC(=NC=C3)NCCC4=CN=CC=C4",
    "haloperidol": "C1CN(CCC1(C2=CC=C(C=C2)Cl)O)CCCC(=O)C3=CC=C(C=C3)F",
    "aspirin": "CC(=O)OC1=CC=CC=C1C(=O)O",
}


class Evil:
    def __reduce__(self):
        return print, ("never",)


@pytest.mark.parametrize("what", [Evil(), {"deep": [Evil()]}, io.BytesIO(), np.random.default_rng])
def test_names_that_are_not_on_the_list_are_refused(what, capsys):
    with pytest.raises(BadInput, match="not on the list; refused"):
        restricted(pickle.dumps(what, protocol=2))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("raw", [b"", b"no pickle", pickle.dumps([1, 2])[:-3]])
def test_what_is_damaged_is_one_sentence(raw):
    with pytest.raises(BadInput, match="cannot be read"):
        restricted(raw)


def test_plain_values_are_read():
    assert restricted(pickle.dumps({"a": [1, 2.5, "b"]})) == {"a": [1, 2.5, "b"]}


def inert(model):
    """Make of a model of scikit-learn what the unpickler would."""
    oracle = Inert()
    oracle.state = dict(vars(model))
    if "estimators_" in oracle.state:
        trees = []
        for tree in model.estimators_:
            inner, outer = Inert(), Inert()
            inner.state = tree.tree_.__getstate__()
            outer.state = {"tree_": inner}
            trees.append(outer)
        oracle.state["estimators_"] = trees
    return oracle


def bits(radius):
    from rdkit.Chem import rdFingerprintGenerator

    make = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=2048)
    return np.stack([make.GetFingerprintAsNumPy(parsed(s)) for s in SMILES])


def test_a_forest_says_what_scikit_learn_says(monkeypatch):
    x = bits(3)
    labels = np.random.default_rng(0).integers(0, 2, len(x))
    model = RandomForestClassifier(20, random_state=0).fit(x, labels)
    arrays = oracles._forest(inert(model))
    monkeypatch.setattr(oracles, "_arrays", lambda name: arrays)
    mols = [parsed(s) for s in SMILES[:6]]
    expected = model.predict_proba(x[:6])[:, 1]
    assert by_forest("x", mols) == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_machine_says_what_its_formula_says(monkeypatch):
    from rdkit.Chem import rdFingerprintGenerator as generators

    make = generators.GetMorganGenerator(
        radius=3, atomInvariantsGenerator=generators.GetMorganFeatureAtomInvGen()
    )
    mols = [parsed(s) for s in SMILES[:6]]
    x = np.zeros((6, 2048))
    for row, mol in zip(x, mols, strict=True):
        for index, count in make.GetSparseCountFingerprint(mol).GetNonzeroElements().items():
            row[index % 2048] += count
    model = SVC(gamma=0.01).fit(x, [0, 1, 0, 1, 0, 1])
    arrays = {
        "vectors": model.support_vectors_.astype(np.float32),
        "weights": model.dual_coef_.ravel(),
        "numbers": np.array([model.intercept_[0], -1.5, 0.2, 0.01]),
    }
    monkeypatch.setattr(oracles, "_arrays", lambda name: arrays)
    f = model.decision_function(x)
    assert by_machine("x", mols) == pytest.approx((1 / (1 + np.exp(-1.5 * f + 0.2))).tolist())


def test_without_them_one_sentence_says_how_to_get_them():
    assert not oracles.available("jnk3")
    with pytest.raises(BadInput, match="trilemma data fetch oracles"):
        oracles.ORACLES["jnk3"].of([parsed("C")])


def test_another_package_is_refused(monkeypatch, tmp_path):
    def bring(command, into):
        with zipfile.ZipFile(into / "molscore-1.9.5-py3-none-any.whl", "w") as packed:
            for name in oracles.ORACLES:
                packed.writestr(f"{oracles.FOLDER}/{name}.pkl", pickle.dumps(Evil()))

    monkeypatch.setattr(wheel, "run_manager", bring)
    with pytest.raises(BadInput, match=r"is not the one that is known; get version 1\.9\.5"):
        oracles.fetch()


@pytest.fixture
def users_cache(monkeypatch):
    """Look where a user has fetched them, and skip where nobody has."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    oracles._arrays.cache_clear()
    if not all(map(oracles.available, oracles.ORACLES)):
        pytest.skip("the oracles were not fetched")
    yield
    oracles._arrays.cache_clear()


@pytest.mark.parametrize(
    ("oracle", "molecule", "expected"),
    [
        ("gsk3b", "SB-216763", 0.95),
        ("jnk3", "AS601245", 0.63),
        ("drd2", "haloperidol", 0.997),
        ("gsk3b", "aspirin", 0.01),
        ("jnk3", "aspirin", 0.0),
        ("drd2", "aspirin", 0.0),
    ],
)
def test_known_inhibitors_are_known(users_cache, oracle, molecule, expected):
    activity = oracles.ORACLES[oracle].of([parsed(INHIBITORS[molecule])])[0]
    assert activity == pytest.approx(expected, abs=0.006)
