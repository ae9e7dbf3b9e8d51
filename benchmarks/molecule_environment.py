"""Molecule-steps a second of the environment, beside RDKit's at every step; and a PPO iteration.

A step is the masks of an action and its effect, for many molecules at once, actions by chance
among what is possible; molecules that are done are taken out. With `--start moses` they are of a
drug's size. RDKit's step is a copy of the molecule with the same bond added, and its sanitisation;
beside it the check of valence alone.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.record import Section
from trilemma.core.molecule import ELEMENTS, sizes, valences
from trilemma.core.noise import Noise
from trilemma.data import sources
from trilemma.data.chemistry import chemistry, muted
from trilemma.data.rewards import expression
from trilemma.data.search import CountedOracle, Search, start_rows
from trilemma.families.ppo import PPO, PpoSettings
from trilemma.maths.graphs.molecule_environment import MoleculeEnvironment, MoleculeState
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.runs import untrained

ABOUT = "molecule-steps a second beside RDKit's; the parts of a PPO iteration"
OPTIONS: dict[str, tuple[float | int | str, str]] = {
    "molecules": (512, "molecules at once"),
    "atoms": (38, "atoms at most"),
    "rounds": (5, "rounds"),
    "start": ("", "data whose molecules are built on; empty: a carbon"),
}
SMALLEST = {"molecules": 16, "rounds": 1}
"""Options with which all of it runs once, soon."""


def main(options: Any) -> list[Section]:
    """Time both."""
    return [_steps(options), _iteration()]


def _random_actions(mask: Tensor, draw: torch.Generator) -> Tensor:
    safe = mask.double()
    safe[~mask.any(1), 0] = 1
    return torch.multinomial(safe, 1, generator=draw)[:, 0]


def _steps(options: Any) -> Section:
    draw = torch.Generator().manual_seed(0)
    rules = MoleculeEnvironment(valences(), options.atoms, 4 * options.atoms)
    ours, counted, actions = 0.0, 0, []
    starts = torch.zeros(0)
    if options.start:
        x = sources.load(options.start).train.x[:, : options.atoms, : options.atoms]
        starts = x[sizes(x) < options.atoms][: options.molecules]
    for _ in range(options.rounds):
        state = rules.reset(options.molecules, options.atoms)
        if len(starts):
            state = rules.reset_from(starts)
        while len(state):
            start = time.perf_counter()
            first_mask = rules.first_mask(state)
            go = rules.stop_mask(state, first_mask)[:, 0]
            ours += time.perf_counter() - start
            first = _random_actions(first_mask, draw)
            start = time.perf_counter()
            old, new = rules.second_mask(state, first)
            ours += time.perf_counter() - start
            second = _random_actions(torch.cat([old, new], 1), draw)
            room = old.shape[1]
            second = torch.where(second < room, second, room - second - 1)
            start = time.perf_counter()
            bonds = rules.bond_mask(state, first, second)
            ours += time.perf_counter() - start
            bond = _random_actions(bonds, draw) + 1
            action = torch.stack([(~go).long(), first, second, bond], 1)
            actions.append((state[:1], action[:1]))
            start = time.perf_counter()
            state = rules.step(state, action)
            rest = (~state.done).nonzero()[:, 0]
            counted += len(action)
            state = state[rest]
            ours += time.perf_counter() - start
    rate = counted / ours
    atoms = sum(int(state.size[0]) for state, _ in actions[:400]) / len(actions[:400])
    molecules, check = _rdkit(actions[:400])
    rows = [
        ["ours", f"{1e6 / rate:.2f}", "1"],
        ["RDKit, copy and sanitise", f"{molecules:.1f}", f"{molecules * rate / 1e6:.0f}"],
        ["RDKit, copy and check of valence", f"{check:.1f}", f"{check * rate / 1e6:.0f}"],
    ]
    heads = ("who", "microseconds a molecule-step", "times ours")
    return Section(
        f"The environment without a network, molecules of {atoms:.0f} atoms",
        heads,
        rows,
        rate=rate,
    )


def _rdkit(actions: list[tuple[MoleculeState, Tensor]]) -> tuple[float, float]:
    """Return microseconds of RDKit's step: with sanitisation, and with its check of valence."""
    chem = chemistry()
    kinds = (None, chem.BondType.SINGLE, chem.BondType.DOUBLE, chem.BondType.TRIPLE)
    spent = [0.0, 0.0]
    flags = (chem.SANITIZE_ALL, chem.SANITIZE_PROPERTIES)
    with muted():
        for state, action in actions:
            x = state.x[0].tolist()
            size = int(state.size[0])
            mol = chem.RWMol()
            for i in range(size):
                mol.AddAtom(chem.Atom(ELEMENTS[x[i][i] - 1]))
            for i in range(size):
                for j in range(i):
                    if x[i][j]:
                        mol.AddBond(i, j, kinds[x[i][j]])
            stop, first, second, bond = action[0].tolist()
            if stop:
                continue
            for k, flag in enumerate(flags):
                start = time.perf_counter()
                copy = chem.RWMol(mol)
                at = copy.AddAtom(chem.Atom(ELEMENTS[-second - 1])) if second < 0 else second
                copy.AddBond(first, at, kinds[bond])
                chem.SanitizeMol(copy, sanitizeOps=flag)
                spent[k] += time.perf_counter() - start
    return spent[0] / len(actions) * 1e6, spent[1] / len(actions) * 1e6


