r"""A policy that builds graphs step by step, trained by `families.ppo`.

The policy pi(action | state) reads embeddings of the nodes (`networks.graph`); the environment is
`maths.graphs.graph_environment`. An expert adds node after node of a random breadth-first order,
with its edges. Rewards come at an episode's end: the critic's logit, within limits; or the gain in
robustness; or whatever a function of a batch of graphs gives. Where graphs are to be like real
ones, the experts' loss stays in, for a critic soon knows more than a policy can learn from it
alone.

References:
    | GraphRL and GCPN: Graph Convolutional Policy Network (You et al., 2018), arXiv:1806.02473
    | Goal-directed graph construction using reinforcement learning (Darvariu et al., 2021)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.graph import reordered, sizes
from trilemma.core.model import Model, Objective
from trilemma.core.noise import Noise
from trilemma.families.ppo import (
    BehaviourCloning,
    PpoSettings,
    Reward,
    Transitions,
    checked,
    estimate_advantages,
    playing,
)
from trilemma.maths.graphs.bfs_orders import breadth_first, parents
from trilemma.maths.graphs.graph_environment import (
    GraphState,
    action_mask,
    expert_action,
    reset,
    reset_from,
    step,
)
from trilemma.maths.ppo import chosen, entropy, masked_log_probs

__all__ = ["GraphPolicy", "GraphTransitions"]


@dataclass(frozen=True, kw_only=True)
class GraphTransitions(Transitions):
    """Transitions of graphs that are built."""

    x: UInt8[Tensor, "B N N"]
    current_node: Int[Tensor, " B"]
    remaining: Int[Tensor, " B"]
    action: Int[Tensor, " B"]


class GraphPolicy(Model[Examples, Tensor]):
    """Builds graphs, or adds edges to given ones.

    Arguments:
        network: (x, current_node, remaining) -> logits of the 2 N + 2 actions, and a value.
        domain: Graphs of at most N nodes.
        critic: x -> a logit, where the reward is adversarial.
        budget: Share of a graph's edges that it gets; 0: graphs grow from one node.
        starts: How many training graphs are kept to begin with, where a budget is given.
        steps: Actions of a graph that grows, at most.
        improves: Name of what is raised of given graphs; '' for none.
        worth: (graphs, seed) -> what is raised, of each.
    """

    run_buffers: ClassVar[tuple[str, ...]] = ("starts",)

    def __init__(
        self,
        network: nn.Module,
        domain: Domain,
        *,
        critic: nn.Module | None = None,
        budget: float = 0.0,
        starts: int = 0,
        steps: int = 0,
        improves: str = "",
        worth: Callable[[Tensor, int], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.critic, self.domain = network, critic, domain
        self.limit, self.budget, self.steps = domain.shape[-1], budget, steps
        self.grows, self.improves, self._worth = budget <= 0, improves, worth
        self.starts: Tensor
        if not self.grows:
            self.register_buffer("starts", torch.zeros(starts, *domain.shape, dtype=torch.uint8))

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the player that learns from experts; stages have their own."""
        return BehaviourCloning(self).objectives()

    def keep(self, x: UInt8[Tensor, "B N N"]) -> None:
        """Keep training graphs to begin with."""
        rows = torch.arange(len(self.starts)) % len(x)
        self.starts.copy_(x[rows])

    def edges_for(self, x: UInt8[Tensor, "B N N"]) -> Int[Tensor, " B"]:
        """Return how many edges each graph gets: the budget's share of its own, at least one."""
        num_edges = (x.sum((1, 2), dtype=torch.int64) - sizes(x)) // 2
        return (num_edges.double() * self.budget).round().long().clamp_min(1)

    def begin(self, noise: Noise) -> GraphState:
        """Begin as many graphs as the noise has rows."""
        if self.grows:
            return reset(len(noise), self.limit, self.steps, noise.device)
        indices = noise.named("starts").integers(len(self.starts))
        x = self.starts[indices]
        return reset_from(x, self.edges_for(x))

    def log_probs(self, state: GraphState) -> tuple[Float[Tensor, "B A"], Float[Tensor, " B"]]:
        """Return ln pi of every action, and values."""
        logits, value = self.network(state.x, state.current_node, state.remaining)
        return masked_log_probs(logits, action_mask(state, self.grows)), value

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Build n graphs, [n, N, N]; or add edges to graphs of the training data."""
        noise = noise or Noise.fresh(n, next(self.parameters()).device)
        return self._played(self.begin(noise), noise)[-1]

    def improve(
        self, x: UInt8[Tensor, "B N N"], *, noise: Noise | None = None
    ) -> UInt8[Tensor, "B N N"]:
        """Add edges to given graphs, of any size; the most probable action each time.

        Raises:
            BadInput: The policy builds graphs from nothing.
        """
        if self.grows:
            raise BadInput(
                "this policy builds graphs and improves none; train one with --task robust."
            )
        return self._played(reset_from(x, self.edges_for(x)), None)[-1]

    def worth(self, x: UInt8[Tensor, "B N N"], *, seed: int) -> Float[Tensor, " B"]:
        """Return what is raised, of each graph.

        Raises:
            BadInput: Nothing is.
        """
        if self._worth is None:
            raise BadInput("this policy raises nothing of given graphs.")
        return self._worth(x, seed)

    def path(
        self,
        n: int,
        *,
        frames: int,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Sequence[Tensor]:
        """Return about `frames` states of n graphs on their way."""
        noise = noise or Noise.fresh(n, next(self.parameters()).device)
        states = self._played(self.begin(noise), noise)
        if len(states) <= frames:
            return states
        return [states[round(i * (len(states) - 1) / (frames - 1))] for i in range(frames)]

    def _played(self, state: GraphState, noise: Noise | None) -> list[Tensor]:
        """Act until all graphs are done; without noise the most probable action each time."""
        states = [state.x]
        while not bool(state.done.all()):
            log_probs, _ = self.log_probs(state)
            u = noise.uniform() if noise is not None else None
            action = log_probs.argmax(1) if u is None else chosen(log_probs, u)
            state = step(state, action, self.grows)
            states.append(state.x)
        return states

    # Learning

    def evaluate(self, transitions: GraphTransitions) -> tuple[Tensor, Tensor, Tensor]:
        """Return ln pi of the actions, entropies, and values."""
        batch = transitions
        is_done = torch.zeros_like(batch.action, dtype=torch.bool)
        log_probs, value = self.log_probs(
            GraphState(batch.x, batch.current_node, batch.remaining, is_done)
        )
        return log_probs.gather(1, batch.action[:, None])[:, 0], entropy(log_probs), value

    def expert_nats(
        self, x: Tensor, noise: Noise, states: int
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the mean of -ln pi of experts' actions, and how often they are the likeliest.

        Arguments:
            x: Real graphs.
            noise: Draws orders and actions.
            states: States on the way to each graph.
        """
        order = breadth_first(x, noise.named("order").uniform(x.shape[-1]))
        y = reordered(x, order).repeat_interleave(states, 0)
        u = noise.named("act").uniform(states).flatten()
        state, action = expert_action(y, parents(y), u)
        log_probs, _ = self.log_probs(state)
        nats = -log_probs.gather(1, action[:, None])[:, 0]
        return nats.mean(), (log_probs.argmax(1) == action).float().mean()

    def realism(self, x: Tensor) -> Float[Tensor, " B"]:
        """Return the critic's logit of graphs."""
        assert self.critic is not None
        return self.critic(x)

    @torch.no_grad()
    def collect(
        self, noise: Noise, real: Tensor, reward: Reward, settings: PpoSettings
    ) -> GraphTransitions:
        """Play an episode for each row of the noise, and weigh its actions.

        Arguments:
            noise: E rows.
            real: E real graphs, which are begun with where edges are added.
            reward: Of built graphs.
            settings: How advantages are made.

        Returns:
            All transitions that were played, one episode after another; the graphs are repeated.
        """
        with playing(self):
            return self._collected(noise, real, reward, settings)

    def _collected(
        self, noise: Noise, real: Tensor, reward: Reward, settings: PpoSettings
    ) -> GraphTransitions:
        steps = []
        state = self.begin(noise) if self.grows else reset_from(real, self.edges_for(real))
        initial_x = state.x
        while not bool(state.done.all()):
            log_probs, value = self.log_probs(state)
            action = chosen(log_probs, noise.uniform())
            old_log_prob = log_probs.gather(1, action[:, None])[:, 0]
            steps.append((state, action, old_log_prob, value))
            state = step(state, action, self.grows)
        final_rewards = checked(reward, state.x)
        if not self.grows:
            final_rewards = final_rewards - checked(reward, initial_x)
        active = torch.stack([~s.done for s, *_ in steps])
        # The reward comes with an episode's last action.
        is_last = active & ~torch.cat([active[1:], torch.zeros_like(active[:1])])
        values = torch.stack([v for *_, v in steps])
        weighted = estimate_advantages(is_last * final_rewards.float(), values, active, settings)

        def of(parts: list[Tensor]) -> Tensor:
            return torch.stack(parts).flatten(0, 1)[weighted.played]

        return GraphTransitions(
            x=of([s.x for s, *_ in steps]),
            current_node=of([s.current_node for s, *_ in steps]),
            remaining=of([s.remaining for s, *_ in steps]),
            action=of([a for _, a, *_ in steps]),
            old=of([o for _, _, o, _ in steps]),
            advantage=weighted.advantage,
            returns=weighted.returns,
            real=real[weighted.episode],
            built=state.x[weighted.episode],
            reward=final_rewards.float()[weighted.episode],
        )
