r"""Proximal policy optimisation, for any policy that builds things step by step.

A policy pi(action | state) is trained by two models that share its network:

    BehaviourCloning   -ln pi(expert's action | state), at random states on the way to examples
    PPO                the clipped surrogate of episodes that the policy played (`maths.ppo`), with

        loss = - surrogate + c_v (V - return)^2 - c_e entropy + c_x cloning

                       with the cloning loss of expert examples, which may be data or the best of
                       what was found; and, where the reward is adversarial, a second player: a
                       critic that tells real examples from built ones, by the logistic loss

Rewards come at an episode's end, and perhaps at its steps. Advantages are standardised over all
transitions of a collection, before it is cut into batches, so that parts and processes agree. The
old log-probabilities are those of the weights that acted, a collection is trained on for several
epochs, and the clip acts.

References:
    | Proximal Policy Optimization Algorithms (Schulman et al., 2017)
    | Graph Convolutional Policy Network (You et al., 2018), arXiv:1806.02473
    | Generative Adversarial Imitation Learning (Ho & Ermon, 2016)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples, Rows
from trilemma.core.errors import BadInput
from trilemma.core.model import Loss, Model, Objective
from trilemma.core.noise import Noise
from trilemma.maths.ppo import advantages, approximate_kl, is_clipped, standardised, surrogate

__all__ = [
    "PPO",
    "BehaviourCloning",
    "Policy",
    "PpoSettings",
    "Reward",
    "Transitions",
    "checked",
    "estimate_advantages",
    "playing",
]

Reward = Callable[[Tensor], Tensor]
"""Gives each example of a batch, data units, a number, [B]; higher is better."""

LEEWAY = 1.5
"""How many times the target the divergence of a minibatch may be, which is an estimate."""


@dataclass(frozen=True)
class PpoSettings:
    """How a policy is optimised."""

    clip: float = 0.2
    value_weight: float = 0.5
    entropy_weight: float = 0.01
    gamma: float = 1.0
    decay: float = 0.95
    """lambda of the advantages."""
    expert_weight: float = 0.0
    """Weight of the cloning loss of the expert examples of a batch."""
    rate: float = 1.0
    """Share of the learning rate that the policy takes."""
    target_kl: float = 0.0
    """Divergence from the policy that acted at which its transitions are left; 0: never."""


@dataclass(frozen=True, kw_only=True)
class Transitions(Rows):
    """Transitions of a collection, a row each; with as many expert examples and built ones.

    A policy adds its states and actions.
    """

    old: Float[Tensor, " B"]
    """ln pi of the policy that acted."""
    advantage: Float[Tensor, " B"]
    returns: Float[Tensor, " B"]
    """What the value is to be."""
    real: Tensor
    """Expert examples."""
    built: Tensor
    reward: Float[Tensor, " B"]
    """Of the built ones."""
    noise: Noise | None = None


class Policy(Protocol):
    """What is optimised."""

    network: nn.Module
    critic: nn.Module | None

    def evaluate(self, transitions: Any) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
        """Return ln pi of the actions, an estimate of the entropy, and values, each [B]."""
        ...

    def expert_nats(self, x: Tensor, noise: Noise, states: int) -> tuple[Tensor, Tensor]:
        """Return the mean of -ln pi of experts' actions, and how often they are the likeliest.

        Arguments:
            x: Expert examples.
            noise: Draws orders and actions.
            states: States on the way to each example.
        """
        ...

    def realism(self, x: Tensor) -> Float[Tensor, " B"]:
        """Return the critic's logit of examples."""
        ...

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Build n examples."""
        ...


def checked(reward: Reward, x: Tensor) -> Float[Tensor, " B"]:
    """Return rewards, and refuse what are none.

    Raises:
        BadInput: There is not one finite number for each example.
    """
    estimates: Any = reward(x)
    estimates = torch.as_tensor(estimates, device=x.device)
    if estimates.shape != (len(x),):
        raise BadInput(
            f"the reward gave {tuple(estimates.shape)} for {len(x)} graphs; one number for each "
            "graph was wanted, a tensor of shape (B,)."
        )
    bad = int((~estimates.double().isfinite()).sum())
    if bad:
        raise BadInput(
            f"the reward of {bad} of {len(x)} graphs is no finite number; give every graph one, "
            "such as a low one to those that are not wanted."
        )
    return estimates.double()


@contextmanager
def playing(policy: nn.Module) -> Iterator[None]:
    """Let a policy act as it does when it samples, and leave its modes as they were."""
    modes = [(module, module.training) for module in policy.modules()]
    policy.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@dataclass(frozen=True)
class AdvantageEstimates:
    """Advantages and returns of transitions, episode after episode."""

    played: Tensor
    """Indices, t B + episode, of the transitions that were played."""
    episode: Tensor
    """Of each of these."""
    advantage: Float[Tensor, " R"]
    returns: Float[Tensor, " R"]


def estimate_advantages(
    rewards: Float[Tensor, "T B"],
    values: Float[Tensor, "T B"],
    active: Bool[Tensor, "T B"],
    settings: PpoSettings,
) -> AdvantageEstimates:
    """Return standardised advantages and returns of all transitions that were played.

    Arguments:
        rewards: Of each step.
        values: V of the states before each.
        active: Whether the episode was still going.
        settings: Discount and lambda.
    """
    estimates = advantages(rewards, values, active, gamma=settings.gamma, decay=settings.decay)
    played = active.flatten().nonzero()[:, 0]
    return AdvantageEstimates(
        played,
        played % active.shape[1],
        standardised(estimates.flatten()[played]),
        (estimates + values).flatten()[played],
    )


class BehaviourCloning(Model[Examples, Tensor]):
    """Learns the actions of experts who build real examples.

    Arguments:
        policy: Learns.
        states: States on the way to each example of a batch.
    """

    def __init__(self, policy: Policy, states: int = 8) -> None:
        super().__init__()
        self.policy, self.states = policy, states

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the one player; values are left for later."""
        network = self.policy.network
        parameters = [p for name, p in network.named_parameters() if not name.startswith("value")]
        return [Objective("policy", self._loss, parameters)]

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Build n examples."""
        return self.policy.sample(n, condition=condition, noise=noise)

    def _loss(self, batch: Examples) -> Loss:
        assert batch.noise is not None
        nats, right = self.policy.expert_nats(batch.x, batch.noise, self.states)
        return Loss(nats, {"right": right.detach()})


T = TypeVar("T", bound=Transitions)


class PPO(Model[T, Tensor], Generic[T]):
    """Learns from what the policy's own actions were worth.

    Arguments:
        policy: Learns; its critic too, where it has one.
        settings: How.
        bound: The largest reward of a critic, either way.
    """

    def __init__(self, policy: Policy, settings: PpoSettings, bound: float = 10.0) -> None:
        super().__init__()
        self.policy, self.settings, self.bound = policy, settings, bound

    def objectives(self) -> Sequence[Objective[T]]:
        """Return the policy, and its critic where there is one."""
        parameters = list(self.policy.network.parameters())
        objective_list = [Objective("policy", self._loss, parameters, rate=self.settings.rate)]
        if self.policy.critic is not None:
            parameters = list(self.policy.critic.parameters())
            objective_list.append(
                Objective("critic", self._critic_loss, parameters, reuse_batch=True)
            )
        return objective_list

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Build n examples."""
        return self.policy.sample(n, condition=condition, noise=noise)

    def adversarial(self, x: Tensor) -> Tensor:
        """Return the critic's reward of examples."""
        return self.policy.realism(x).clamp(-self.bound, self.bound)

    @torch.no_grad()
    def is_too_far(self, transitions: T) -> bool:
        """Tell whether the policy has left the one that acted: KL > 1.5 · target.

        A function of the weights and the transitions alone, so that all processes agree and a
        resumed run decides as the first one did.
        """
        if self.settings.target_kl <= 0:
            return False
        transitions = transitions.to(next(self.policy.network.parameters()).device)
        log_prob, _, _ = self.policy.evaluate(transitions)
        kl = approximate_kl(log_prob, transitions.old).mean()
        return float(kl) > LEEWAY * self.settings.target_kl

    def _loss(self, batch: T) -> Loss:
        log_prob, entropy, value = self.policy.evaluate(batch)
        gain = surrogate(log_prob, batch.old, batch.advantage, self.settings.clip).mean()
        error = (value - batch.returns).square().mean()
        entropy = entropy.mean()
        loss = -gain + self.settings.value_weight * error - self.settings.entropy_weight * entropy
        terms: dict[str, Tensor] = {}
        if self.settings.expert_weight > 0:
            assert batch.noise is not None
            nats, terms["right"] = self.policy.expert_nats(batch.real, batch.noise, 1)
            loss = loss + self.settings.expert_weight * nats
        clipped = is_clipped(log_prob, batch.old, batch.advantage, self.settings.clip)
        terms |= {
            "reward": batch.reward.mean(),
            "value": error,
            "entropy": entropy,
            "kl": approximate_kl(log_prob, batch.old).mean(),
            "clipped": clipped.float().mean(),
        }
        return Loss(loss, {name: term.detach() for name, term in terms.items()})

    def _critic_loss(self, batch: T) -> Loss:
        real, built = self.policy.realism(batch.real), self.policy.realism(batch.built)
        loss = F.softplus(-real).mean() + F.softplus(built).mean()
        terms = {"real": real.mean().detach(), "built": built.mean().detach()}
        return Loss(loss, terms)
