r"""Classifiers of activity against three proteins, as the field's benchmarks ask them.

    gsk3b   glycogen synthase kinase 3 beta: a forest on Morgan bits of radius 3
    jnk3    c-Jun N-terminal kinase 3: the same
    drd2    dopamine receptor D2: a support vector machine on counts of Morgan features of radius
            3, Gaussian kernel, Platt's probability

`trilemma data fetch oracles` takes them out of the wheel of the MIT-licensed package molscore,
which is asked for by its name and not installed. They are pickles there, and are read by an
unpickler that knows a closed list of names, stands inert classes in for scikit-learn's, and
refuses all else; what is kept is arrays. They are evaluated here, in numpy.

The decision value f of the stored machine and Platt's A and B are of the active class: the
probability of being active is 1 / (1 + exp(A f + B)).

References:
    | De novo drug design of dual inhibitors: multi-objective de novo drug design with conditional
      graph generative model (Li, Zhang & Liu, 2018), for GSK3β and JNK3
    | Molecular de-novo design through deep reinforcement learning (Olivecrona, Blaschke, Engkvist
      & Chen, 2017), for DRD2
    | Sample Efficiency Matters: A Benchmark for Practical Molecular Optimization (Gao, Fu, Sun &
      Coley, 2022)
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trilemma.core.errors import BadInput
from trilemma.data import cache as data_cache
from trilemma.data.wheel import Wheel, keep

__all__ = ["HOW", "NAME", "ORACLES", "Oracle", "available", "fetch", "restricted"]

NAME, PACKAGE, VERSION = "oracles", "molscore", "1.9.5"
HOW = f"trilemma data fetch {NAME} (PyPI package {PACKAGE} {VERSION})"
FOLDER = "molscore/data/models/molopt"
BITS = 2048
Array = NDArray[Any]


@dataclass(frozen=True)
class Oracle:
    """A classifier of activity."""

    meaning: str
    sha256: str
    """Of the file in the package."""
    of: Callable[[Sequence[Any]], list[float]]
    """Molecules of RDKit to probabilities."""


# Reading


class Inert:
    """Stands in for a class of a pickle: keeps what it is given, and does nothing."""

    def __init__(self, *args: object) -> None:
        """Keep the arguments."""
        self.args = args

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401
        """Keep the state."""
        self.state = state


STAND_INS = {
    ("sklearn.ensemble.forest", "RandomForestClassifier"),
    ("sklearn.tree.tree", "DecisionTreeClassifier"),
    ("sklearn.tree._tree", "Tree"),
    ("sklearn.svm.classes", "SVC"),
}
"""Classes of scikit-learn that such a file names."""


class _Restricted(pickle.Unpickler):
    """Reads arrays and stand-ins, and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        """Return what a name stands for, if it is on the list."""
        if (module, name) in STAND_INS:
            return Inert
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return np._core.multiarray._reconstruct  # pyright: ignore[reportAttributeAccessIssue]
        if (module, name) == ("numpy.core.multiarray", "scalar"):
            return np._core.multiarray.scalar  # pyright: ignore[reportAttributeAccessIssue]
        raise BadInput(f"the pickle asks for {module}.{name}, which is not on the list; refused.")


def restricted(raw: bytes) -> Any:  # noqa: ANN401
    """Read a pickle of arrays and of a closed list of classes, which become inert.

    Raises:
        BadInput: It names anything else, or is damaged.
    """
    try:
        return _Restricted(io.BytesIO(raw), encoding="latin1").load()
    except BadInput:
        raise
    except Exception as error:
        raise BadInput(f"the pickle cannot be read ({type(error).__name__}: {error}).") from None


def _forest(model: Inert) -> dict[str, Array]:
    """Return the nodes of all trees one after another, each tree's root by its place."""
    columns: dict[str, list[Array]] = {
        k: [] for k in ("left", "right", "feature", "threshold", "p")
    }
    roots, offset = [], 0
    for tree in model.state["estimators_"]:
        nodes, values = tree.state["tree_"].state["nodes"], tree.state["tree_"].state["values"]
        values = values[:, 0, :]
        roots.append(offset)
        node_ids = np.arange(offset, offset + len(nodes))
        for side in ("left", "right"):
            child = nodes[f"{side}_child"]
            # a leaf leads to itself
            columns[side].append(np.where(child < 0, node_ids, child + offset))
        columns["feature"].append(np.maximum(nodes["feature"], 0))
        columns["threshold"].append(nodes["threshold"])
        columns["p"].append(values[:, 1] / values.sum(1))
        offset += len(nodes)
    arrays = {name: np.concatenate(parts) for name, parts in columns.items()}
    kinds = {"left": np.int32, "right": np.int32, "feature": np.int32, "threshold": np.float32}
    return {name: x.astype(kinds.get(name, np.float64)) for name, x in arrays.items()} | {
        "roots": np.array(roots, dtype=np.int32)
    }


