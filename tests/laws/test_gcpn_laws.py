"""The laws of building molecules hold, and each fails when the code is broken."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from trilemma.core import molecule as molecules
from trilemma.families import gcpn as family
from trilemma.laws import gcpn as laws
from trilemma.maths import gaussian_process, ppo, search
from trilemma.maths.graphs import molecule_environment as environment
from trilemma.networks import relational


def test_no_state_of_five_atoms_of_four_elements_breaks_a_valence():
    valences = molecules.valences(("C", "N", "O", "F"))
    count = 0
    for state in laws.reachable(4, ("C", "N", "O", "F")):
        count += len(state)
        assert (molecules.free_valence(state.x, valences) >= 0).all()
    for state in laws.reachable(5):
        count += len(state)
        assert (molecules.free_valence(state.x, molecules.valences(("C", "O"))) >= 0).all()
    assert count > 10_000


RULES = environment.MoleculeEnvironment
STEP, BONDS, FIRST = RULES.step, RULES.bond_mask, RULES.first_mask
CHOOSE, EXPERT = family.MoleculePolicy.choose, environment.expert_action
FEATURES, AUC = relational.atom_features, search.auc_top
LOG_PROBS = ppo.masked_log_probs
GP = gaussian_process.Posterior
POSTERIOR = GP.__init__


def any_bond(self, state, first, second):
    return torch.ones_like(BONDS(self, state, first, second))


def one_way(self, state, action):
    after = STEP(self, state, action)
    return replace(after, x=after.x.triu())


def forgetful(self, state, action):
    """Bonds that are not taken off what atoms can still make."""
    return replace(STEP(self, state, action), free=state.free)


def lonely(self, state, action):
    """Nothing is ever built."""
    return replace(state, done=torch.ones_like(state.done))


def louder(logits, mask):
    return LOG_PROBS(logits, mask) + 0.1


def without_bonds(self, state, *, u=None, action=None):
    """Bonds of which only the single one is thought likely, whatever was chosen."""
    chosen = CHOOSE(self, state, u=u, action=action)
    return replace(chosen, log_prob=chosen.log_prob - 0.01 * (chosen.action[:, 0] == 0))


def squared(log_prob, old, advantage, clip):
    return (log_prob - old).exp().square() * advantage


def wrong_end(x, valence, u):
    state, action = EXPERT(x, valence, u)
    return state, torch.where(action[:, :1] == 1, action, action.roll(1, 0))


def by_place(x, free, latest, elements):
    features = FEATURES(x, free, latest, elements)
    is_atom = features.abs().sum(2, keepdim=True) > 0
    return features + is_atom * torch.arange(features.shape[1])[:, None] * 0.1


def unheld(scores, k=10, *, calls=10_000, every=100):
    return AUC(scores, k, calls=max(len(scores), 1), every=every)


def late(scores, k=10, *, calls=10_000, every=100):
    return AUC(scores.flip(0), k, calls=calls, every=every)


def constant(scores, k=10, *, calls=10_000, every=100):
    return 0.1


def certain(self, k, y, noise):
    POSTERIOR(self, k, y, 0.0)


def unshifted(self, k, y, noise):
    POSTERIOR(self, k, y, noise)
    self.mean_of_all = y.mean() * 0


def alone(self, across, own, eps):
    spread = self.covariance(across, own).diagonal().sqrt()
    return self.mean(across) + eps * spread


def dice(a, b):
    return 2 * (a @ b.T) / (a.sum(1)[:, None] + b.sum(1))


BROKEN = [
    ("valence", "breaks a valence", RULES, "bond_mask", any_bond),
    ("valence", "bonds are those of both", RULES, "step", one_way),
    ("valence", "says of itself", RULES, "step", forgetful),
    ("valence", "some hundreds", RULES, "step", lonely),
    ("heads", "sum to one", family, "masked_log_probs", louder),
    ("heads", "product of its heads", family.MoleculePolicy, "choose", without_bonds),
    ("gradient", "exact policy gradient", ppo, "surrogate", squared),
    ("experts", "build the molecule", environment, "expert_action", wrong_end),
    ("symmetry", "same actions", relational, "atom_features", by_place),
    ("symmetry", "does not know the order", relational, "atom_features", by_place),
    ("symmetry", "nor does a critic", relational, "atom_features", by_place),
    ("areas", "finds c / 10,000", search, "auc_top", late),
    ("areas", "stops after 100", search, "auc_top", unheld),
    ("areas", "of nothing", search, "auc_top", constant),
    ("expected", "conditional mean", GP, "__init__", unshifted),
    ("expected", "conditional one", GP, "__init__", certain),
    ("expected", "drawn functions", GP, "draws", alone),
    ("expected", "two sets share", gaussian_process, "tanimoto", dice),
]


@pytest.mark.parametrize(
    ("check", "law", "where", "name", "broken"), BROKEN, ids=[f"{b[0]}-{b[1]}" for b in BROKEN]
)
def test_a_break_is_seen(check, law, where, name, broken, breaks):
    breaks(laws, check, law, where, name, broken)


def test_each_law_is_broken(unbroken):
    assert unbroken(laws, BROKEN) == []
