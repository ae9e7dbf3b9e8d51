"""The laws of columns hold, and each fails when the code is broken."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from trilemma.core.columns import Columns
from trilemma.core.domain import Domain
from trilemma.families import likelihood
from trilemma.families.dequantised_density import OnLevels, Tightened
from trilemma.families.diffusion import bound as diffusion_bound
from trilemma.families.diffusion import probability_flow
from trilemma.families.likelihood import Family
from trilemma.laws import column_coordinates
from trilemma.laws import columns as laws

IN_BIN, SCALE, QUANTISE = Columns.in_bin, Columns.scale, Columns.quantise
DEQUANTISED = Columns.dequantised
VOLUME, CELLS, ENDS = Columns.log_volume, Columns.in_cells, Columns.ends
IMPORTANCE, DECODED = Tightened.importance_bound, diffusion_bound.VariationalBound.decoded
LOG_PROB, OF_COLUMNS = probability_flow.ProbabilityFlow.log_prob, likelihood.columns_log_prob


def as_reals(self, x, u):
    """Treat every column as real: what is wrong with a density of whole numbers."""
    return IN_BIN(self, x, torch.full_like(u, 0.9))


def narrow(self, x, u):
    return IN_BIN(self, x, 0.3 * u)


def without_volume(self):
    return 0.0


def all_in_cells(self, like):
    return torch.ones(len(self.columns), dtype=torch.bool)


def rounded(self, y):
    """Take the number that is nearest to a place of a cell, which may be the next."""
    x, at = QUANTISE(self, y), self.number_coordinates
    v = y[:, at].double() * self.spread(y)[self.numbers]
    low, count = (self._row(name, y)[self.numbers] for name in ("low", "count"))
    nearest = (v + self._row("location", y)[self.numbers]).round()
    x[:, self.numbers] = nearest.clamp(low, low + count - 1).float()
    return x


def unbounded(self, y):
    x, at = QUANTISE(self, y), self.number_coordinates
    v = y[:, at].double() * self.spread(y)[self.numbers]
    x[:, self.numbers] = (v + self._row("location", y)[self.numbers]).floor().float()
    return x


def without_density(self, x, noise):
    y, log_q = DEQUANTISED(self, x, noise)
    return y, torch.zeros_like(log_q)


def as_it_falls(self, x, noise):
    """Leave the largest of the numbers where it falls."""
    y, log_q = DEQUANTISED(self, x, noise)
    return y.flip(1), log_q


def narrow_names(self, x, noise):
    y, log_q = DEQUANTISED(self, x, noise)
    return 0.8 * y + 0.1, log_q


def nothing_missing(self, x):
    return torch.ones_like(x, dtype=torch.bool)


def unfilled(self, x):
    return x + 0.5


def off_the_middle(self, x):
    return IN_BIN(self, x, torch.full_like(x, 1.5))


def one_for_all(self, x, k, *, condition=None, noise=None):
    return self.bound(x, condition=condition, noise=noise)


def boastful(self, x, k, *, condition=None, noise=None):
    return IMPORTANCE(self, x, k, noise=noise) + 0.1


def shifted(self, n, *, condition=None, noise=None):
    return self.domain.values.quantise(self.inner.draw(n, noise=noise) + 0.2)


def endless(self, x):
    return tuple(torch.zeros_like(end) for end in ENDS(self, x))


def wider(values, x, mean, log_scale, family):
    return OF_COLUMNS(values, x, mean, log_scale + 0.3, family)


def densities(values, x, mean, log_scale, family):
    """Take the density of the middle for the probability of a cell."""
    return OF_COLUMNS(values, x, mean, log_scale, Family(family.density, as_density(family)))


def as_density(family):
    return lambda centre, half, log_scale, *ends: (
        family.density(centre, torch.zeros_like(centre), log_scale) + (2 * half).log()
    )


BREAKS = [
    ("E of the bound of a perfect", Columns, "log_volume", property(without_volume)),
    ("and it is ln P(x) for every row", Columns, "log_volume", property(without_volume)),
    ("one that is not flat", Columns, "in_bin", as_reals),
    ("one that is not flat", Columns, "in_bin", narrow),
    ("64 draws of u win it back", Tightened, "importance_bound", boastful),
    ("to within 0.05", Tightened, "importance_bound", one_for_all),
    ("no bound of whole numbers", Domain, "at_most_certain", lambda self, nats: nats),
    ("and cut at 0", Domain, "at_most_certain", lambda self, nats: nats.clamp(min=0)),
    ("a perfect density of a coin", Columns, "log_volume", property(without_volume)),
    ("a perfect density of a coin", Columns, "in_cells", all_in_cells),
    ("and a mixed row comes back", Columns, "in_cells", all_in_cells),
    ("the number of any place", Columns, "quantise", rounded),
    ("the middle of a cell", Columns, "scale", off_the_middle),
    ("what is drawn beyond", Columns, "quantise", unbounded),
    ("samples of a perfect density", OnLevels, "sample", shifted),
    ("P of all rows under a gaussian", Columns, "ends", endless),
    ("P of all rows under a logistic", Columns, "ends", endless),
    ("P of all rows under a gaussian", likelihood, "columns_log_prob", densities),
    ("ln P of a row under a gaussian", likelihood, "columns_log_prob", wider),
    ("ln P of a row under a logistic", likelihood, "columns_log_prob", wider),
    ("bound of a diffusion", diffusion_bound.VariationalBound, "decoded",
     lambda *a: DECODED(*a) - 0.2),
    ("and by little under it with", diffusion_bound.VariationalBound, "decoded",
     lambda *a: DECODED(*a) + 0.2),
    ("no term's sum", diffusion_bound.VariationalBound, "decoded", lambda *a: DECODED(*a) - 9),
    ("the flow of the exact denoiser", probability_flow.ProbabilityFlow, "log_prob",
     lambda *a: LOG_PROB(*a) + 0.2),
    ("and by little under it too", probability_flow.ProbabilityFlow, "log_prob",
     lambda *a: LOG_PROB(*a) - 0.2),
    ("E of the bound of a perfect", Columns, "dequantised", without_density),
    ("and it is ln P(x) for every row", Columns, "dequantised", without_density),
    ("ln P of a row under a logistic", likelihood, "logits", lambda m, s, f: m),
    ("ln p of a row that lacks", Columns, "dequantised", without_density),
    ("ln p of a row that lacks", Columns, "present", nothing_missing),
    ("and it comes back from its", Columns, "canonical", unfilled),
    ("ln P of a missing number", Columns, "present", nothing_missing),
    ("the largest number", Columns, "dequantised", as_it_falls),
    ("ln q(v | k)", Columns, "dequantised", without_density),
    ("over all names", Columns, "dequantised", narrow_names),
    ("… and variance 1", Columns, "dequantised", narrow_names),
]  # fmt: skip


@cache
def full_table():
    """Return the names of the laws of each check."""
    checks = (*laws.CHECKS, *column_coordinates.CHECKS)
    return {check: [law.name for law in check()] for check in checks}


@pytest.mark.parametrize(("law", "where", "name", "broken"), BREAKS, ids=[b[0] for b in BREAKS])
def test_a_law_fails_when_its_code_is_broken(law, where, name, broken, monkeypatch):
    check = next(c for c, names in full_table().items() if any(n.startswith(law) for n in names))
    monkeypatch.setattr(where, name, broken)
    matching = [each for each in check() if each.name.startswith(law)]
    assert matching
    assert not any(each.holds for each in matching)


def test_every_law_has_a_break():
    names = [name for names in full_table().values() for name in names]
    assert all(any(name.startswith(b[0]) for b in BREAKS) for name in names)
