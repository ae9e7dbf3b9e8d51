"""Constrained optimisation: what 200 calls a molecule buy where it must stay like itself.

The molecules of the data's test part that are worth least by penalised logP, or those of
`--start FILE.smi`, are improved by `gcpn --improve true`, at several similarities. *Success*: a
molecule that is worth more, at that similarity. Figures of papers, on 800 of ZINC, and with other
numbers of calls: GCPN 4.20 ± 1.28, 4.12 ± 1.19, 2.49 ± 1.30, 0.79 ± 0.63 at 0, .2, .4, .6, success
100 %. `without a policy`: the genetic proposer and the surrogate alone.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from benchmarks.record import Section
from trilemma.core.errors import BadInput
from trilemma.core.molecule import valences
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.data.chemistry import parsed, standardised, to_smiles, to_tensors
from trilemma.data.constrained import ConstrainedSearch, similarity
from trilemma.data.dataset import DataSet
from trilemma.data.rewards import expression
from trilemma.data.search import CountedOracle
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.runs import begin, load
from trilemma.training.budget import Budget

ABOUT = "what calls buy where a molecule must stay like itself"
OPTIONS: dict[str, tuple[float | int | str, str]] = {
    "data": ("moses", "whose test part the molecules are from; the experts are of its other part"),
    "start": ("", "a .smi of the molecules instead"),
    "molecules": (100, "how many, the lowest first"),
    "reward": ("plogp", "what is to be raised"),
    "similarities": ("0,0.2,0.4,0.6", "that must stay, with commas between"),
    "methods": ("gcpn,without a policy", "methods, with commas between"),
    "calls": (200, "calls a molecule"),
    "seed": (0, "seed of the search"),
}
SMALLEST = {"data": "qm9-small", "molecules": 2, "similarities": "0.4", "calls": 4}
"""Options with which all of it runs once, soon."""
MOST = 38
"""Heavy atoms at most."""


def main(options: Any) -> list[Section]:
    """Improve each."""
    data = sources.load(options.data)
    names = list(data.test.names or ())
    if options.start:
        loaded_run = sources.load(options.start)
        names = [*(loaded_run.train.names or ()), *(loaded_run.test.names or ())]
    worth = expression(options.reward)
    values = torch.tensor(worth([parsed(s) for s in names]))
    lowest = [names[i] for i in values.argsort(stable=True)[: options.molecules].tolist()]
    rows = []
    for text in options.similarities.split(","):
        for method in options.methods.split(","):
            start = time.process_time()
            improved_smiles = _improved(method, lowest, float(text), data, options)
            before, after = (
                torch.tensor(worth([parsed(s) for s in x])) for x in (lowest, improved_smiles)
            )
            alike = [similarity(s, t) for s, t in zip(lowest, improved_smiles, strict=True)]
            gains = (after - before).tolist()
            row = [
                text,
                method,
                f"{mean(gains):.2f} ± {stdev(gains):.2f}",
                f"{sum(gain > 0 for gain in gains) / len(gains):.0%}",
                f"{mean(alike):.2f}, {min(alike):.2f}",
                f"{before.mean().item():.2f}",
                f"{time.process_time() - start:.0f}",
            ]
            print(row, flush=True)
            rows.append(row)
    title = (
        f"{options.reward} of the {len(lowest)} lowest of {options.start or options.data}, "
        f"{options.calls} calls each, at most {MOST} heavy atoms, seed {options.seed}"
    )
    heads = (
        "similarity",
        "method",
        "improvement ± deviation",
        "success",
        "similarity reached: mean, least",
        "before",
        "seconds of a core",
    )
    return [Section(title, heads, rows)]


def _improved(
    method: str, smiles: list[str], least: float, data: DataSet, options: Any
) -> list[str]:
    """Return what each given molecule has become."""
    if method == "gcpn":
        return _by_policy(smiles, least, data, options)
    if method != "without a policy":
        raise BadInput(f"there is no method '{method}'; there are gcpn, without a policy.")
    search = ConstrainedSearch(
        CountedOracle(expression(options.reward), options.reward),
        to_tensors([standardised(parsed(s)) for s in smiles], data.domain.shape[0]),
        least=least,
        each=options.calls,
        elements=data.domain.elements,
        valence=valences(data.domain.elements).tolist(),
        most=MOST,
        limit=data.domain.shape[0],
        seed=options.seed,
        surrogate_queries=128,
    )
    search.open(search.start_molecules[:0])
    number = 0
    while not search.is_spent and number < 20 * options.calls:
        search.advance(search.start_molecules[:0], 1024, number)
        number += 1
    return to_smiles(search.improved(), data.domain.elements)


def _by_policy(smiles: list[str], least: float, data: DataSet, options: Any) -> list[str]:
    recipe = CATALOG["gcpn"](
        reward=options.reward,
        improve=True,
        similarity=least,
        oracle_calls=options.calls,
        start=",".join(smiles),
        atoms=MOST,
    )
    with tempfile.TemporaryDirectory() as folder:
        run, events = begin(
            recipe,
            data,
            source=data.name,
            path=Path(folder) / "run",
            budget=Budget(steps=recipe.steps),
            session=Session(seed=options.seed),
            precision="fp32",
        )
        for _ in events:
            pass
        model: Any = load(run.path, warn=print).model
        return to_smiles(model.improved(), data.domain.elements)
