r"""Laws of building molecules: valence, heads, gradients, symmetry, areas, a surrogate.

Everything is done on molecules of a few atoms of a small alphabet, where all states and all
episodes can be listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from trilemma.core import molecule as molecules
from trilemma.core.domain import Domain, Levels
from trilemma.core.graph import reordered
from trilemma.families import gcpn
from trilemma.laws.law import Check, Law, equal, states
from trilemma.maths import gaussian_process, ppo, search
from trilemma.maths.graphs import bfs_orders
from trilemma.maths.graphs import molecule_environment as building
from trilemma.networks import relational

__all__ = ["CHECKS", "actions_of", "reachable"]

SOURCE = "lecture §7; You, Liu, Ying, Pande & Leskovec 2018, sections 3.1 to 3.4"
PPO = "lecture §7; Schulman et al. 2017, eq. 7"
PMO = "Gao, Fu, Sun & Coley 2022, section 3.2"
GP = "Rasmussen & Williams 2006, eq. 2.25 and 2.26"
TANIMOTO = "Ralaivola, Swamidass, Saigo & Baldi 2005, section 4"
ALPHABET = ("C", "O")
ATOMS = 4


def _environment(most: int, steps: int = 10**6) -> building.MoleculeEnvironment:
    return building.MoleculeEnvironment(molecules.valences(ALPHABET), most, steps)


def actions_of(
    rules: building.MoleculeEnvironment, state: building.MoleculeState
) -> tuple[Tensor, Tensor]:
    """List all actions but stops of a batch of states: rows of the states, and the actions."""
    row, first = (rules.first_mask(state) & rules.stop_mask(state)[:, :1]).nonzero().unbind(1)
    old, new = rules.second_mask(state[row], first)
    padded_size = old.shape[1]
    indices, second = torch.cat([old, new], 1).nonzero().unbind(1)
    second = torch.where(second < padded_size, second, padded_size - second - 1)
    row, first = row[indices], first[indices]
    indices, bond = rules.bond_mask(state[row], first, second).nonzero().unbind(1)
    row, first, second = row[indices], first[indices], second[indices]
    return row, torch.stack([torch.zeros_like(first), first, second, bond + 1], 1)


def reachable(most: int, alphabet: tuple[str, ...] = ALPHABET) -> Iterator[building.MoleculeState]:
    """Yield all states that can be reached from a carbon, those after one action more each time.

    States that are the same but for what came last are one.
    """
    rules = building.MoleculeEnvironment(molecules.valences(alphabet), most, 10**6)
    state = rules.reset(1, most)
    while len(state):
        yield state
        row, action = actions_of(rules, state)
        next_state = rules.step(state[row], action)
        _, index = next_state.x.flatten(1).unique(dim=0, return_inverse=True)
        first = torch.full((int(index.max()) + 1 if len(index) else 0,), len(index))
        first = first.scatter_reduce(0, index, torch.arange(len(index)), "amin")
        state = next_state[first]


def _policy(most: int, steps: int = 0) -> gcpn.MoleculePolicy:
    """Return a policy with weights large enough that no action is as likely as another."""
    heads = relational.MoleculeHeads(elements=len(ALPHABET), width=5, layers=2)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in heads.parameters():
            weight.copy_(0.4 * torch.randn(weight.shape, generator=draw))
    domain = Domain("molecule", (most, most), Levels(4), elements=ALPHABET)
    return gcpn.MoleculePolicy(heads, domain)


@states(SOURCE)
def valence() -> list[Law]:
    """All states of up to four atoms."""
    broken = odd = wrong = count = 0
    valences = molecules.valences(ALPHABET)
    for state in reachable(ATOMS):
        count += len(state)
        broken += int((molecules.free_valence(state.x, valences) < 0).any(1).sum())
        odd += int((state.x != state.x.transpose(1, 2)).flatten(1).any(1).sum())
        wrong += int((molecules.free_valence(state.x, valences) != state.free).any(1).sum())
        wrong += int((molecules.sizes(state.x) != state.size).sum())
    return [
        equal(
            f"no state that can be reached breaks a valence: all of up to {ATOMS} atoms of "
            "C and O (states)",
            SOURCE,
            broken,
            0,
            0,
        ),
        equal("and its bonds are those of both atoms (states)", SOURCE, odd, 0, 0),
        equal("what a state says of itself is what its matrix says (states)", SOURCE, wrong, 0, 0),
        equal("and there are some hundreds of them", SOURCE, float(count > 300), 1, 0),
    ]


@states(SOURCE)
@torch.no_grad()
def heads() -> list[Law]:
    """All actions of states of two and three atoms."""
    policy, rules = _policy(ATOMS), _environment(ATOMS)
    states = [state for _, state in zip(range(3), reachable(ATOMS), strict=False)]
    gap = factor_gap = 0.0
    for state in states:
        row, action = actions_of(rules, state)
        stop = torch.zeros(len(state), 4, dtype=torch.int64)
        stop[:, 0], stop[:, 3] = 1, 1
        all_rows = torch.cat([row, torch.arange(len(state))])
        output = policy.choose(state[all_rows], action=torch.cat([action, stop]))
        total = torch.zeros(len(state)).index_add(0, all_rows, output.log_prob.exp())
        gap = max(gap, float((total - 1).abs().max()))
        factored = _chain(policy, state[row], action)
        factor_gap = max(factor_gap, float((output.log_prob[: len(row)] - factored).abs().max()))
    return [
        equal(
            "probabilities of all actions that valence allows sum to one (largest gap)",
            SOURCE,
            gap,
            0,
            1e-5,
        ),
        equal(
            "that of an action is the product of its heads' (largest gap of ln)",
            SOURCE,
            factor_gap,
            0,
            1e-5,
        ),
    ]


def _chain(policy: gcpn.MoleculePolicy, state: building.MoleculeState, action: Tensor) -> Tensor:
    """Return ln pi of actions that go on, head after head as the paper has it."""
    rules, heads = policy.environment, policy.network
    h, z = heads(state.x, state.free, state.latest)
    _, first, second, bond = action.unbind(1)
    padded_size = state.x.shape[1]
    old, new = rules.second_mask(state, first)
    index = torch.where(second < 0, padded_size - second - 1, second)
    factors = (
        (heads.stop(z), rules.stop_mask(state), torch.zeros_like(first)),
        (heads.first(h, z), rules.first_mask(state), first),
        (heads.second(h, z, first), torch.cat([old, new], 1), index),
        (heads.bond(h, z, first, second), rules.bond_mask(state, first, second), bond - 1),
    )
    total = torch.zeros(len(action))
    for logits, mask, chosen in factors:
        masked_logits = torch.where(mask, logits, -torch.inf)
        total += (masked_logits - masked_logits.logsumexp(1, keepdim=True)).gather(
            1, chosen[:, None]
        )[:, 0]
    return total


Episode = tuple[list[tuple[building.MoleculeState, Tensor]], building.MoleculeState]


def _episodes(
    rules: building.MoleculeEnvironment, state: building.MoleculeState
) -> Iterator[Episode]:
    """List all episodes from a state of one molecule: its actions, and how it ends."""
    if bool(state.done):
        yield [], state
        return
    _, actions = actions_of(rules, state)
    for action in (*actions, torch.tensor([1, 0, 0, 1])):
        next_state = rules.step(state, action[None])
        for later_steps, end in _episodes(rules, next_state):
            yield [(state, action[None]), *later_steps], end


@states(PPO)
def gradient() -> list[Law]:
    """All episodes of three steps: the surrogate's gradient at ratio 1, and the exact one."""
    policy = _policy(3)
    rules = replace(_environment(3), steps=3)
    weights = [w for k, w in policy.network.named_parameters() if not k.startswith("value")]
    expected, estimate = torch.zeros(()), torch.zeros(())
    for actions, end in _episodes(rules, rules.reset(1, 3)):
        reward = float(end.x.sum()) ** 1.5
        log_probs = torch.stack(
            [_log_prob(policy, rules, state, action) for state, action in actions]
        )
        chance = log_probs.sum().exp()
        expected = expected + chance * reward
        gain = ppo.surrogate(
            log_probs, log_probs.detach(), torch.full_like(log_probs, reward), 0.2
        )
        estimate = estimate + chance.detach() * gain.sum()
    exact, estimated = (
        torch.autograd.grad(value, weights, retain_graph=True, materialize_grads=True)
        for value in (expected, estimate)
    )
    pairs = list(zip(exact, estimated, strict=True))
    largest = max(float(a.abs().max()) for a, _ in pairs)
    gap = max(float((a - b).abs().max()) for a, b in pairs)
    return [
        equal(
            "the surrogate's gradient at ratio 1 is the exact policy gradient, by all episodes of "
            "three steps on molecules (largest gap, relative)",
            PPO,
            gap / largest,
            0,
            1e-4,
        )
    ]


