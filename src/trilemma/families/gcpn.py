r"""GCPN: a graph convolutional policy network that builds molecules, trained by `families.ppo`.

The policy chooses the four parts of an action (`maths.graphs.molecule_environment`) in turn, each
among what valence allows and conditioned on those before it,

    ln pi(action | state) = ln p(stop) + [go on] (ln p(first) + ln p(second | first)
                                                  + ln p(bond | first, second))

with the heads of `networks.relational`. The entropy of a state is estimated by the same chain,
along the action that was taken. An expert builds a real molecule atom after atom, in a random
breadth-first order that begins with a carbon where there is one, and closes rings as they come.

An episode's reward comes at its end; where steps are rewarded, each gets a little at once. Where
given molecules are to be improved, or a scaffold is to stay, episodes begin with these: nothing is
ever taken away.

What the paper's released code does otherwise, and why not here: its old log-probabilities are
those of the weights that are trained, so that the ratio is one and the clip never acts; stops are
ignored for twenty steps, while their log-probabilities stay in the gradient; invalid actions are
tried and undone, where here they cannot be chosen.

References:
    | Graph Convolutional Policy Network for Goal-Directed Molecular Graph Generation (You, Liu,
      Ying, Pande & Leskovec, 2018), arXiv:1806.02473
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain
from trilemma.core.graph import reordered
from trilemma.core.model import Model, Objective
from trilemma.core.molecule import atoms, free_valence, sizes, valences
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
from trilemma.maths.graphs.bfs_orders import breadth_first
from trilemma.maths.graphs.molecule_environment import (
    MoleculeEnvironment,
    MoleculeState,
    expert_action,
)
from trilemma.maths.ppo import chosen, entropy, masked_log_probs

__all__ = ["MoleculePolicy", "MoleculeTransitions"]

CALLS, BEST = 10_000, 100
"""Calls whose scores are kept, and molecules."""


@dataclass(frozen=True, kw_only=True)
class MoleculeTransitions(Transitions):
    """Transitions of molecules that are built."""

    x: UInt8[Tensor, "B N N"]
    latest: Int[Tensor, " B"]
    remaining: Int[Tensor, " B"]
    action: Int[Tensor, "B 4"]


@dataclass(frozen=True)
class Chosen:
    """What a policy says of a state."""

    action: Int[Tensor, "B 4"]
    log_prob: Float[Tensor, " B"]
    entropy: Float[Tensor, " B"]
    value: Float[Tensor, " B"]
    likeliest: Tensor
    """Whether every part was the likeliest, [B] bool."""


class MoleculePolicy(Model[Examples, Tensor]):
    """Builds molecules.

    Arguments:
        network: The heads, `networks.relational.MoleculeHeads` or the like.
        domain: Molecules of at most N heavy atoms.
        most: Atoms that are built at most; 0 for N.
        critic: (x, free valences) -> a logit, where the reward is adversarial.
        starts: How many molecules are kept to begin with; 0: episodes begin with a carbon.
        seeks: What is sought; '' where molecules are to be like the data.
        constrained: Whether those to begin with are to be made worth more, each by itself.
    """

    run_buffers: ClassVar[tuple[str, ...]] = (
        "starts",
        "changed",
        "oracle_scores",
        "oracle_call_count",
        "best",
    )

    def __init__(
        self,
        network: nn.Module,
        domain: Domain,
        *,
        most: int = 0,
        critic: nn.Module | None = None,
        starts: int = 0,
        seeks: str = "",
        constrained: bool = False,
    ) -> None:
        super().__init__()
        self.constrained = constrained
        self.network: Any = network
        self.critic, self.domain, self.seeks = critic, domain, seeks
        self.limit = domain.shape[-1]
        self.most = min(most or self.limit, self.limit)
        self.valence: Tensor
        self.register_buffer("valence", valences(domain.elements), persistent=False)
        self.starts: Tensor
        if starts:
            x = torch.zeros(starts, *domain.shape, dtype=torch.uint8)
            x[:, 0, 0] = 1
            self.register_buffer("starts", x)
        self.changed: Tensor
        if constrained:
            self.register_buffer("changed", torch.zeros(starts, *domain.shape, dtype=torch.uint8))
        self.oracle_scores: Tensor
        self.oracle_call_count: Tensor
        self.best: Tensor
        if seeks:
            self.register_buffer("oracle_scores", torch.zeros(CALLS))
            self.register_buffer("oracle_call_count", torch.zeros((), dtype=torch.int64))
            self.register_buffer("best", torch.zeros(BEST, *domain.shape, dtype=torch.uint8))

    @property
    def environment(self) -> MoleculeEnvironment:
        """Return the rules by which molecules are built, on the model's device."""
        return MoleculeEnvironment(self.valence, self.most, 2 * self.most)

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the player that learns from experts; stages have their own."""
        return BehaviourCloning(self).objectives()

    def remember(self, scores: Sequence[float], best: UInt8[Tensor, "S N N"]) -> None:
        """Keep the scores of an oracle's calls, in order, and the best molecules."""
        count = min(len(scores), CALLS)
        self.oracle_scores[:count] = torch.tensor(scores[:count])
        self.oracle_call_count.fill_(count)
        self.best[: len(best)] = best[:BEST]

    def call_scores(self) -> Float[Tensor, " C"]:
        """Return what different molecules were worth, in the order in which they were asked."""
        return self.oracle_scores[: int(self.oracle_call_count)]

    def best_found(self) -> UInt8[Tensor, "S N N"]:
        """Return the best of them, the best first."""
        return self.best[sizes(self.best) > 0]

    def begin_with(self, x: UInt8[Tensor, "S N N"]) -> None:
        """Keep molecules with which episodes begin, in turn."""
        rows = torch.arange(len(self.starts)) % len(x)
        self.starts.copy_(x[rows])

    def originals(self) -> UInt8[Tensor, "S N N"]:
        """Return the molecules that are to be made worth more."""
        return self.starts[sizes(self.changed) > 0]

    def improved(self) -> UInt8[Tensor, "S N N"]:
        """Return what they have become."""
        return self.changed[sizes(self.changed) > 0]

    def remember_improved(self, x: UInt8[Tensor, "S N N"]) -> None:
        """Keep what the first molecules to begin with have become."""
        self.changed.zero_()
        self.changed[: len(x)] = x

    def begin(self, noise: Noise) -> MoleculeState:
        """Begin as many molecules as the noise has rows."""
        environment = self.environment
        if not hasattr(self, "starts"):
            return environment.reset(len(noise), self.limit)
        indices = noise.named("starts").integers(len(self.starts)).to(self.starts.device)
        return environment.reset_from(self.starts[indices])

    # The policy

    def choose(
        self,
        state: MoleculeState,
        *,
        u: Float[Tensor, "B 4"] | None = None,
        action: Int[Tensor, "B 4"] | None = None,
    ) -> Chosen:
        """Choose an action each, or say what is thought of those that are given.

        Arguments:
            state: Where molecules stand.
            u: Uniform numbers, one for each part; None takes the likeliest.
            action: What was done; then nothing is drawn.
        """
        max_atoms = max(1, min(int(state.size.max()) + 1, state.x.shape[1]))
        rules = self.environment
        # Only as much of the matrices as any molecule fills is looked at.
        cropped = MoleculeState(
            state.x[:, :max_atoms, :max_atoms],
            state.free[:, :max_atoms],
            state.size,
            state.latest,
            state.remaining,
            state.done,
        )
        h, z = self.network(cropped.x, cropped.free, cropped.latest)
        rows = torch.arange(len(h), device=h.device)
        parts: list[Tensor] = []
        log_probs: list[Tensor] = []

        def take(logits: Tensor, mask: Tensor, fixed: Tensor | None, part: int) -> Tensor:
            # Where a molecule has stopped nothing is open; its parts are not counted.
            mask = mask | ~mask.any(1, keepdim=True)
            log_prob = masked_log_probs(logits, mask)
            if fixed is None:
                fixed = log_prob.argmax(1) if u is None else chosen(log_prob, u[:, part])
            parts.append(fixed)
            log_probs.append(log_prob)
            return fixed

        first_mask = rules.first_mask(cropped)
        stop_mask = rules.stop_mask(cropped, first_mask)
        stop = take(self.network.stop(z), stop_mask, _part(action, 0), 0)
        first = take(self.network.first(h, z), first_mask, _part(action, 1), 1)
        atom_mask, element_mask = rules.second_mask(cropped, first)
        fixed = _part(action, 2)
        if fixed is not None:  # -k, a new atom of element k, stands after the atoms
            fixed = torch.where(fixed < 0, max_atoms - fixed - 1, fixed)
        logits = self.network.second(h, z, first)
        second = take(logits, torch.cat([atom_mask, element_mask], 1), fixed, 2)
        second = torch.where(second < max_atoms, second, max_atoms - second - 1)
        fixed = _part(action, 3)
        logits = self.network.bond(h, z, first, second)
        take(
            logits,
            rules.bond_mask(cropped, first, second),
            None if fixed is None else fixed - 1,
            3,
        )
        continues = stop == 0
        part_log_probs = [
            log_prob[rows, part] for log_prob, part in zip(log_probs, parts, strict=True)
        ]
        entropies = [entropy(log_prob) for log_prob in log_probs]
        is_likeliest = [
            part == log_prob.argmax(1) for log_prob, part in zip(log_probs, parts, strict=True)
        ]
        actions = torch.stack([stop, first, second, parts[3] + 1], 1)
        return Chosen(
            actions if action is None else action,
            part_log_probs[0]
            + torch.where(
                continues, part_log_probs[1] + part_log_probs[2] + part_log_probs[3], 0.0
            ),
            entropies[0] + torch.where(continues, entropies[1] + entropies[2] + entropies[3], 0.0),
            self.network.value(z),
            is_likeliest[0] & (~continues | (is_likeliest[1] & is_likeliest[2] & is_likeliest[3])),
        )

    def evaluate(self, transitions: MoleculeTransitions) -> tuple[Tensor, Tensor, Tensor]:
        """Return ln pi of the actions, entropies, and values."""
        batch = transitions
        size = sizes(batch.x)
        free = free_valence(batch.x, self.valence)
        is_done = torch.zeros_like(batch.latest, dtype=torch.bool)
        state = MoleculeState(batch.x, free, size, batch.latest, batch.remaining, is_done)
        output = self.choose(state, action=batch.action)
        return output.log_prob, output.entropy, output.value

    def expert_nats(
        self, x: Tensor, noise: Noise, states: int
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the mean of -ln pi of experts' actions, and how often they are the likeliest.

        Arguments:
            x: Real molecules.
            noise: Draws orders and actions.
            states: States on the way to each molecule.
        """
        max_atoms = max(1, int(sizes(x).max()))
        x = x[:, :max_atoms, :max_atoms]
        # As many numbers whatever the largest of these is, so that shares of a batch agree.
        u = noise.named("order").uniform(self.limit)[:, :max_atoms].to(x.device)
        y = reordered(x, breadth_first(x, _carbon_first(x, u)))
        y = y.repeat_interleave(states, 0)
        where = noise.named("act").uniform(states).flatten().to(x.device)
        state, action = expert_action(y, self.valence, where)
        output = self.choose(state, action=action)
        return -output.log_prob.mean(), output.likeliest.float().mean()

    def realism(self, x: Tensor) -> Float[Tensor, " B"]:
        """Return the critic's logit of molecules."""
        assert self.critic is not None
        return self.critic(x, free_valence(x, self.valence))

    # Episodes

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> UInt8[Tensor, "n N N"]:
        """Build n molecules."""
        noise = noise or Noise.fresh(n, next(self.parameters()).device)
        with torch.no_grad():
            return self._played(self.begin(noise), noise)[0].x

    def path(
        self,
        n: int,
        *,
        frames: int,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Sequence[Tensor]:
        """Return about `frames` states of n molecules on their way."""
        noise = noise or Noise.fresh(n, next(self.parameters()).device)
        start = self.begin(noise)
        with torch.no_grad():
            end, steps = self._played(start, noise)
        states = [start.x]
        for rows, state, _ in steps[1:]:
            x = states[-1].clone()
            x[rows] = state.x
            states.append(x)
        states.append(end.x)
        if len(states) <= frames:
            return states
        return [states[round(i * (len(states) - 1) / (frames - 1))] for i in range(frames)]

    def _played(
        self, state: MoleculeState, noise: Noise
    ) -> tuple[MoleculeState, list[tuple[Tensor, MoleculeState, Chosen]]]:
        """Act until all molecules are done.

        Returns:
            The ends; and for each step which molecules still acted, their states, and what was
            chosen. Molecules that are done are looked at no more.
        """
        end, steps = state, []
        rows = (~state.done).nonzero()[:, 0]
        state, rules = state[rows], self.environment
        while len(rows):
            u = noise.uniform(4).to(rows.device)[rows]
            output = self.choose(state, u=u)
            steps.append((rows, state, output))
            state = rules.step(state, output.action)
            end = _with(end, rows, state)
            going = (~state.done).nonzero()[:, 0]
            rows, state = rows[going], state[going]
        return end, steps

    @torch.no_grad()
    def collect(
        self,
        noise: Noise,
        real: UInt8[Tensor, "E N N"],
        reward: Reward,
        settings: PpoSettings,
        *,
        starts: UInt8[Tensor, "E N N"] | None = None,
        step_reward: float = 0.0,
    ) -> MoleculeTransitions:
        """Play an episode for each row of the noise, and weigh its actions.

        Arguments:
            noise: E rows.
            real: E expert molecules.
            reward: Of built molecules.
            settings: How advantages are made.
            starts: What each episode begins with, where it is not as in sampling.
            step_reward: What the steps of an episode of as many steps as atoms are rewarded with.

        Returns:
            All transitions that were played; the molecules are repeated.
        """
        with playing(self):
            start = self.begin(noise) if starts is None else self.environment.reset_from(starts)
            end, steps = self._played(start, noise)
        final_rewards = checked(reward, end.x).float()
        count, length = len(end), len(steps)
        device = end.x.device
        active = torch.zeros(length, count, dtype=torch.bool, device=device)
        values = torch.zeros(length, count, device=device)
        for t, (rows, _, output) in enumerate(steps):
            active[t, rows] = True
            values[t, rows] = output.value
        is_last = active & ~torch.cat([active[1:], torch.zeros_like(active[:1])])
        rewards = is_last * final_rewards
        rewards = rewards + active * (step_reward / self.most)
        weighted = estimate_advantages(rewards, values, active, settings)
        # Steps hold those alone that were played, in the order of `weighted.played`.
        states = [state for _, state, _ in steps]
        return MoleculeTransitions(
            x=torch.cat([state.x for state in states]),
            latest=torch.cat([state.latest for state in states]),
            remaining=torch.cat([state.remaining for state in states]),
            action=torch.cat([output.action for *_, output in steps]),
            old=torch.cat([output.log_prob for *_, output in steps]),
            advantage=weighted.advantage,
            returns=weighted.returns,
            real=real[weighted.episode],
            built=end.x[weighted.episode],
            reward=final_rewards[weighted.episode],
        )


def _part(action: Tensor | None, part: int) -> Tensor | None:
    return None if action is None else action[:, part]


def _carbon_first(x: Tensor, u: Tensor) -> Tensor:
    """Return the uniform numbers with the least of the carbons' made the least of all."""
    score = torch.where(atoms(x) == 1, u, u + 1)
    root = torch.where(atoms(x) > 0, score, torch.inf).argmin(1)
    return (u * 0.999 + 0.001).scatter(1, root[:, None], 0.0)


def _with(end: MoleculeState, rows: Tensor, state: MoleculeState) -> MoleculeState:
    """Return the states of all molecules with those of some rows put in."""

    def put(full: Tensor, part: Tensor) -> Tensor:
        full = full.clone()
        full[rows] = part
        return full

    return MoleculeState(
        put(end.x, state.x),
        put(end.free, state.free),
        put(end.size, state.size),
        put(end.latest, state.latest),
        put(end.remaining, state.remaining),
        put(end.done, state.done),
    )
