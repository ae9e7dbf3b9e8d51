r"""PMO's sample efficiency: how fast the best are found within a number of calls of an oracle.

Each task is a reward, each method spends the same calls on it, counted once for each canonical
molecule (`data.search.CountedOracle`), from the same molecules to begin with: those of the data
set that a seed draws, which are asked too, and at most 45 heavy atoms. Of each run stands

    auc_top10    PMO's area (`maths.search`): the mean of the best ten so far, by trapezoids every
                 100 calls, over the calls; where a method stops before, its last mean is held
    top1, top10  what was found in the end, and seconds of a core

    gcpn             as the recipe has it: replay of the best, a genetic proposer, a surrogate
    gcpn-no-surrogate  without the surrogate: all children and all that is built are asked
    gcpn-no-children without surrogate and proposer: the policy and replay
    gcpn-paper       without the three: the paper's, with true PPO and the experts of the data
    proposer         proposer and surrogate alone, without a policy
    genetic          the proposer alone, without surrogate and policy
    mol-ga           Mol GA of the package mol-ga, where it is installed, with 100 offspring a
                     generation
    screening        molecules of the data in random order

A run is kept in `--out` when it ends, so that the same command goes on; TASK.svg there draws the
best ten over calls. PMO's published rows begin
with ZINC's molecules and are not those of the same start.

References:
    | Sample Efficiency Matters: A Benchmark for Practical Molecular Optimization (Gao, Fu, Sun &
      Coley, 2022)
    | Genetic algorithms are strong baselines for molecule generation (Tripp & Hernández-Lobato,
      2023), for Mol GA
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from benchmarks.record import Section
from trilemma.core.errors import BadInput
from trilemma.core.molecule import valences
from trilemma.core.session import Session
from trilemma.data import guacamol, sources
from trilemma.data.dataset import DataSet
from trilemma.data.rewards import expression
from trilemma.data.search import STARTED, CountedOracle, Search, start_rows
from trilemma.maths.search import EVERY, auc_top, best_so_far, top
from trilemma.pictures import charts
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.runs import begin, load
from trilemma.training.budget import Budget

ABOUT = "how fast molecules of worth are found: gcpn beside Mol GA and screening"
OPTIONS: dict[str, tuple[float | int | str, str]] = {
    "tasks": ("jnk3,gsk3b,drd2,qed", "rewards, with commas between: of TASKS, or 'all'"),
    "methods": ("gcpn,proposer,mol-ga,screening", "methods, with commas between"),
    "seeds": (3, "seeds of each"),
    "calls": (10_000, "calls of the oracle"),
    "data": ("moses", "where the first molecules are from"),
    "out": ("pmo", "folder of the runs, to be gone on with"),
}
SMALLEST = {
    "tasks": "qed",
    "methods": "gcpn,screening",
    "seeds": 1,
    "calls": 40,
    "data": "qm9-small",
}
"""Options with which all of it runs once, soon."""
MOST = 45
"""Heavy atoms at most, of every method that builds."""
TASKS: Mapping[str, str] = {
    "jnk3": "jnk3",
    "gsk3b": "gsk3b",
    "drd2": "drd2",
    "qed": "qed",
    "isomers_c7h8n2o2": "isomer(C7H8N2O2)",
    "isomers_c9h10n2o2pf2cl": "isomer(C9H10N2O2PF2Cl)",
    "celecoxib_rediscovery": "rediscover(Cc1ccc(cc1)-c1cc(nn1-c1ccc(cc1)S(N)(=O)=O)C(F)(F)F)",
    "troglitazone_rediscovery": (
        "rediscover(Cc1c(C)c2OC(C)(COc3ccc(CC4SC(=O)NC4=O)cc3)CCc2c(C)c1O)"
    ),
    "thiothixene_rediscovery": ("rediscover(CN(C)S(=O)(=O)c1ccc2Sc3ccccc3C(=CCCN4CCN(C)CC4)c2c1)"),
    **{name: name for name in guacamol.TASKS},
}
"""PMO's 23 tasks, by its names, as rewards."""
PUBLISHED = {
    "REINVENT (PMO, from ZINC)": {"jnk3": 0.783, "gsk3b": 0.865, "drd2": 0.945, "qed": 0.941},
    "Graph GA (PMO, from ZINC)": {"jnk3": 0.553, "gsk3b": 0.788, "drd2": 0.964, "qed": 0.940},
    "Mol GA (published)": {"jnk3": 0.702, "gsk3b": 0.843, "drd2": 0.936, "qed": 0.941},
}
FIELDS: Mapping[str, Mapping[str, Any]] = {
    "gcpn": {"atoms": MOST},
    "gcpn-no-surrogate": {"atoms": MOST, "asked": 0, "children": 96},
    "gcpn-no-children": {"atoms": MOST, "asked": 0, "children": 0, "episodes": 128},
    "gcpn-paper": {
        "atoms": MOST,
        "asked": 0,
        "children": 0,
        "episodes": 128,
        "replay": False,
    },
}
"""Fields of the recipe, by method."""

