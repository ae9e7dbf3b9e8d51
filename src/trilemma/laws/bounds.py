r"""Laws of the bounds: importance weights, free bits, warm-up, levels and what a unit says.

The ground is linear and Gaussian, x = G u + b + sqrt(c) eps, u ~ N(0, I), where everything is
known: x ~ N(b, G G^T + c I), and u|x ~ N(S G^T (x - b) / c, S), S^-1 = I + G^T G / c.

The hierarchical model has two levels of one number each,

    z_1 = u_1,   z_2 | z_1 ~ N(a z_1, s^2),   x | z ~ N(w_1 z_1 + w_2 z_2 + b, c I),

so that G = (w_1 + a w_2, s w_2), and u_2 given u_1 and x is normal with mean linear in both: its q
can be the posterior itself, though u_1 and u_2 depend on each other. It is made of the layers of
`networks.hierarchical`, and E_q is taken exactly, by cubature.

Over examples that have the model's own mean and covariance, Var_x(E[u_j|x]) = 1 - S_jj, and with
independent units E_x KL_j = -1/2 ln S_jj, the information between u_j and x.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trilemma.core.batch import Examples
from trilemma.core.domain import Domain, Real
from trilemma.core.noise import Noise
from trilemma.families.hierarchical import HierarchicalVae
from trilemma.families.likelihood import GaussianLikelihood
from trilemma.families.vae import Vae, Variational
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.laws.oracles import Cubature, linear_log_prob
from trilemma.networks.hierarchical import Down, Level

__all__ = ["CHECKS"]

D, C = 5, 0.5
A, SPREAD = 0.8, 0.6
"""Slope and standard deviation of the lower level given the upper."""
POINTS = Domain("points", (D,), Real())


def _normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _layer(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Return y = W x + b."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def _posterior(g: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return S, and the matrix and the offset of E[u|x]."""
    covariance = torch.linalg.inv(torch.eye(g.shape[1]) + g.T @ g / C)
    gain = covariance @ g.T / C
    return covariance, gain, -gain @ b


def _flat(scales: Sequence[float], **options: float) -> tuple[Vae, Tensor, Tensor]:
    """Return a VAE whose q is the posterior, G with orthogonal columns of these lengths, b."""
    j = len(scales)
    g = torch.linalg.qr(_normal(D, j, seed=0))[0] * torch.tensor(scales)
    b = _normal(D, seed=1)
    covariance, gain, offset = _posterior(g, b)
    log_var = covariance.diagonal().log()
    encoder = _layer(torch.cat([gain, torch.zeros(j, D)]), torch.cat([offset, log_var]))
    likelihood = GaussianLikelihood(POINTS, C)
    return Vae(encoder, _layer(g, b), POINTS, j, likelihood=likelihood, **options), g, b


class _Up(nn.Module):
    """What q needs of x: d and r of the top, and the part of the lower d that x makes."""

    def __init__(self, top: nn.Module, below: nn.Module) -> None:
        super().__init__()
        self.top, self.below = top, below

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.top(x), self.below(x)


def _two(**options: float) -> tuple[HierarchicalVae, Tensor, Tensor]:
    """Return a model of two levels whose q is the posterior, G and b.

    Its state is u_1 and the mean of x so far, [B, 1 + D].
    """
    w, b = 0.8 * _normal(D, 2, seed=2), _normal(D, seed=1)
    g = torch.stack([w[:, 0] + A * w[:, 1], SPREAD * w[:, 1]], 1)
    s, gain, offset = _posterior(g, b)
    coefficient = float(s[1, 0] / s[0, 0])
    zero_row, zero = torch.zeros(1, D), torch.zeros(1)
    top = _layer(torch.cat([gain[:1], zero_row]), torch.stack([offset[0], s[0, 0].log()]))
    below = _layer(gain[1:] - coefficient * gain[:1], offset[1:] - coefficient * offset[:1])
    first = _layer(torch.cat([torch.ones(1, 1), w[:, :1]]), torch.cat([zero, b]))
    prior_weight = torch.zeros(2, 1 + D)
    prior_weight[0, 0] = A
    posterior_weight = torch.zeros(2, 2 + D)
    posterior_weight[0, 0], posterior_weight[0, -1] = coefficient, 1.0
    residual_log_var = (s[1, 1] - s[1, 0] ** 2 / s[0, 0]).log()
    level = Level(
        _layer(prior_weight, torch.tensor([0.0, 2 * math.log(SPREAD)])),
        _layer(posterior_weight, torch.stack([torch.zeros(()), residual_log_var])),
        _layer(torch.cat([torch.zeros(1, 1), w[:, 1:]]), torch.zeros(1 + D)),
        (1,),
    )
    last = _layer(torch.cat([torch.zeros(D, 1), torch.eye(D)], 1), torch.zeros(D))
    down = Down(1, first, [level], [last], [1])
    likelihood = GaussianLikelihood(POINTS, C)
    return HierarchicalVae(_Up(top, below), down, POINTS, likelihood=likelihood, **options), g, b