def _log_prob(
    policy: gcpn.MoleculePolicy,
    rules: building.MoleculeEnvironment,
    state: building.MoleculeState,
    action: Tensor,
) -> Tensor:
    return policy.choose(state, action=action).log_prob[0]


@states(SOURCE)
def experts() -> list[Law]:
    """Molecules with rings and double bonds: the expert's actions, replayed."""
    wrong = 0
    rules = _environment(6)
    for codes, bonds in (
        ([1, 1, 1, 2], [(0, 1, 1), (1, 2, 1), (0, 2, 1), (2, 3, 1)]),
        ([1, 2], [(0, 1, 2)]),
        ([1, 1, 1, 1, 1, 2], [(0, 1, 2), (1, 2, 1), (2, 3, 2), (3, 4, 1), (4, 5, 1), (5, 0, 1)]),
        ([1], []),
    ):
        x = molecules.molecule(codes, bonds, 6)[None]
        u = torch.tensor([[0.1, 0.8, 0.3, 0.6, 0.2, 0.9]])
        y = reordered(x, bfs_orders.breadth_first(x, u))
        steps = int((molecules.bonds(y) > 0).sum()) // 2 + 1
        fractions = (torch.arange(steps) + 0.5) / steps
        states, actions = building.expert_action(y.expand(steps, 6, 6), rules.valence, fractions)
        state = rules.reset(1, 6, int(y[0, 0, 0]))
        for step, action in enumerate(actions):
            wrong += int((state.x[0] != states.x[step]).sum())
            state = rules.step(state, action[None])
        wrong += int((state.x != y).sum()) + int(not bool(state.done))
    return [
        equal("the expert's actions build the molecule (entries that differ)", SOURCE, wrong, 0, 0)
    ]