Scores = list[float]
Results = Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]
"""Runs by task and method."""


def main(options: Any) -> list[Section]:
    """Run what is missing, and count."""
    data = sources.load(options.data)
    tasks = list(TASKS) if options.tasks == "all" else options.tasks.split(",")
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    results_by_task: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for seed in range(options.seeds):
        for task in tasks:
            for method in options.methods.split(","):
                one = _run(task, method, seed, data, options, folder)
                if one is not None:
                    results_by_task.setdefault((task, method), []).append(one)
    for task in tasks:
        _draw(task, results_by_task, options.calls, folder)
    return [_section(results_by_task, tasks, options.methods.split(","), options)]


def _draw(task: str, results_by_task: Results, calls: int, folder: Path) -> None:
    """Write how the mean of the best ten rose with the calls, in mean over seeds, as TASK.svg."""
    marks = list(range(0, calls + 1, EVERY))
    courses = {}
    for (name, method), runs in results_by_task.items():
        trajectories = [one["course"] for one in runs if "course" in one]
        if name == task and trajectories:
            # Where a method stopped before, its last mean is held.
            padded = [(each + each[-1:] * len(marks))[: len(marks)] for each in trajectories]
            courses[method] = [mean(values) for values in zip(*padded, strict=True)]
    if courses:
        chart = charts.lines(marks, courses, "calls of the oracle", f"best ten, {task}")
        (folder / f"{task}.svg").write_text(chart)


def _run(
    task: str, method: str, seed: int, data: DataSet, options: Any, folder: Path
) -> dict[str, Any] | None:
    path = folder / f"{task}-{method}-{seed}.json"
    if path.exists():
        stored = json.loads(path.read_text())
        if stored["calls"] == options.calls:
            return stored
    if task not in TASKS:
        raise BadInput(f"there is no task '{task}'; there are {', '.join(TASKS)}.")
    how = METHODS.get(method)
    if how is None and method not in FIELDS:
        raise BadInput(
            f"there is no method '{method}'; there are {', '.join([*FIELDS, *METHODS])}."
        )
    print(f"{task}, {method}, seed {seed}", flush=True)
    start = time.process_time()
    if how is not None:
        scores = how(TASKS[task], seed, data, options.calls)
    else:
        scores = _by_policy(TASKS[task], seed, data, options.calls, FIELDS[method], path)
    if scores is None:
        return None
    s = torch.tensor(scores)
    record = {
        "auc_top10": auc_top(s, calls=options.calls),
        "top10": top(s, 10),
        "top1": top(s, 1),
        "asked": len(scores),
        "calls": options.calls,
        "seconds": time.process_time() - start,
        "course": [round(value, 4) for value in best_so_far(s, 10)[1]],
    }
    path.write_text(json.dumps(record))
    print({name: value for name, value in record.items() if name != "course"}, flush=True)
    return record


