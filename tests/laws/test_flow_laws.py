"""The laws of the flow hold, and each fails when the code is broken."""

from __future__ import annotations

import pytest
import torch

from trilemma.families import flow
from trilemma.laws import flow as laws
from trilemma.maths import transforms
from trilemma.networks import bijections, coupling

AFFINE = transforms.affine
AFFINE_INVERSE = transforms.affine_inverse
LOG_DET = transforms.lu_log_det
MATRIX = transforms.lu_matrix
INVERSE = transforms.lu_inverse
PIECEWISE = transforms.piecewise
PIECEWISE_INVERSE = transforms.piecewise_inverse
LOGIT = transforms.logit
LOGIT_INVERSE = transforms.logit_inverse
STANDARD = flow._standard
DEQUANTISE = flow.VariationalDequantiser.forward
ACTNORM = bijections.ActNorm.forward


def half_volume(y, shift, log_scale):
    z, log_det = AFFINE(y, shift, log_scale)
    return z, 0.5 * log_det


def logit_without_slope(y, alpha):
    z, log_det = LOGIT(y, alpha)
    return z, torch.zeros_like(log_det)


def flat_pieces(y, weights):
    f, log_derivative = PIECEWISE(y, weights)
    return f, torch.zeros_like(log_derivative)


def actnorm_of_one_place(self, y, cond=None):
    return ACTNORM(self, y)[0], self.log_scale.sum().expand(len(y))


def stretched(self, y, cond=None):
    return 2 * y[:, self.order], y.new_zeros(len(y))


def squeezed_and_halved(self, y, cond=None):
    return transforms.squeeze(y) / 2, y.new_zeros(len(y))


def unsqueezed_and_halved(self, y, cond=None):
    return transforms.unsqueeze(y) / 2, y.new_zeros(len(y))


def boastful(self, x, noise):
    u, log_q = DEQUANTISE(self, x, noise)
    return u, log_q - 2.0


def narrow(self, x, noise):
    return 0.3 * noise.uniform(*x.shape[1:]), torch.zeros(len(x))


def beyond(self, x, noise):
    return 2 * noise.uniform(*x.shape[1:]), torch.zeros(len(x))


def half_of_each_bin(self, x, noise):
    return self.in_bin(x, noise.uniform(*x.shape[1:]) / 2)


def over_two_bins(self, x, noise):
    return self.in_bin(x, 2 * noise.uniform(*x.shape[1:]))


def unsqueezed_too_small(self, z, cond=None):
    return transforms.unsqueeze(z) / 2


def squeezed_too_small(self, z, cond=None):
    return transforms.squeeze(z) / 2


def overstated(self, x, noise):
    return noise.uniform(*x.shape[1:]), torch.full((len(x),), -1.0)


def denser(z):
    return STANDARD(z) + 0.2


def thinner(z):
    return STANDARD(z) - 0.2


def transposed(p, lower, upper, s):
    return MATRIX(p.T, lower, upper, s)


def transposed_inverse(p, lower, upper, s):
    return INVERSE(p.T, lower, upper, s)


def unconditional(self, z, cond=None):
    return z


def same(z, *rest):
    return z