@states(SOURCE)
@torch.no_grad()
def symmetry() -> list[Law]:
    """A molecule and the same with its atoms in another order."""
    policy, rules = _policy(6), _environment(6)
    x = molecules.molecule([1, 1, 2, 1], [(0, 1, 1), (1, 2, 1), (1, 3, 2)], 6)[None]
    order = torch.tensor([[2, 0, 3, 1, 4, 5]])
    inverse_order = order.argsort(1)[0]
    y = reordered(x, order)
    state, permuted_state = rules.reset_from(x), rules.reset_from(y)
    permuted_state = replace(permuted_state, latest=inverse_order[state.latest])
    row, action = actions_of(rules, state)
    permuted_action = action.clone()
    permuted_action[:, 1] = inverse_order[action[:, 1]]
    permuted_action[:, 2] = torch.where(
        action[:, 2] < 0, action[:, 2], inverse_order[action[:, 2].clamp_min(0)]
    )
    original, permuted = (
        policy.choose(state[row], action=action),
        policy.choose(permuted_state[row], action=permuted_action),
    )
    critic = relational.MoleculeCritic(elements=2, width=5, layers=2)
    return [
        equal(
            "atoms in another order have the same actions, as likely (largest gap of ln)",
            SOURCE,
            float((original.log_prob - permuted.log_prob).abs().max()),
            0,
            1e-5,
        ),
        equal(
            "and a value that does not know the order (gap)",
            SOURCE,
            float((original.value - permuted.value).abs().max()),
            0,
            1e-5,
        ),
        equal(
            "nor does a critic (gap)",
            SOURCE,
            float((critic(x, state.free) - critic(y, permuted_state.free)).abs()),
            0,
            1e-5,
        ),
    ]