def _exact(x: Tensor, g: Tensor, b: Tensor) -> Tensor:
    """Return ln p(x)."""
    return linear_log_prob(x, g, b, C)


def _typical(g: Tensor, b: Tensor) -> Tensor:
    """Return 2 D examples with exactly the model's mean and covariance."""
    spread = math.sqrt(D) * torch.linalg.cholesky(g @ g.T + C * torch.eye(D)).T
    return b + torch.cat([spread, -spread])


def _disturb(model: Variational) -> None:
    """Make q something else than the posterior, Gaussian still."""
    with torch.no_grad():
        changed = list(model.get_submodule("encoder").parameters())
        if isinstance(model, HierarchicalVae):
            posterior = model.get_submodule("decoder.levels.0.posterior")
            changed += [posterior.get_parameter("weight")[:1], posterior.get_parameter("bias")]
        for index, parameter in enumerate(changed):
            parameter.add_(0.3 * _normal(*parameter.shape, seed=10 + index))


def _elbo(model: Variational, x: Tensor) -> Tensor:
    """Return E_q of `bound`, exactly, [B]."""
    nodes = 2 * model.latent
    rows = x.repeat_interleave(nodes, 0)
    return model.bound(rows, noise=Cubature.of(0, len(rows))).view(len(x), nodes).mean(1)


def _gap(model: Variational, x: Tensor, g: Tensor, b: Tensor) -> Tensor:
    """Return KL(q(u|x) || p(u|x)) from q's moments, [B]."""
    nodes = 2 * model.latent
    rows = x.repeat_interleave(nodes, 0)
    u = model.encode(rows, noise=Cubature.of(0, len(rows))).view(len(x), nodes, -1)
    mean = u.mean(1)
    centred = u - mean[:, None]
    covariance = centred.transpose(1, 2) @ centred / nodes
    s, gain, offset = _posterior(g, b)
    difference = mean - (x @ gain.T + offset)
    inverse = torch.linalg.inv(s)
    traces = (inverse @ covariance).diagonal(dim1=1, dim2=2).sum(1)
    distances = ((difference @ inverse) * difference).sum(1)
    logs = torch.logdet(s) - torch.logdet(covariance)
    return 0.5 * (traces + distances - mean.shape[1] + logs)


@states("lecture §3; Sønderby et al. 2016, eq. 5")
@torch.no_grad()
def levels_add_up() -> list[Law]:
    """Two levels: ln p(x) = ELBO + KL(q || posterior), whether q is the posterior or not."""
    model, g, b = _two()
    x = 1.5 * _normal(8, D, seed=3)
    exact, tight = _exact(x, g, b), _elbo(model, x)
    _disturb(model)
    loose, gap = _elbo(model, x), _gap(model, x, g, b)
    source = "lecture §3; Sønderby et al. 2016, eq. 5"
    return [
        equal(
            "two levels: ELBO = ln p(x) where q is the posterior",
            source,
            float((tight - exact).abs().max()),
            0,
            1e-4,
        ),
        equal(
            "two levels: ln p(x) = ELBO + KL(q(z|x) || p(z|x))",
            source,
            float(((loose + gap - exact) / (1 + exact.abs())).abs().max()),
            0,
            1e-4,
        ),
        at_most(
            "two levels: ELBO <= ln p(x) for every x",
            source,
            float((loose - exact).max()),
            0,
        ),
    ]