BREAKS = [
    # determinants
    ("ln|det| of ActNorm", bijections.ActNorm, "forward", actnorm_of_one_place),
    ("ln|det| of 1x1", bijections, "lu_log_det", lambda log_s, position_count=1: log_s.sum()),
    ("ln|det| of LU mixing", bijections, "lu_log_det", lambda *a: 2 * LOG_DET(*a)),
    ("ln|det| of permutation", bijections.Permutation, "forward", stretched),
    ("ln|det| of squeeze", bijections.Squeeze, "forward", squeezed_and_halved),
    ("ln|det| of unsqueeze", bijections.Unsqueeze, "forward", unsqueezed_and_halved),
    ("ln|det| of logit", bijections, "logit", logit_without_slope),
    ("ln|det| of marginals", bijections, "piecewise", flat_pieces),
    ("ln|det| of coupling of channels", coupling, "affine", half_volume),
    ("ln|det| of coupling of squares", coupling, "affine", half_volume),
    ("ln|det| of coupling of a vector", coupling, "affine", half_volume),
    ("ln|det| of a flow of two levels", coupling, "affine", half_volume),
    # inverses
    ("inverse of ActNorm", bijections.ActNorm, "inverse", unconditional),
    ("inverse of 1x1", bijections, "lu_inverse", MATRIX),
    ("inverse of LU mixing", bijections, "lu_inverse", MATRIX),
    ("inverse of permutation", bijections.Permutation, "inverse", unconditional),
    ("inverse of squeeze", bijections.Squeeze, "inverse", unsqueezed_too_small),
    ("inverse of unsqueeze", bijections.Unsqueeze, "inverse", squeezed_too_small),
    ("inverse of logit", bijections, "logit_inverse", lambda z, a: LOGIT_INVERSE(z, a / 2)),
    ("inverse of marginals", bijections, "piecewise_inverse", lambda p, w: 2 * p - 1),
    ("inverse of coupling of channels", coupling, "affine_inverse", lambda z, t, s: z - t),
    ("inverse of coupling of squares", coupling, "affine_inverse", lambda z, t, s: z - t),
    ("inverse of coupling of a vector", coupling, "affine_inverse", lambda z, t, s: z - t),
    ("inverse of a flow of two levels", coupling, "affine_inverse", lambda z, t, s: z - t),
    # the LU form
    ("P L (U", transforms, "lu_matrix", transposed),
    ("H W sum", transforms, "lu_log_det", lambda log_s, position_count=1: log_s.sum()),
    ("two triangular solves", transforms, "lu_inverse", transposed_inverse),
    # the whole
    ("the density of a flow integrates", flow, "_standard", denser),
    ("P(x), integrated over bins", flow, "_standard", denser),
    ("bound by even", laws.UniformDequantiser, "forward", overstated),
    ("mean of p(y) / q(u|x) by even", laws.UniformDequantiser, "forward", narrow),
    ("bound by learned", flow.VariationalDequantiser, "forward", boastful),
    ("mean of p(y) / q(u|x) by learned", flow.VariationalDequantiser, "forward", boastful),
    ("dequantisation of a domain: levels alike", laws.Levels, "dequantise", half_of_each_bin),
    ("dequantisation of a domain: share", laws.Levels, "dequantise", over_two_bins),
    ("dequantisation of columns: levels alike", laws.Columns, "dequantise", half_of_each_bin),
    ("dequantisation of columns: share", laws.Columns, "dequantise", over_two_bins),
    ("dequantisation even: levels alike", laws.UniformDequantiser, "forward", narrow),
    ("dequantisation even: share", laws.UniformDequantiser, "forward", beyond),
    ("dequantisation learned: levels alike", flow.VariationalDequantiser, "forward", boastful),
    ("dequantisation learned: share", flow.VariationalDequantiser, "forward", beyond),
    ("P of the 16 images of 2 x 2 bits adds up to at most", flow, "_standard", denser),
    ("P of the 16 images of 2 x 2 bits adds up to one", flow, "_standard", thinner),
]  # fmt: skip


@pytest.mark.parametrize(("law", "where", "name", "broken"), BREAKS, ids=[b[0] for b in BREAKS])
def test_a_law_fails_when_its_code_is_broken(law, where, name, broken, monkeypatch):
    checks = {
        "ln|det|": laws.determinants,
        "inverse": laws.inverses,
        "P L": laws.factors,
        "H W": laws.factors,
        "two": laws.factors,
        "the density": laws.one,
        "P of": laws.images,
        "dequantisation": laws.spreading,
    }
    check = next((c for start, c in checks.items() if law.startswith(start)), laws.levels)
    monkeypatch.setattr(where, name, broken)
    matching = [each for each in check() if each.name.startswith(law)]
    assert matching
    assert not any(each.holds for each in matching)


def test_every_law_has_a_break():
    names = [law.name for check in laws.CHECKS for law in check()]
    assert all(any(name.startswith(b[0]) for b in BREAKS) for name in names)