def _by_policy(
    reward: str, seed: int, data: DataSet, calls: int, fields: Mapping[str, Any], path: Path
) -> Scores:
    recipe = CATALOG["gcpn"](reward=reward, oracle_calls=calls, **fields)
    run, events = begin(
        recipe,
        data,
        source=data.name,
        path=path.with_suffix("") / f"run-{int(time.time())}",
        budget=Budget(steps=recipe.steps),
        session=Session(seed=seed),
        precision="fp32",
    )
    for _ in events:
        pass
    return load(run.path, warn=print).model.call_scores().tolist()


def _by_proposer(
    reward: str, seed: int, data: DataSet, calls: int, calls_per_step: int = 32
) -> Scores:
    oracle = CountedOracle(expression(reward), reward, calls)
    search = Search(
        oracle,
        elements=data.domain.elements,
        valence=valences(data.domain.elements).tolist(),
        most=MOST,
        limit=data.domain.shape[0],
        seed=seed,
        surrogate_queries=calls_per_step,
    )
    search.score(data.train.x[start_rows(len(data.train), seed)])
    number = 0
    while not oracle.is_spent:
        search.advance(search.best[:0], 8 * calls_per_step or 64, number)
        number += 1
    return list(oracle.scores.values())


def _screened(reward: str, seed: int, data: DataSet, calls: int) -> Scores:
    oracle = CountedOracle(expression(reward), reward, calls)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))
    names = data.train.names or ()
    oracle([names[i] for i in order[:calls].tolist()])
    return list(oracle.scores.values())


class _Spent(Exception):
    """The calls are spent."""


def _by_mol_ga(reward: str, seed: int, data: DataSet, calls: int) -> Scores | None:
    if importlib.util.find_spec("mol_ga") is None:
        print("mol-ga is not installed: pip install --no-deps mol-ga==0.2.1")
        return None
    from mol_ga import default_ga
    from rdkit import Chem

    oracle = CountedOracle(expression(reward), reward, calls)

    def scored(smiles: Sequence[str]) -> list[float]:
        record = []
        for text in smiles:
            mol = Chem.MolFromSmiles(text)
            fits = mol is not None and mol.GetNumHeavyAtoms() <= MOST
            record.append(Chem.MolToSmiles(mol) if fits else "")
        values = [0.0 if value is None else value for value in oracle(record)]
        if oracle.is_spent:
            raise _Spent
        return values

    names = data.train.names or ()
    start = [names[i] for i in start_rows(len(data.train), seed).tolist()]
    with contextlib.suppress(_Spent):
        default_ga(start, scored, 10**6, 100, rng=random.Random(seed))
    return list(oracle.scores.values())


METHODS: Mapping[str, Callable[[str, int, DataSet, int], Scores | None]] = {
    "proposer": _by_proposer,
    "genetic": partial(_by_proposer, calls_per_step=0),
    "mol-ga": _by_mol_ga,
    "screening": _screened,
}


def _section(
    results_by_task: Results,
    tasks: Sequence[str],
    methods: Sequence[str],
    options: Any,
) -> Section:
    rows = []
    for method in methods:
        cells, total = [], 0.0
        for task in tasks:
            each = [one["auc_top10"] for one in results_by_task.get((task, method), ())]
            total += mean(each) if each else 0.0
            spread = f" ± {stdev(each):.3f}" if len(each) > 1 else ""
            cells.append(f"{mean(each):.3f}{spread} ({len(each)})" if each else "–")
        seconds = [
            one["seconds"] for task in tasks for one in results_by_task.get((task, method), ())
        ]
        rows.append([method, *cells, f"{total:.2f}", f"{mean(seconds):.0f}" if seconds else "–"])
    for name, published in PUBLISHED.items():
        cells = [f"{published[task]:.3f}" if task in published else "–" for task in tasks]
        rows.append([name, *cells, "", ""])
    title = (
        f"auc_top10 over {options.calls:,} calls, mean ± standard deviation over seeds (their "
        f"number); every method begins with {STARTED} molecules of {options.data} that the seed "
        "draws"
    )
    return Section(title, ["method", *tasks, "sum", "seconds of a core a run"], rows)