@states(PMO)
def areas() -> list[Law]:
    """Searches whose area is known."""
    rising = torch.arange(1, 10_001).double() / 10_000
    # The ten best of the first c are c, c - 1, …, c - 9, over 10,000.
    marks = torch.arange(0, 10_001, 100).double()
    means = torch.where(marks > 0, (marks - 4.5) / 10_000, 0.0)
    exact = float(torch.trapezoid(means, marks)) / 10_000
    early = torch.cat([torch.ones(10), torch.zeros(90)]).double()
    return [
        equal(
            "auc_top10 of a search that finds c / 10,000 at call c", PMO,
            search.auc_top(rising), exact, 1e-12,
        ),
        equal(
            "of one that stops after 100 calls with ten of worth 1: its last mean is held", PMO,
            search.auc_top(early), (50 + 9900) / 10_000, 1e-12,
        ),
        equal("of nothing", PMO, search.auc_top(torch.zeros(0)), 0, 0),
    ]  # fmt: skip


@states(GP, TANIMOTO)
def expected() -> list[Law]:
    """What a surrogate expects is the joint normal's conditional, by its precision."""
    draw, noise, num_observed = torch.Generator().manual_seed(0), 0.1, 6
    bits = (torch.rand(9, 24, generator=draw) < 0.3).double()
    y = torch.randn(num_observed, generator=draw, dtype=torch.float64) * 3 + 2
    k = gaussian_process.tanimoto(bits, bits)
    observed_kernel, cross_kernel, query_kernel = (
        k[:num_observed, :num_observed],
        k[num_observed:, :num_observed],
        k[num_observed:, num_observed:],
    )
    posterior = gaussian_process.Posterior(observed_kernel, y, noise)
    joint = k + torch.diag(torch.tensor([noise] * num_observed + [0.0] * (len(k) - num_observed)))
    precision = torch.linalg.inv(joint.double())
    spread = torch.linalg.inv(precision[num_observed:, num_observed:])
    weights = -spread @ precision[num_observed:, :num_observed]
    mean, scale = y.mean(), y.std(correction=0)
    # As many standard normal numbers as places, one at a time, give the root of a covariance.
    eps = torch.eye(len(query_kernel), dtype=torch.float64)
    root = posterior.draws(cross_kernel, query_kernel, eps) - posterior.mean(cross_kernel)
    covariance = scale**2 * spread
    sets = [set(row.nonzero()[:, 0].tolist()) for row in bits]
    by_sets = torch.tensor(
        [[len(a & b) / max(len(a | b), 1) for b in sets] for a in sets], dtype=torch.float64
    )
    return [
        equal(
            "what a surrogate expects is the conditional mean of the joint normal", GP,
            (posterior.mean(cross_kernel) - (mean + weights @ (y - mean))).abs().max(), 0, 1e-9,
        ),
        equal(
            "and its covariance the conditional one", GP,
            (posterior.covariance(cross_kernel, query_kernel) - covariance).abs().max(), 0, 1e-9,
        ),
        equal(
            "drawn functions have it", GP, (root.T @ root - covariance).abs().max(), 0, 1e-4
        ),
        equal(
            "Tanimoto's similarity is what two sets share, over what either has", TANIMOTO,
            float((k - by_sets).abs().max()), 0, 1e-12,
        ),
    ]  # fmt: skip


CHECKS: tuple[Check, ...] = (valence, heads, gradient, experts, symmetry, areas, expected)