def _iteration() -> Section:
    """Time the parts of a collection and of its updates, of qed on qm9-small."""
    data = sources.load("qm9-small")
    recipe = CATALOG["gcpn"](reward="qed")
    model: Any = untrained(recipe, data.domain, 0)
    search = Search(
        CountedOracle(expression("qed"), "qed"),
        elements=data.domain.elements,
        valence=model.valence.tolist(),
        most=model.most,
        limit=model.limit,
        seed=0,
    )
    search.score(data.train.x[start_rows(len(data.train), 0)])
    rewarded = 0.0

    def reward(x: Tensor) -> Tensor:
        nonlocal rewarded
        start = time.perf_counter()
        scores = search.score(x)
        rewarded += time.perf_counter() - start
        return scores

    settings = PpoSettings(expert_weight=1.0)
    learner: PPO[Any] = PPO(model, settings)
    (objective,) = learner.objectives()
    parameters = list(objective.parameters)
    collecting = updating = 0.0
    built = 0
    for number in range(3):
        real = search.replay(Noise.of(number, 64))
        start = time.perf_counter()
        batch = model.collect(Noise.of(number, 64), real, reward, settings)
        collecting += time.perf_counter() - start
        built += 64
        for turn in range(8):
            rows = torch.randint(len(batch), (512,))
            some = type(batch)(
                **{
                    name: getattr(batch, name)[rows]
                    for name in ("x", "latest", "remaining", "action", "old", "advantage")
                },
                returns=batch.returns[rows],
                real=batch.real[rows],
                built=batch.built[rows],
                reward=batch.reward[rows],
                noise=Noise.of(turn, 512),
            )
            start = time.perf_counter()
            torch.autograd.grad(objective.loss(some).value, parameters)
            updating += time.perf_counter() - start
    total = collecting + updating
    rows = [
        ["policy and environment", f"{(collecting - rewarded) / built * 1e3:.2f}",
         f"{(collecting - rewarded) / total:.0%}"],
        ["reward (qed)", f"{rewarded / built * 1e3:.2f}", f"{rewarded / total:.0%}"],
        ["eight updates of 512", f"{updating / built * 1e3:.2f}", f"{updating / total:.0%}"],
    ]  # fmt: skip
    title = f"An iteration of PPO, untrained policy: {built / total:.0f} molecules a second"
    return Section(title, ("part", "milliseconds a molecule", "share"), rows)
