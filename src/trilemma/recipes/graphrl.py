"""Graphs by reinforcement learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.graph import adjacency, sizes
from trilemma.core.model import Model, Stage, Stream
from trilemma.core.noise import Noise, mix
from trilemma.data.dataset import DataSet
from trilemma.data.rollouts import Rollouts
from trilemma.data.stream import ExampleStream
from trilemma.families.graph_policy import GraphPolicy, GraphTransitions
from trilemma.families.ppo import PPO, BehaviourCloning, PpoSettings, Reward
from trilemma.maths.graphs.network_robustness import robustness
from trilemma.networks.graph import ActNetwork, GraphCritic
from trilemma.recipes.recipe import Choice, Recipe
from trilemma.registry import Registry

__all__ = ["GRAPH_REWARDS", "GraphReinforced", "robust_reward"]

GRAPH_REWARDS: Registry[Reward] = Registry("graph reward")
"""What networks may be worth beside their robustness: plug-ins' functions from graphs,
[B, N, N] uint8, to numbers, [B], each of its graph alone; higher is better."""

LARGEST = 200
"""Nodes of a graph at most: every act reads all of it."""
STARTS = 512
"""Training graphs that a policy keeps to begin with at most."""
ORDERS = 16
"""Orders of removal behind a reward."""
GROWING_EPOCHS = 20
"""Passes through a collection's acts, of which a network gets few."""


