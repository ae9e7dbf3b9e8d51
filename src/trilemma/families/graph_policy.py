r"""A policy that builds graphs act by act, learnt by reinforcement.

The policy pi(act | state) reads embeddings of the nodes (`networks.graph`); the environment is
`maths.building`. Two parts join it to the trainer:

    Cloning       -ln pi(expert's act | state), at random states on the way to a real graph: the
                  expert adds node after node of a random breadth-first order, with its edges
    Reinforcing   the clipped surrogate of episodes that the policy played (`maths.policy`), with

        loss = - surrogate + c_v (V - return)^2 - c_e entropy + c_x expert

                  where graphs are to be like real ones, the experts' loss stays in, for a critic
                  soon knows more than a policy can learn from it alone; and there is a second
                  player: a critic that tells real graphs from built ones, by the logistic loss

Rewards come at an episode's end: the critic's logit, within limits; or the gain in robustness; or
whatever a function of a batch of graphs gives. Advantages are standardised over all acts of a
collection, before it is cut into batches, so that parts and processes agree. The old
log-probabilities are those of the weights that acted, and the clip acts.

References:
    | GraphRL and GCPN: Graph Convolutional Policy Network (You et al., 2018), arXiv:1806.02473
    | Goal-directed graph construction using reinforcement learning (Darvariu et al., 2021)
    | Proximal Policy Optimization Algorithms (Schulman et al., 2017)
    | Generative Adversarial Imitation Learning (Ho & Ermon, 2016)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples, Rows
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.graph import reordered, sizes
from trilemma.core.model import Loss, Model, Objective
from trilemma.core.noise import Noise
from trilemma.maths.building import Site, acted, allowed, begun, expert, gathered
from trilemma.maths.orders import breadth_first, parents
from trilemma.maths.policy import (
    advantages,
    approximate_kl,
    chosen,
    entropy,
    is_clipped,
    masked_log_probs,
    standardised,
    surrogate,
)

__all__ = ["Acts", "Cloning", "GraphPolicy", "Reinforcing", "Reward", "Settings"]

Reward = Callable[[Tensor], Tensor]
"""Gives each graph of a batch, [B, N, N] uint8, a number, [B]; higher is better."""


LEEWAY = 1.5
"""How many times the target the divergence of a minibatch may be, which is an estimate."""


@dataclass(frozen=True)
class Settings:
    """How acts are learnt."""

    clip: float = 0.2
    value_weight: float = 0.5
    entropy_weight: float = 0.01
    decay: float = 0.95
    """lambda of the advantages."""
    expert_weight: float = 0.0
    """Weight of the experts' loss on the real graphs of a batch."""
    target_kl: float = 0.0
    """Divergence from the policy that acted at which its transitions are left; 0: never."""


@dataclass(frozen=True)
class Acts(Rows):
    """Acts of a collection, a row each; with as many real graphs and built ones."""

    x: UInt8[Tensor, "B N N"]
    hand: Int[Tensor, " B"]
    left: Int[Tensor, " B"]
    act: Int[Tensor, " B"]
    old: Float[Tensor, " B"]
    """ln pi of the policy that acted."""
    advantage: Float[Tensor, " B"]
    wanted: Float[Tensor, " B"]
    """What the value is to be."""
    real: UInt8[Tensor, "B N N"]
    built: UInt8[Tensor, "B N N"]
    reward: Float[Tensor, " B"]
    """Of the built graphs."""
    noise: Noise | None = None


