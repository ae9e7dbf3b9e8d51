"""Molecules by a policy: like the data, or worth much."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Model, Stage, Stream
from trilemma.core.molecule import sizes
from trilemma.core.noise import Noise, mix
from trilemma.data.chemistry import NotUsable, parsed, standardised, to_smiles, to_tensors
from trilemma.data.constrained import ConstrainedSearch
from trilemma.data.dataset import DataSet
from trilemma.data.molecule_files import read_molecules
from trilemma.data.rewards import expression, named_in
from trilemma.data.rollouts import Rollouts
from trilemma.data.search import CountedOracle, Search, start_rows
from trilemma.data.stream import ExampleStream
from trilemma.families.gcpn import MoleculePolicy, MoleculeTransitions
from trilemma.families.ppo import PPO, BehaviourCloning, PpoSettings
from trilemma.networks.relational import MoleculeCritic, MoleculeHeads
from trilemma.recipes.recipe import Recipe

__all__ = ["MoleculeReinforced"]

STATES = 4
"""States on the way to each molecule of a batch, of cloning."""
CLONED = 1000
"""Updates of cloning where calls of an oracle are the budget."""


@dataclass(frozen=True)
class PolicyPace:
    """How a policy learns where nothing else is said."""

    episodes: int
    epochs: float
    expert: float
    entropy: float
    rate: float
    """Share of the learning rate."""


BY_CALLS = PolicyPace(32, 4, 1.0, 0.01, 1.0)
"""Where calls of an oracle are the budget: what was asked is learnt from again and again. So too
where a critic alone says what molecules are worth."""
BY_TIME = PolicyPace(256, 0.5, 0.01, 0.03, 0.25)
"""Where a reward may be asked as often as one likes: many episodes, few updates on each
collection."""
LOWEST, LOOKED, EACH = 100, 10_000, 200
"""Molecules that are given where none are, molecules of the test part that are looked at for them,
and calls for each."""


@dataclass(frozen=True, kw_only=True)
class MoleculeReinforced(Recipe):
    """Trains a graph convolutional policy that builds molecules, valence kept at every step."""

    name: ClassVar[str] = "gcpn"
    family: ClassVar[str] = "molecule policy"
    reference: ClassVar[str] = (
        "Graph Convolutional Policy Network for Goal-Directed Molecular Graph Generation, You, "
        "Liu, Ying, Pande & Leskovec, 2018, arXiv:1806.02473"
    )
    _notes: ClassVar[Sequence[str]] = ()
    kinds: ClassVar[tuple[str, ...]] = ("molecule",)
    bf16: ClassVar[bool] = False

    batch: int = 64
    """Molecules an update of cloning; a batch of transitions is eight times as large."""
    lr: float = 2e-3
    """Peak learning rate of AdamW."""

    reward: str = ""
    """What is sought: qed, plogp, jnk3, logp[5,5.5], similar(SMILES), a plug-in's, sums and
    products of such; empty: molecules like the data."""
    oracle_calls: int = 0
    """Different molecules whose worth may be asked, as a budget; 0: any number. With --improve,
    for each given molecule; 0: 200."""
    atoms: int = 38
    """Heavy atoms of a molecule that is built, at most."""
    width: int = 64
    """Numbers of an atom's embedding."""
    layers: int = 4
    """Rounds of messages."""
    cloning: float = 0.5
    """Share of the training that learns from experts, before reinforcement where there is any."""
    adversarial: float = 0.0
    """Weight of a critic's reward, which tells molecules that are built from the data."""
    expert: float = 1.0
    """Weight of the experts' loss in reinforcement, in units of the usual: 1 beside the reward's
    where calls of an oracle are the budget, else .01."""
    replay: bool = True
    """Whether the best that were found are the experts of reinforcement; else the data are."""
    children: int = 1024
    """Children of the best that a genetic proposer makes for each collection; 0: none."""
    asked: int = 128
    """Molecules of each collection, of the policy's and the proposer's, that a surrogate of the
    oracle chooses to be asked where its calls are the budget; 0: no surrogate, all are asked."""
    episodes: int = 0
    """Molecules that the policy builds for each collection; 0: 32 where calls of an oracle are the
    budget, else 256."""
    epochs: float = 0.0
    """How often the transitions of a collection are learnt from; 0: 4 times where calls of an
    oracle are the budget, else half of them."""
    clip_ratio: float = 0.2
    """How far the policy may go from the one that acted, as a ratio of probabilities."""
    target_kl: float = 0.03
    """Divergence from the policy that acted at which it plays anew; 0: only after all epochs."""
    entropy: float = 1.0
    """Weight of the policy's entropy, in units of the usual: .01 where calls of an oracle are the
    budget, else .03."""
    start: str = ""
    """SMILES with which episodes begin, such as a scaffold, with commas between, or a file of
    molecules; empty: a carbon."""
    step_reward: float = 0.0
    """Reward of an episode's steps beside its end's, .5 in the paper; 0: none."""
    improve: bool = False
    """Whether each molecule of --start is made worth more by itself; by default the hundred that
    are worth least in the test part."""
    similarity: float = 0.4
    """Tanimoto similarity to the given molecule that must stay where it is improved, 0 to 1."""

    def __post_init__(self) -> None:
        """Read the molecules of --start where it is a file: a recipe knows them by itself."""
        if self.start and "," not in self.start and Path(self.start).is_file():
            file = read_molecules(Path(self.start))
            object.__setattr__(self, "_notes", [f"--start: {note}" for note in file.notes()])
            object.__setattr__(self, "start", ",".join(one.smiles for one in file.molecules))

    def notes(self) -> Sequence[str]:
        """Say what of the molecules of --start cannot be used, and what was changed of them."""
        return self._notes

    @property
    def goal(self) -> str | None:
        """Return the reward that is sought, if one is."""
        return self.reward or None

    def entries(self) -> Collection[tuple[str, str]]:
        """Return the rewards that are asked."""
        return {("reward", name) for name in named_in(self.reward)}

    @property
    def steps(self) -> int:
        """Return the steps for which the calls of the oracle do at the latest."""
        calls = self.oracle_calls
        if self.improve:
            calls = self._calls_each * (len(self._starts()) or LOWEST)
        if not calls:
            return 0
        calls_per_collection = self.asked or max(1, self._pace.episodes // 2 + self.children)
        return self._cloned + self._batches * math.ceil(2 * calls / calls_per_collection)

    @property
    def _cloned(self) -> int:
        """Return the updates of cloning where calls are the budget."""
        return CLONED if self.cloning > 0 else 0

    @property
    def _calls_each(self) -> int:
        """Return the calls of each given molecule."""
        return self.oracle_calls or EACH

    @property
    def _batches(self) -> int:
        """Return the batches of a collection: about twenty transitions a molecule."""
        pace = self._pace
        return max(1, round(pace.epochs * max(1, round(20 * pace.episodes / (8 * self.batch)))))

    @property
    def _is_by_calls(self) -> bool:
        """Tell whether calls of an oracle are the budget."""
        return bool(self.oracle_calls) or self.improve

    @property
    def _pace(self) -> PolicyPace:
        """Return how the policy learns, by the fields where they say it."""
        defaults = BY_TIME if self.reward and not self._is_by_calls else BY_CALLS
        return PolicyPace(
            self.episodes or defaults.episodes,
            self.epochs or defaults.epochs,
            defaults.expert * self.expert,
            defaults.entropy * self.entropy,
            defaults.rate,
        )

    @property
    def is_reinforced(self) -> bool:
        """Tell whether a reward follows on cloning."""
        return bool(self.reward) or self.adversarial > 0

    def model(self, domain: Domain) -> Model:
        """Build the untrained model.

        Raises:
            BadInput: A field is out of its range, or the reward or a start cannot be read.
        """
        self._refuse(domain)
        elements = len(domain.elements)
        critic = None
        if self.adversarial > 0:
            critic = MoleculeCritic(elements=elements, width=self.width)
        return MoleculePolicy(
            MoleculeHeads(
                elements=elements,
                width=self.width,
                layers=self.layers,
                valued=self.is_reinforced,
            ),
            domain,
            most=self.atoms,
            critic=critic,
            starts=len(self._starts()) or (LOWEST if self.improve else 0),
            seeks=self.reward,
            constrained=self.improve,
        )

    def stages(self, model: Model, data: DataSet, seed: int) -> Sequence[Stage]:
        """Return cloning, and reinforcement where something is sought."""
        assert isinstance(model, MoleculePolicy)

        def examples() -> Stream[Any]:
            return ExampleStream(data.train, min(self.batch, len(data.train)), seed)

        def prepare() -> None:
            if self.start:
                model.begin_with(self._started(data.domain))
            elif self.improve:
                model.begin_with(self._lowest(data))

        clone = BehaviourCloning(model, STATES)
        if not self.is_reinforced:
            return [Stage("experts", clone, examples, prepare=prepare)]
        settings = PpoSettings(
            clip=self.clip_ratio,
            target_kl=self.target_kl,
            entropy_weight=self._pace.entropy,
            expert_weight=self._pace.expert,
            rate=self._pace.rate,
        )
        learner: PPO[MoleculeTransitions] = PPO(model, settings)

        def rollouts() -> Stream[MoleculeTransitions]:
            return self._rollouts(model, data, learner, seed)

        share = self.cloning
        if self.steps:
            share = self._cloned / self.steps
        if share <= 0:
            return [Stage("reinforce", learner, rollouts, prepare=prepare)]
        return [
            Stage("experts", clone, examples, share=share, prepare=prepare),
            Stage("reinforce", learner, rollouts, share=1 - share),
        ]

    def _rollouts(
        self, model: MoleculePolicy, data: DataSet, learner: PPO[MoleculeTransitions], seed: int
    ) -> Rollouts[MoleculeTransitions]:
        search = self._search(model, data, seed)

        def collect(noise: Noise, number: int) -> MoleculeTransitions:
            def reward(x: Tensor) -> Tensor:
                total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
                if search is not None:
                    total = total + search.advance(x, self.children, number)
                if self.adversarial > 0:
                    total = total + self.adversarial * learner.adversarial(x).double()
                return total

            device = next(model.parameters()).device
            if search is not None and number == 0 and (self.replay or self.children):
                search.open(data.train.x[start_rows(len(data.train), seed)])
            starts = search.starts(len(noise), number) if search is not None else None
            if search is not None and self.replay and len(search.best):
                real = search.replay(noise)
            else:
                real = data.train.x[noise.named("real").integers(len(data.train))]
            transitions = model.collect(
                noise.to(device),
                real.to(device),
                reward,
                learner.settings,
                starts=None if starts is None else starts.to(device),
                step_reward=self.step_reward,
            )
            if search is not None:
                model.remember(list(search.oracle.scores.values()), search.best)
            if isinstance(search, ConstrainedSearch):
                model.remember_improved(search.improved())
            return transitions

        return Rollouts(
            collect,
            MoleculeTransitions,
            episodes=self._pace.episodes,
            batch=8 * self.batch,
            batches=lambda _: self._batches,
            seed=seed,
            is_stale=learner.is_too_far,
            search=search,
        )

    def _search(self, model: MoleculePolicy, data: DataSet, seed: int) -> Search | None:
        if not self.reward:
            return None
        calls = 0 if self.improve else self.oracle_calls
        oracle = CountedOracle(expression(self.reward), self.reward, calls)
        search: Callable[..., Search] = partial(Search, keep=self._starts())
        if self.improve:
            count = len(self._starts()) or min(LOWEST, len(self._small(data)))
            search = partial(
                ConstrainedSearch,
                start_molecules=model.starts[:count],
                least=self.similarity,
                each=self._calls_each,
            )
        return search(
            oracle,
            elements=data.domain.elements,
            valence=model.valence.tolist(),
            most=model.most,
            limit=model.limit,
            seed=mix(seed, "search"),
            surrogate_queries=self.asked if self._is_by_calls else 0,
        )

    def _small(self, data: DataSet) -> list[int]:
        """Return which molecules of the test part may be given: those with room for them."""
        return (sizes(data.test.x[:LOOKED]) <= self.atoms).nonzero()[:, 0].tolist()

    def _lowest(self, data: DataSet) -> Tensor:
        """Return the molecules of the test part that are worth least."""
        rows = self._small(data)
        if not rows:
            raise BadInput(f"no molecule of the test part has at most --atoms {self.atoms}.")
        x = data.test.x[rows]
        names = to_smiles(x, data.domain.elements)
        rewards = torch.tensor(expression(self.reward)([parsed(s) for s in names]))
        return x[rewards.argsort(stable=True)[:LOWEST]]

    def _starts(self) -> list[str]:
        return [word.strip() for word in self.start.split(",") if word.strip()]

    def _started(self, domain: Domain) -> Tensor:
        """Return the molecules with which episodes begin."""
        molecules = []
        for smiles in self._starts():
            try:
                molecules.append(standardised(parsed(smiles), elements=domain.elements))
            except NotUsable as reason:
                raise BadInput(f"--start '{smiles}' cannot be begun with: it {reason}.") from None
        return to_tensors(molecules, domain.shape[0])

    def _refuse(self, domain: Domain) -> None:
        for name in ("width", "layers"):
            if getattr(self, name) < 1:
                raise BadInput(f"--{name} takes 1 or more.")
        for name in (
            "oracle_calls",
            "adversarial",
            "expert",
            "children",
            "asked",
            "episodes",
            "epochs",
            "target_kl",
            "entropy",
        ):
            if not getattr(self, name) >= 0:
                raise BadInput(f"--{name.replace('_', '-')} takes 0 or more.")
        if not 0 <= self.cloning < 1:
            raise BadInput(
                f"--cloning {self.cloning:g} was given; it is a share from 0 to below 1."
            )
        if not 2 <= self.atoms <= domain.shape[0]:
            raise BadInput(
                f"--atoms {self.atoms} was given; there is room for 2 to {domain.shape[0]} heavy "
                "atoms with these data."
            )
        if self.oracle_calls and not self.reward:
            raise BadInput(
                "--oracle-calls is a budget of calls of a reward, and there is none; give "
                "--reward, such as qed."
            )
        if self.reward:
            expression(self.reward)
        if self.improve:
            self._refuse_task()
        if self.start:
            started = self._started(domain)
            if int(sizes(started).max()) > self.atoms:
                raise BadInput(
                    f"--start has {int(sizes(started).max())} heavy atoms, and --atoms allows "
                    f"{self.atoms}."
                )

    def _refuse_task(self) -> None:
        if not self.reward:
            raise BadInput("--improve raises a --reward, and there is none; try plogp.")
        if self.similarity > 1:
            raise BadInput(f"--similarity {self.similarity:g} was given; it is from 0 to 1.")
        for name in ("asked", "children"):
            if getattr(self, name) < 1:
                raise BadInput(f"--improve takes 1 or more --{name}.")
