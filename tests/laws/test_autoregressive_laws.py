"""The laws of autoregressive models hold, and each fails when the code is broken."""

from __future__ import annotations

import pytest
import torch

from trilemma.families import autoregressive as family
from trilemma.laws import autoregressive as laws
from trilemma.maths import pixel_distributions
from trilemma.networks import pixelcnn

MASKED, FIRST, PAD = (
    pixelcnn.MaskedConvolution.__init__,
    pixelcnn.MaskedConvolution.first,
    pixelcnn.F.pad,
)
BEGIN, CELL = pixelcnn._SamplingState.begin, pixelcnn._SamplingState.cell
DRAWS = {
    kind: kind.draw
    for kind in (
        pixel_distributions.Bernoulli,
        pixel_distributions.Categorical,
        pixel_distributions.LogisticMixture,
    )
}
BERNOULLI, LOGISTIC = (
    pixel_distributions.bernoulli_log_prob,
    pixel_distributions.discretised_logistic_log_prob,
)
CONDITIONALS, MODEL = family.Autoregressive.conditionals, laws._model


def looser(self, groups, inputs, outputs, *, own):
    """A mask in which a number sees itself."""
    MASKED(self, groups, inputs, outputs, own=own)
    self.mask = torch.ones_like(self.mask) if groups > 1 else self.mask


def tighter(self, groups, inputs, outputs, *, own):
    """A mask in which the numbers of a cell know nothing of each other."""
    MASKED(self, groups, inputs, outputs, own=own)
    eye = torch.eye(groups) if own else torch.zeros(groups, groups)
    self.mask = eye.repeat_interleave(outputs, 0).repeat_interleave(inputs, 1)


def ahead(x, widths):
    """Paddings that let the stream in the row see the cell itself and what follows."""
    before, right, *rest = widths
    return PAD(x, (before - 1, right + 1, *rest) if not right else widths)


def shallow(*arguments, **options):
    """A trunk too shallow to reach every earlier cell."""
    return MODEL(*arguments, **options | {"blocks": 0 if "blocks" in options else 2})


def forgetful(self, row):
    """Rows of which the streams remember nothing."""
    for cached_row in self.rows:
        cached_row.zero_()
    BEGIN(self, row)


def flat_log_prob(self, levels, f):
    return (f.gather(-1, levels.long().unsqueeze(-1)).squeeze(-1) - f.logsumexp(-1)) * 0.9


def crossed(self, x, *, condition=None):
    """Conditionals that were asked about a picture with another first number."""
    hidden = x.clone()
    hidden[..., 0, 0] = (x[..., 0, 0] + 1) % self.head.count
    f = self.distributions(self.fold(hidden), condition=condition)
    each = self.head.log_prob(self.fold(x).permute(0, 2, 3, 1), f)
    return self.unfold(each.permute(0, 3, 1, 2))


def squared(kind):
    return lambda self, u, f: DRAWS[kind](self, u**2, f)


def unkept(self, u, condition, observed=None):
    return CELLS(self, u, condition, None)


CELLS = family.Autoregressive._cells

BROKEN = [
    (
        "sums_to_one",
        "bernoulli",
        pixel_distributions,
        "bernoulli_log_prob",
        lambda x, f: 2 * BERNOULLI(x, f),
    ),
    ("sums_to_one", "categorical", pixel_distributions.Categorical, "log_prob", flat_log_prob),
    (
        "sums_to_one",
        "mixture",
        pixel_distributions,
        "discretised_logistic_log_prob",
        lambda x, m, s, count: LOGISTIC(x, m, s, count + 1),
    ),
    ("causality", "itself or a later", pixelcnn.F, "pad", ahead),
    ("causality", "all earlier", laws, "_model", shallow),
    ("cache", "cached samples", pixelcnn._SamplingState, "begin", forgetful),
    ("cache", "whole pass = h of the steps", pixelcnn._SamplingState, "begin", forgetful),
    ("stepwise", "one by one", family.Autoregressive, "conditionals", crossed),
    (
        "draws",
        "bernoulli",
        pixel_distributions.Bernoulli,
        "draw",
        squared(pixel_distributions.Bernoulli),
    ),
    (
        "draws",
        "categorical",
        pixel_distributions.Categorical,
        "draw",
        squared(pixel_distributions.Categorical),
    ),
    (
        "draws",
        "mixture",
        pixel_distributions.LogisticMixture,
        "draw",
        squared(pixel_distributions.LogisticMixture),
    ),
    ("completion", "keeps", family.Autoregressive, "_cells", unkept),
    (
        "completion",
        "p(rest",
        pixel_distributions.Categorical,
        "draw",
        squared(pixel_distributions.Categorical),
    ),
]


@pytest.mark.parametrize(
    ("check", "law", "where", "name", "broken"),
    BROKEN,
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_each_law_can_fail(breaks, check, law, where, name, broken):
    breaks(laws, check, law, where, name, broken)


@pytest.mark.parametrize(("law", "broken"), [("itself or", looser), ("all earlier", tighter)])
def test_masks_inside_a_cell_can_be_wrong(monkeypatch, law, broken):
    monkeypatch.setattr(pixelcnn.MaskedConvolution, "__init__", broken)
    matching = [f for f in laws.causality() if law in f.name and "patch 2" in f.name]
    assert matching
    assert not any(law.holds for law in matching), matching


def test_every_law_is_broken_once(unbroken):
    assert not unbroken(laws, BROKEN)