@states("Sønderby et al. 2016, eq. 5; Vahdat & Kautz 2020, eq. 2")
@torch.no_grad()
def level_terms() -> list[Law]:
    """KL of the lower level, in its own unit, against that of z in the unit of the state."""
    model, _, _ = _two()
    _disturb(model)
    x, noise = _normal(16, D, seed=4), Noise.of(5, 16)
    reconstruction, kl = model.terms(x, noise[:])
    eps = noise[:].normal(2)
    top, below = model.features(x, None)
    mean, log_var = top.chunk(2, 1)
    z = mean + (0.5 * log_var).exp() * eps[:, :1]
    level = model.get_submodule("decoder.levels.0")
    h = model.get_submodule("decoder.first")(z)
    m, log_s = level.get_submodule("prior")(h).chunk(2, 1)
    d, r = level.get_submodule("posterior")(torch.cat([h, below], 1)).chunk(2, 1)
    s = (0.5 * log_s).exp()
    normal = torch.distributions.Normal
    by_hand = [
        torch.distributions.kl_divergence(normal(mean, (0.5 * log_var).exp()), normal(0.0, 1.0)),
        torch.distributions.kl_divergence(normal(m + s * d, s * (0.5 * r).exp()), normal(m, s)),
    ]
    gap = (kl - sum(by_hand).flatten()).abs().max()  # type: ignore[union-attr]
    bound = model.bound(x, noise=noise[:])
    lower = m + s * (d + (0.5 * r).exp() * eps[:, 1:])
    decoded = model.get_submodule("decoder.rests.0")(h + level.get_submodule("enter")(lower))
    log_x = normal(decoded, math.sqrt(C)).log_prob(x).sum(1)
    source = "Sønderby et al. 2016, eq. 5; Vahdat & Kautz 2020, eq. 2"
    return [
        equal("KL of a level does not depend on its unit", source, float(gap), 0, 1e-4),
        equal(
            "two levels: bound = ln p(x|z) - sum of the levels' KL",
            source,
            float((log_x - sum(by_hand).flatten() - bound).abs().max()),  # type: ignore[union-attr]
            0,
            1e-3,
        ),
        equal(
            "two levels: its first term is ln p(x|z)",
            source,
            float((log_x - reconstruction).abs().max()),
            0,
            1e-3,
        ),
    ]


@states("Burda, Grosse & Salakhutdinov 2016, theorem 1")
@torch.no_grad()
def levels_importance() -> list[Law]:
    """Two levels: ELBO <= importance bound of 4 <= of 64 <= ln p(x), in mean."""
    model, g, b = _two()
    x = 1.5 * _normal(4, D, seed=6)
    constant = model.importance_bound(x, 3, noise=Noise.of(0, 4)) - _exact(x, g, b)
    _disturb(model)
    repeated = x.repeat(300, 1)

    def mean(k: int) -> float:
        return float(model.importance_bound(repeated, k, noise=Noise.of(7, len(repeated))).mean())

    bound_4, bound_64, source = mean(4), mean(64), "Burda, Grosse & Salakhutdinov 2016, theorem 1"
    exact = float(_exact(x, g, b).mean())
    return [
        equal(
            "two levels: every weight is p(x) where q is the posterior",
            source,
            float(constant.abs().max()),
            0,
            1e-4,
        ),
        at_most("two levels: ELBO <= bound of 4", source, float(_elbo(model, x).mean()), bound_4),
        at_most("two levels: bound of 4 <= of 64", source, bound_4, bound_64),
        at_most("two levels: bound of 64 <= ln p(x)", source, bound_64, exact, 0.02),
    ]


@states("Burda, Grosse & Salakhutdinov 2016, eq. 8")
@torch.no_grad()
def cutting() -> list[Law]:
    """The same noise gives the same importance bound, however examples and draws are cut."""
    laws = []
    for name, model in (("one level", _flat((1.5, 0.7))[0]), ("two levels", _two()[0])):
        _disturb(model)
        x = _normal(5, D, seed=8)
        reference = model.importance_bound(x, 23, noise=Noise.of(9, 5))
        model.together = 3
        gap = (model.importance_bound(x, 23, noise=Noise.of(9, 5)) - reference).abs().max()
        laws.append(
            equal(
                f"{name}: cutting examples and draws changes no importance bound",
                "Burda, Grosse & Salakhutdinov 2016, eq. 8",
                float(gap),
                0,
                1e-4,
            )
        )
    return laws