@dataclass(frozen=True, kw_only=True)
class GraphReinforced(Recipe):
    """Trains a policy that builds graphs act by act, or makes given networks robust."""

    name: ClassVar[str] = "graphrl"
    family: ClassVar[str] = "graph policy"
    reference: ClassVar[str] = (
        "Goal-directed graph construction using reinforcement learning, Darvariu, Hailes & "
        "Musolesi, 2021, arXiv:2001.11279"
    )
    kinds: ClassVar[tuple[str, ...]] = ("graph",)
    bf16: ClassVar[bool] = False

    batch: int = 64
    """Graphs an update of cloning; a batch of acts is eight times as large."""
    lr: float = 1e-3
    """Peak learning rate of AdamW."""

    task: Annotated[str, Choice(GRAPH_REWARDS, "imitate", "robust")] = "imitate"
    """Build graphs like the data, or add edges that make networks robust, or worth more by a
    plug-in's graph reward."""
    width: int = 64
    """Numbers of a node's embedding."""
    layers: int = 3
    """Rounds of messages."""
    cloning: float = 0.8
    """Share of the training that learns from experts before reinforcement (imitate)."""
    expert: float = 4.0
    """Weight of the experts' loss in reinforcement, beside the reward's (imitate)."""
    budget: float = 0.1
    """Edges that a network gets, as a share of its own (where it is not imitated)."""
    removal: Literal["random", "targeted", "both"] = "both"
    """How nodes are removed from it (robust)."""
    episodes: int = 128
    """Graphs of a collection."""
    epochs: int = 0
    """How often each act of a collection is learnt from; 0: once, or 20 times where networks get
    edges, for whom a collection has few."""
    clip_ratio: float = 0.2
    """How far the policy may go from the one that step, as a ratio of probabilities."""
    target_kl: float = 0.02
    """Divergence of the policy from the one that step at which it plays anew, with half as much
    again of leeway; 0: only after all epochs."""
    entropy: float = 0.01
    """Weight of the policy's entropy."""

    @property
    def goal(self) -> str | None:
        """Return the name of the reward where networks are to be worth more."""
        if self.task == "imitate":
            return None
        return f"robustness ({self.removal} removal)" if self.task == "robust" else self.task

    @property
    def _imitates(self) -> bool:
        return self.task == "imitate"

    def _worth(self, seed: int) -> Reward:
        """Return what networks are worth."""
        if self.task == "robust":
            return robust_reward(self.removal, seed)
        return GRAPH_REWARDS[self.task]

    def model(self, domain: Domain) -> Model:
        """Build the untrained model.

        Raises:
            BadInput: Graphs are too large, or the budget holds no edge.
        """
        self._refuse(domain)
        if not self._imitates:
            network = ActNetwork(width=self.width, layers=self.layers, budget=self.budget)
            return GraphPolicy(
                network,
                domain,
                budget=self.budget,
                starts=STARTS,
                improves=self.goal or "",
                worth=lambda x, seed: self._worth(seed)(x),
            )
        network = ActNetwork(width=self.width, layers=self.layers)
        critic = GraphCritic(width=self.width, layers=self.layers)
        steps = domain.shape[0] * (domain.shape[0] + 1) // 2 + 1
        return GraphPolicy(network, domain, critic=critic, steps=steps)

    def stages(self, model: Model, data: DataSet, seed: int) -> Sequence[Stage]:
        """Return cloning and reinforcement; only the latter where networks get edges."""
        assert isinstance(model, GraphPolicy)
        settings = PpoSettings(
            clip=self.clip_ratio,
            target_kl=self.target_kl,
            entropy_weight=self.entropy,
            expert_weight=self.expert if self._imitates else 0.0,
        )
        learner: PPO[GraphTransitions] = PPO(model, settings)
        if not self._imitates:
            self._refuse_full(data)
            reward = self._worth(mix(seed, "removal"))

            def stream() -> Stream[GraphTransitions]:
                return self._rollouts(model, data, reward, learner, seed, data.train.x)

            return [Stage("reinforce", learner, stream, prepare=lambda: model.keep(data.train.x))]

        def rollouts() -> Stream[GraphTransitions]:
            return self._rollouts(model, data, learner.adversarial, learner, seed, data.train.x)

        def examples() -> Stream[Any]:
            return ExampleStream(data.train, min(self.batch, len(data.train)), seed)

        if self.cloning <= 0:
            return [Stage("reinforce", learner, rollouts)]
        return [
            Stage("experts", BehaviourCloning(model), examples, share=self.cloning),
            Stage("reinforce", learner, rollouts, share=1 - self.cloning),
        ]

    def _rollouts(
        self,
        model: GraphPolicy,
        data: DataSet,
        reward: Reward,
        learner: PPO[GraphTransitions],
        seed: int,
        graphs: Tensor,
    ) -> Rollouts[GraphTransitions]:
        def collect(noise: Noise, number: int) -> GraphTransitions:
            device = next(model.parameters()).device
            rows = noise.named("real").integers(len(graphs))
            real = graphs[rows].to(device)
            return model.collect(noise.to(device), real, reward, learner.settings)

        epochs = self.epochs or (1 if self._imitates else GROWING_EPOCHS)
        return Rollouts(
            collect,
            GraphTransitions,
            episodes=self.episodes,
            batch=8 * self.batch,
            batches=lambda acts: -(-epochs * acts // (8 * self.batch)),
            seed=seed,
            is_stale=learner.is_too_far,
        )

    def _refuse(self, domain: Domain) -> None:
        if domain.shape[0] > LARGEST:
            raise BadInput(
                f"recipe 'graphrl' is for graphs of up to {LARGEST} nodes, and these have up to "
                f"{domain.shape[0]}; 'graphrnn' takes larger ones."
            )
        for name in ("width", "layers", "episodes"):
            if getattr(self, name) < 1:
                raise BadInput(f"--{name} takes 1 or more.")
        if self.epochs < 0:
            raise BadInput(f"--epochs {self.epochs} was given; give 1 or more, 0 to choose.")
        if not 0 <= self.cloning < 1:
            raise BadInput(
                f"--cloning {self.cloning:g} was given; it is a share from 0 to below 1."
            )
        if not self.target_kl >= 0:
            raise BadInput(
                f"--target-kl {self.target_kl:g} was given; it is a divergence of 0 or more nats, "
                "such as 0.02."
            )
        if not self._imitates and not self.budget > 0:
            raise BadInput(
                f"--budget {self.budget:g} leaves no edge to be added; give a share above 0, such "
                "as 0.1."
            )

    def _refuse_full(self, data: DataSet) -> None:
        n = sizes(data.train.x)
        degree_sums = adjacency(data.train.x).sum((1, 2), dtype=torch.int64)
        if bool((degree_sums == n * (n - 1)).all()):
            raise BadInput(
                "all training graphs are complete, and no edge can be added; give other networks."
            )


def robust_reward(removal: str, seed: int, count: int = ORDERS) -> Reward:
    """Return the reward of robust networks: the same orders of removal for every call.

    Common orders make gains comparable: a graph and the same with an edge more lose their nodes
    in the same random order.
    """

    def reward(x: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        u = torch.rand(count, x.shape[1], generator=generator).to(x.device)
        return robustness(x, u.expand(len(x), count, x.shape[1]), removal)

    return reward