class GraphPolicy(Model[Examples, Tensor]):
    """Builds graphs, or adds edges to given ones.

    Arguments:
        network: (x, hand, left) -> logits of the 2 N + 2 acts, and a value.
        domain: Graphs of at most N nodes.
        critic: x -> a logit, where the reward is adversarial.
        budget: Share of a graph's edges that it gets; 0: graphs grow from one node.
        starts: How many training graphs are kept to begin with, where a budget is given.
        acts: Acts of a graph that grows, at most.
        improves: Name of what is raised of given graphs; '' for none.
        worth: (graphs, seed) -> what is raised, of each.
    """

    def __init__(
        self,
        network: nn.Module,
        domain: Domain,
        *,
        critic: nn.Module | None = None,
        budget: float = 0.0,
        starts: int = 0,
        acts: int = 0,
        improves: str = "",
        worth: Callable[[Tensor, int], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.critic, self.domain = network, critic, domain
        self.limit, self.budget, self.acts = domain.shape[-1], budget, acts
        self.grows, self.improves, self._worth = budget <= 0, improves, worth
        self.starts: Tensor
        if not self.grows:
            self.register_buffer("starts", torch.zeros(starts, *domain.shape, dtype=torch.uint8))

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the player that learns from experts; stages have their own."""
        return Cloning(self).objectives()

    def keep(self, x: UInt8[Tensor, "B N N"]) -> None:
        """Keep training graphs to begin with."""
        rows = torch.arange(len(self.starts)) % len(x)
        self.starts.copy_(x[rows])

    def edges_for(self, x: UInt8[Tensor, "B N N"]) -> Int[Tensor, " B"]:
        """Return how many edges each graph gets: the budget's share of its own, at least one."""
        own = (x.sum((1, 2), dtype=torch.int64) - sizes(x)) // 2
        return (own.double() * self.budget).round().long().clamp_min(1)

    def begin(self, noise: Noise) -> Site:
        """Begin as many graphs as the noise has rows."""
        if self.grows:
            return begun(len(noise), self.limit, self.acts, noise.device)
        which = noise.named("starts").integers(len(self.starts))
        x = self.starts[which]
        return gathered(x, self.edges_for(x))

    def log_probs(self, site: Site) -> tuple[Float[Tensor, "B A"], Float[Tensor, " B"]]:
        """Return ln pi of every act, and values."""
        logits, value = self.network(site.x, site.hand, site.left)
        return masked_log_probs(logits, allowed(site, self.grows)), value

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Build n graphs, [n, N, N]; or add edges to graphs of the training data."""
        noise = noise or Noise.fresh(n, next(self.parameters()).device)
        return self._played(self.begin(noise), noise)[-1]

    def improve(
        self, x: UInt8[Tensor, "B N N"], *, noise: Noise | None = None
    ) -> UInt8[Tensor, "B N N"]:
        """Add edges to given graphs, of any size; the most probable act each time.

        Raises:
            BadInput: The policy builds graphs from nothing.
        """
        if self.grows:
            raise BadInput(
                "this policy builds graphs and improves none; train one with --task robust."
            )
        return self._played(gathered(x, self.edges_for(x)), None)[-1]

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

    def _played(self, site: Site, noise: Noise | None) -> list[Tensor]:
        """Act until all graphs are done; without noise the most probable act each time."""
        states = [site.x]
        while not bool(site.done.all()):
            log_probs, _ = self.log_probs(site)
            u = noise.uniform() if noise is not None else None
            act = log_probs.argmax(1) if u is None else chosen(log_probs, u)
            site = acted(site, act, self.grows)
            states.append(site.x)
        return states

    # Episodes for learning

    @torch.no_grad()
    def collect(self, noise: Noise, real: Tensor, reward: Reward, settings: Settings) -> Acts:
        """Play an episode for each row of the noise, and weigh its acts.

        Arguments:
            noise: E rows.
            real: E real graphs, which are begun with where edges are added.
            reward: Of built graphs.
            settings: How advantages are made.

        Returns:
            All acts that were played, one episode after another; the graphs are repeated.
        """
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            return self._collected(noise, real, reward, settings)
        finally:
            for module, training in modes:
                module.training = training

    def _collected(self, noise: Noise, real: Tensor, reward: Reward, settings: Settings) -> Acts:
        told = []
        site = self.begin(noise) if self.grows else gathered(real, self.edges_for(real))
        first = site.x
        while not bool(site.done.all()):
            log_probs, value = self.log_probs(site)
            act = chosen(log_probs, noise.uniform())
            old = log_probs.gather(1, act[:, None])[:, 0]
            told.append((site, act, old, value))
            site = acted(site, act, self.grows)
        gains = checked(reward, site.x)
        if not self.grows:
            gains = gains - checked(reward, first)
        there = torch.stack([~s.done for s, *_ in told])
        values = torch.stack([v for *_, v in told])
        # The reward comes with an episode's last act.
        last = there & ~torch.cat([there[1:], torch.zeros_like(there[:1])])
        weighed = advantages(last * gains.float(), values, there, decay=settings.decay)
        wanted = weighed + values
        played = there.flatten().nonzero()[:, 0]
        episode = played % len(noise)

        def of(parts: list[Tensor]) -> Tensor:
            return torch.stack(parts).flatten(0, 1)[played]

        return Acts(
            of([s.x for s, *_ in told]),
            of([s.hand for s, *_ in told]),
            of([s.left for s, *_ in told]),
            of([a for _, a, *_ in told]),
            of([o for _, _, o, _ in told]),
            standardised(weighed.flatten()[played]),
            wanted.flatten()[played],
            real[episode],
            site.x[episode],
            gains.float()[episode],
        )


def checked(reward: Reward, x: Tensor) -> Float[Tensor, " B"]:
    """Return rewards, and refuse what are none.

    Raises:
        BadInput: There is not one finite number for each graph.
    """
    found: Any = reward(x)
    found = torch.as_tensor(found, device=x.device)
    if found.shape != (len(x),):
        raise BadInput(
            f"the reward gave {tuple(found.shape)} for {len(x)} graphs; one number for each graph "
            "was wanted, a tensor of shape (B,)."
        )
    bad = int((~found.double().isfinite()).sum())
    if bad:
        raise BadInput(
            f"the reward of {bad} of {len(x)} graphs is no finite number; give every graph one, "
            "such as a low one to those that are not wanted."
        )
    return found.double()


class Cloning(Model[Examples, Tensor]):
    """Learns the acts of experts who build real graphs.

    Arguments:
        policy: Learns.
        states: States on the way to each graph of a batch.
    """

    def __init__(self, policy: GraphPolicy, states: int = 8) -> None:
        super().__init__()
        self.policy, self.states = policy, states

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the one player; values are left for later."""
        network = self.policy.network
        own = [p for name, p in network.named_parameters() if not name.startswith("value")]
        return [Objective("policy", self._loss, own)]

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Build n graphs."""
        return self.policy.sample(n, condition=condition, noise=noise)

    def _loss(self, batch: Examples) -> Loss:
        assert batch.noise is not None
        nats, right = expert_nats(self.policy, batch.x, batch.noise, self.states)
        return Loss(nats, {"right": right.detach()})


def expert_nats(
    policy: GraphPolicy, x: Tensor, noise: Noise, states: int
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return the mean of -ln pi of experts' acts, and how often they are the likeliest.

    Arguments:
        policy: Gives the probabilities.
        x: Real graphs.
        noise: Draws orders and acts.
        states: States on the way to each graph.
    """
    order = breadth_first(x, noise.named("order").uniform(x.shape[-1]))
    y = reordered(x, order).repeat_interleave(states, 0)
    site, act = expert(y, parents(y), noise.named("act").uniform(states).flatten())
    log_probs, _ = policy.log_probs(site)
    nats = -log_probs.gather(1, act[:, None])[:, 0]
    return nats.mean(), (log_probs.argmax(1) == act).float().mean()


class Reinforcing(Model[Acts, Tensor]):
    """Learns from what the policy's own acts were worth.

    Arguments:
        policy: Learns; its critic too, where it has one.
        settings: How.
        bound: The largest reward of a critic, either way.
    """

    def __init__(self, policy: GraphPolicy, settings: Settings, bound: float = 10.0) -> None:
        super().__init__()
        self.policy, self.settings, self.bound = policy, settings, bound

    def objectives(self) -> Sequence[Objective[Acts]]:
        """Return the policy, and its critic where there is one."""
        players = [Objective("policy", self._loss, list(self.policy.network.parameters()))]
        if self.policy.critic is not None:
            own = list(self.policy.critic.parameters())
            players.append(Objective("critic", self._told_apart, own, again=True))
        return players

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Build n graphs."""
        return self.policy.sample(n, condition=condition, noise=noise)

    def adversarial(self, x: Tensor) -> Tensor:
        """Return the critic's reward of graphs."""
        assert self.policy.critic is not None
        return self.policy.critic(x).clamp(-self.bound, self.bound)

    @torch.no_grad()
    def is_too_far(self, acts: Acts) -> bool:
        """Tell whether the policy has left the one that acted: KL > 1.5 · target.

        A function of the weights and the transitions alone, so that all processes agree and a
        resumed run decides as the first one did.
        """
        if self.settings.target_kl <= 0:
            return False
        acts = acts.to(next(self.parameters()).device)
        log_prob, _, _ = self._weighed(acts)
        kl = approximate_kl(log_prob, acts.old).mean()
        return float(kl) > LEEWAY * self.settings.target_kl

    def _weighed(self, acts: Acts) -> tuple[Tensor, Tensor, Tensor]:
        """Return ln pi of the actions, ln pi of all, and values."""
        done = torch.zeros_like(acts.act, dtype=torch.bool)
        log_probs, value = self.policy.log_probs(Site(acts.x, acts.hand, acts.left, done))
        return log_probs.gather(1, acts.act[:, None])[:, 0], log_probs, value

    def _loss(self, acts: Acts) -> Loss:
        log_prob, log_probs, value = self._weighed(acts)
        gain = surrogate(log_prob, acts.old, acts.advantage, self.settings.clip).mean()
        error = (value - acts.wanted).square().mean()
        spread = entropy(log_probs).mean()
        loss = -gain + self.settings.value_weight * error - self.settings.entropy_weight * spread
        told: dict[str, Tensor] = {}
        if self.settings.expert_weight > 0:
            assert acts.noise is not None
            nats, told["right"] = expert_nats(self.policy, acts.real, acts.noise, 1)
            loss = loss + self.settings.expert_weight * nats
        clipped = is_clipped(log_prob, acts.old, acts.advantage, self.settings.clip)
        terms = told | {
            "reward": acts.reward.mean(),
            "value": error,
            "entropy": spread,
            "kl": approximate_kl(log_prob, acts.old).mean(),
            "clipped": clipped.float().mean(),
        }
        return Loss(loss, {name: term.detach() for name, term in terms.items()})

    def _told_apart(self, acts: Acts) -> Loss:
        assert self.policy.critic is not None
        real, built = self.policy.critic(acts.real), self.policy.critic(acts.built)
        loss = F.softplus(-real).mean() + F.softplus(built).mean()
        terms = {"real": real.mean().detach(), "built": built.mean().detach()}
        return Loss(loss, terms)