@states("Kingma et al. 2016, appendix C.8, each example alone")
@torch.no_grad()
def free_bits() -> list[Law]:
    """The loss with lambda nats free: that of the bound plus what the units fall short of it."""
    laws, source = [], "Kingma et al. 2016, appendix C.8, each example alone"
    for name, model in (("each unit", _flat((1.5, 0.7, 0.1))[0]), ("each level", _two()[0])):
        _disturb(model)
        batch = Examples(_normal(16, D, seed=11), noise=Noise.of(12, 16))
        bound = float(model.bound(batch.x, noise=Noise.of(12, 16)).mean())
        posterior = model.inferred(
            model.features(batch.x, None), Noise.of(12, 16).normal(model.latent), None
        ).posterior
        smallest_kl = float(posterior.kl_of_units().min())
        shortfall = (1 - posterior.kl_of_units()).clamp_min(0).sum(1).mean()
        loss = {}
        for bits in (0.9 * smallest_kl, 1.0):
            model.free_bits = bits
            loss[bits] = float(model.loss(batch).value)
        laws += [
            equal(
                f"free bits of {name} that none falls short of change no loss",
                source,
                loss[0.9 * smallest_kl],
                -bound,
                1e-4,
            ),
            equal(
                f"one free nat of {name}: loss = -bound + what each falls short",
                source,
                loss[1.0],
                -bound + float(shortfall),
                1e-3,
            ),
            at_most(f"free bits of {name} never lower the loss", source, -bound, loss[1.0], 1e-4),
        ]
    return laws


@states("Sønderby et al. 2016, section 2.3")
def warm_up() -> list[Law]:
    """The weight of KL at the first update, after K updates, and beyond."""
    model, _, _ = _flat((1.5, 0.7), kl_warmup=4)
    _disturb(model)
    batch = Examples(_normal(16, D, seed=13), noise=Noise.of(14, 16))
    (objective,) = model.objectives()
    with torch.no_grad():
        bound = float(model.bound(batch.x, noise=Noise.of(14, 16)).mean())
        first = model.loss(batch)
        for _ in range(6):
            if objective.after is not None:
                objective.after()
        last = float(model.loss(batch).value)
    source = "Sønderby et al. 2016, section 2.3"
    by_hand = float(first.terms["distortion"] + first.terms["kl"] / 4)
    return [
        equal("warm-up over 4: KL weighs 1/4 at first", source, float(first.value), by_hand, 1e-4),
        equal("warm-up ends at the bound", source, last, -bound, 1e-4),
    ]


@states("Burda, Grosse & Salakhutdinov 2016, section 5.2")
@torch.no_grad()
def active_units() -> list[Law]:
    """Variance of the means, and mean KL, over examples as the model makes them."""
    flat, g, b = _flat((1.5, 0.7, 0.0))
    s = _posterior(g, b)[0].diagonal()
    x = _typical(g, b)
    activity = flat.latent_activity(x, Noise.of(0, len(x)))
    two, g, b = _two()
    means = two.active_units(_typical(g, b))
    source = "Burda, Grosse & Salakhutdinov 2016, section 5.2"
    return [
        equal(
            "one level: Var_x(E[z_j|x]) = 1 - Var(z_j|x)",
            source,
            float((flat.active_units(x) - (1 - s)).abs().max()),
            0,
            1e-4,
        ),
        equal(
            "two levels: Var_x(E[z_j|x]) = 1 - Var(z_j|x)",
            source,
            float((means - (1 - _posterior(g, b)[0].diagonal())).abs().max()),
            0,
            1e-4,
        ),
        equal("a unit that decodes to nothing is not active", source, activity.active, 2, 0),
        equal(
            "mean KL of a unit = -1/2 ln Var(z_j|x)",
            source,
            float((activity.kl + 0.5 * s.log()).abs().max()),
            0,
            1e-4,
        ),
    ]


CHECKS: Sequence[Check] = (
    levels_add_up,
    level_terms,
    levels_importance,
    cutting,
    free_bits,
    warm_up,
    active_units,
)