def _machine(model: Inert) -> dict[str, Array]:
    state = model.state
    return {
        "vectors": np.asarray(state["support_vectors_"], dtype=np.float32),
        "weights": np.asarray(state["dual_coef_"], dtype=np.float64).ravel(),
        "numbers": np.array(
            [
                np.ravel(state["intercept_"])[0],
                np.ravel(state["probA_"])[0],
                np.ravel(state["probB_"])[0],
                state["_gamma"],
            ],
            dtype=np.float64,
        ),
    }


# Getting


def _path(name: str) -> Path:
    return data_cache.folder() / f"oracle-{name}.safetensors"


def available(name: str) -> bool:
    """Tell whether an oracle was fetched."""
    return _path(name).is_file()


def fetch() -> Path:
    """Have pip bring the package, and keep the three classifiers as arrays.

    Raises:
        BadInput: pip is missing or fails, or a file is not the one that is known.
    """
    if all(data_cache.read(_path(name)) is not None for name in ORACLES):
        return data_cache.folder()
    with _wheel().opened() as read_file:
        for name, oracle in ORACLES.items():
            _keep(name, read_file(f"{FOLDER}/{name}.pkl"), oracle)
    _arrays.cache_clear()
    return data_cache.folder()


def _wheel() -> Wheel:
    hashes = {f"{FOLDER}/{name}.pkl": oracle.sha256 for name, oracle in ORACLES.items()}
    return Wheel(PACKAGE, VERSION, hashes)


def _keep(name: str, raw: bytes, oracle: Oracle) -> None:
    model = restricted(raw)
    arrays = _forest(model) if "estimators_" in model.state else _machine(model)
    tensors = {key: torch.from_numpy(np.ascontiguousarray(x)) for key, x in arrays.items()}
    licence = f"Classifiers of activity from the package {PACKAGE} {VERSION}. Licence: MIT."
    keep(_path(name), tensors, {"sha256": oracle.sha256}, "oracles.LICENSE.txt", licence)


@cache
def _arrays(name: str) -> Mapping[str, Array]:
    cached = data_cache.read(_path(name))
    if cached is None:
        raise BadInput(f"the oracle '{name}' is not on this machine; get it by {HOW}.")
    return {key: x.numpy() for key, x in cached[0].items()}


# Asking


def by_forest(name: str, mols: Sequence[Any]) -> list[float]:
    """Return the mean over all trees of the share of actives in the leaf of each molecule."""
    from rdkit.Chem import rdFingerprintGenerator

    trees = _arrays(name)
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=3, fpSize=BITS)
    x = np.stack([generator.GetFingerprintAsNumPy(mol) for mol in mols]).astype(np.float32)
    rows = np.arange(len(x))[:, None]
    node = np.broadcast_to(trees["roots"], (len(x), len(trees["roots"]))).copy()
    while True:
        goes_left = x[rows, trees["feature"][node]] <= trees["threshold"][node]
        next_node = np.where(goes_left, trees["left"][node], trees["right"][node])
        if np.array_equal(next_node, node):
            return trees["p"][node].mean(1).tolist()
        node = next_node


def by_machine(name: str, mols: Sequence[Any]) -> list[float]:
    """Return Platt's probability of the class of actives."""
    from rdkit.Chem import rdFingerprintGenerator

    arrays = _arrays(name)
    generator = rdFingerprintGenerator.GetMorganGenerator(
        radius=3,
        atomInvariantsGenerator=rdFingerprintGenerator.GetMorganFeatureAtomInvGen(),
    )
    x = np.zeros((len(mols), BITS), dtype=np.float32)
    for row, mol in zip(x, mols, strict=True):
        for index, count in generator.GetSparseCountFingerprint(mol).GetNonzeroElements().items():
            row[index % BITS] += count
    vectors, (intercept, a, b, gamma) = arrays["vectors"], arrays["numbers"]
    squares = (x**2).sum(1)[:, None] + (vectors**2).sum(1) - 2 * x @ vectors.T
    value = np.exp(-gamma * squares.astype(np.float64)) @ arrays["weights"] + intercept
    return (1 / (1 + np.exp(a * value + b))).tolist()


ORACLES: Mapping[str, Oracle] = {
    "gsk3b": Oracle(
        "probability of inhibiting GSK3 beta",
        "18d1cc9bb9498e4bae0755842080558cb2d0444ecb51beffa0ef58a6d760b74b",
        partial(by_forest, "gsk3b"),
    ),
    "jnk3": Oracle(
        "probability of inhibiting JNK3",
        "5c7548343996a22d9a7aae8a91f34e4bc2e5e6e5a6d9c2decce3b164459af52b",
        partial(by_forest, "jnk3"),
    ),
    "drd2": Oracle(
        "probability of binding DRD2",
        "bf6d92d9bc1bef7efa688e14855c707e6ab7b43ec2c2f2ef28deabdc2a53480a",
        partial(by_machine, "drd2"),
    ),
}
