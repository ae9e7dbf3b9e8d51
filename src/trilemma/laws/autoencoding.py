r"""Laws of the autoencoder and the variational autoencoder.

The exact ground is the linear-Gaussian model, z ~ N(0, I_J), x|z ~ N(W z + b, c I_D), whose
marginal is x ~ N(b, W W^T + c I) and whose posterior is N(c^-1 S W^T (x - b), S) with
S^-1 = I + W^T W / c. Where W has orthogonal columns S is diagonal, so that q(z|x) can be the
posterior itself.

Expectations over z of quadratic functions are taken exactly, by the 2 J points ±sqrt(J) e_j, which
have the moments of the standard normal up to the third. They are fed to the model as its noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from trilemma.core.batch import Examples
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.noise import Noise
from trilemma.families import likelihood as likelihoods
from trilemma.families.autoencoder import Autoencoder
from trilemma.families.mixture import Mixture
from trilemma.families.vae import Vae
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.laws.oracles import Cubature, linear_log_prob
from trilemma.maths import distributions, mixtures

__all__ = ["CHECKS"]

D, J = 5, 2
POINTS = Domain("points", (D,), Real())


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _linear(c: float = 0.5) -> tuple[Vae, Tensor, Tensor]:
    """Return a linear-Gaussian VAE with the posterior as its encoder, W and b."""
    draw = _generator()
    w = torch.linalg.qr(torch.randn(D, J, generator=draw))[0] * torch.tensor([1.5, 0.7])
    b = torch.randn(D, generator=draw)
    encoder, decoder = nn.Linear(D, 2 * J), nn.Linear(J, D)
    variance = 1 / (1 + (w**2).sum(0) / c)
    with torch.no_grad():
        decoder.weight.copy_(w)
        decoder.bias.copy_(b)
        gain = variance[:, None] * w.T / c
        encoder.weight.copy_(torch.cat([gain, torch.zeros(J, D)]))
        encoder.bias.copy_(torch.cat([-gain @ b, variance.log()]))
    model = Vae(encoder, decoder, POINTS, J, likelihood=likelihoods.GaussianLikelihood(POINTS, c))
    return model, w, b


def _points(n: int = 8) -> Tensor:
    return torch.randn(n, D, generator=_generator(1)) * 1.5


def _disturb(model: Vae) -> None:
    """Make q(z|x) something else than the posterior."""
    draw = _generator(2)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw))


def _elbo(model: Vae, x: Tensor) -> Tensor:
    """Return E_q of `bound`, exactly, [B]."""
    rows = x.repeat_interleave(2 * J, 0)
    estimates = model.bound(rows, noise=Cubature.of(0, len(rows)))
    return estimates.view(len(x), 2 * J).mean(1)


@states("lecture §3; Kingma & Welling 2014, appendix B")
@torch.no_grad()
def kl_closed_form() -> list[Law]:
    """The closed form of KL against numerical integration."""
    mu = torch.tensor([0.7, -1.2, 0.0], dtype=torch.float64)
    log_var = torch.tensor([-1.0, 0.5, 0.0], dtype=torch.float64)
    other_mu = torch.tensor([-0.5, 0.3, 0.0], dtype=torch.float64)
    other_log_var = torch.tensor([0.4, -0.3, 0.0], dtype=torch.float64)
    z = torch.linspace(-15, 15, 20001, dtype=torch.float64)[:, None]
    log_q = distributions.log_normal(z, mu, log_var)

    def integral(log_p: Tensor) -> float:
        return float(torch.trapezoid(log_q.exp() * (log_q - log_p), z, dim=0).sum())

    standard = integral(distributions.log_normal(z, 0 * mu, 0 * mu))
    general = integral(distributions.log_normal(z, other_mu, other_log_var))
    closed = distributions.kl_normals(mu, log_var, other_mu, other_log_var).sum()
    source = "lecture §3; Kingma & Welling 2014, appendix B"
    return [
        equal(
            "KL(N(mu, sigma^2) || N(0, 1)) = 1/2 (mu^2 + sigma^2 - ln sigma^2 - 1)",
            source,
            float(distributions.kl_normal(mu, log_var).sum()),
            standard,
            1e-9,
        ),
        equal("KL of two normals: closed form = integral", source, float(closed), general, 1e-9),
    ]


@states("lecture §3; Kingma & Welling 2014, section 2.4")
def reparameterisation() -> list[Law]:
    """The slope of E[z^2] by (mu, ln sigma^2), through z = mu + sigma eps: (2 mu, sigma^2)."""
    mu = torch.tensor([[0.3, -0.8]], dtype=torch.float64, requires_grad=True)
    log_var = torch.tensor([[-0.6, 0.9]], dtype=torch.float64, requires_grad=True)
    eps = Cubature.of(0, 2 * J).normal(J).double()
    value = (distributions.reparameterise(mu, log_var, eps) ** 2).sum(1).mean()
    by_mu, by_log_var = torch.autograd.grad(value, [mu, log_var])
    gap = (by_mu - 2 * mu).abs().max() + (by_log_var - log_var.exp()).abs().max()
    return [
        equal(
            "gradient of E[z^2] through z = mu + sigma eps is (2 mu, sigma^2)",
            "lecture §3; Kingma & Welling 2014, section 2.4",
            float(gap.detach()),
            0,
            1e-6,
        )
    ]


@states("lecture §3; Kingma & Welling 2014, eq. 1")
@torch.no_grad()
def bound_gap() -> list[Law]:
    """On the linear-Gaussian model: ln p(x) = ELBO + KL(q || posterior), and equality at q*."""
    c, x = 0.5, _points()
    model, w, b = _linear(c)
    exact = linear_log_prob(x, w, b, c)
    best = model.posterior(x)
    tight = _elbo(model, x)
    _disturb(model)
    q = model.posterior(x)
    gap = distributions.kl_normals(q.mu, q.log_var, best.mu, best.log_var).sum(1)
    loose = _elbo(model, x)
    source = "lecture §3; Kingma & Welling 2014, eq. 1"
    return [
        equal(
            "ln p(x) = ELBO + KL(q(z|x) || p(z|x))",
            source,
            float((loose + gap - exact).abs().max()),
            0,
            1e-4,
        ),
        equal(
            "ELBO = ln p(x) where q is the posterior",
            source,
            float((tight - exact).abs().max()),
            0,
            1e-4,
        ),
    ]


@states("lecture §3; Burda, Grosse & Salakhutdinov 2016, theorem 1")
@torch.no_grad()
def importance_order() -> list[Law]:
    """ELBO <= importance bound of 8 <= of 64 <= ln p(x), each a mean over examples and draws."""
    c = 0.5
    model, w, b = _linear(c)
    x = _points(4)
    exact_draws = model.importance_bound(x, 3, noise=Noise.of(0, 4))
    constant = float((exact_draws - linear_log_prob(x, w, b, c)).abs().max())
    _disturb(model)
    repeated = x.repeat(400, 1)

    def mean(k: int) -> float:
        return float(model.importance_bound(repeated, k, noise=Noise.of(3, len(repeated))).mean())

    elbo, bound_8, bound_64 = float(_elbo(model, x).mean()), mean(8), mean(64)
    exact = float(linear_log_prob(x, w, b, c).mean())
    source = "lecture §3; Burda, Grosse & Salakhutdinov 2016, theorem 1"
    return [
        at_most("ELBO <= importance bound, k = 8", source, elbo, bound_8),
        at_most("importance bound rises from k = 8 to k = 64", source, bound_8, bound_64),
        at_most("importance bound, k = 64 <= ln p(x)", source, bound_64, exact, 0.01),
        equal("every weight is p(x) where q is the posterior", source, constant, 0, 1e-4),
    ]


@states("lecture §3")
def loss_as_squares() -> list[Law]:
    """The loss, by hand: C ||x - f(z)||^2 + KL and a constant; its terms; the bound."""
    c, x, noise = 0.2, _points(16), 7
    model, _, _ = _linear(c)
    _disturb(model)
    model.beta = 1.7
    parameters = list(model.parameters())
    loss = model.loss(Examples(x=x, noise=Noise.of(noise, 16)))

    mu, log_var = model.encoder(x).chunk(2, 1)
    z = mu + (log_var / 2).exp() * Noise.of(noise, 16).normal(J)
    squares = ((x - model.decoder(z)) ** 2).sum(1).mean() / (2 * c)
    kl = 0.5 * (mu**2 + log_var.exp() - log_var - 1).sum(1).mean()
    by_hand = squares + 1.7 * kl
    gap = sum(
        float((a - g).abs().max())
        for a, g in zip(
            torch.autograd.grad(loss.value, parameters),
            torch.autograd.grad(by_hand, parameters),
            strict=True,
        )
    )
    constant = 0.5 * D * math.log(2 * math.pi * c)
    bound = model.bound(x, noise=Noise.of(noise, 16)).mean()
    source = "lecture §3"
    return [
        equal("gradient of the loss = that of C ||x - f(z)||^2 + beta KL", source, gap, 0, 1e-3),
        equal(
            "loss - (C ||x - f(z)||^2 + beta KL) = D/2 ln(2 pi c), C = 1 / (2 c)",
            source,
            float((loss.value - by_hand).detach()),
            constant,
            1e-3,
        ),
        equal(
            "loss = distortion + beta KL",
            source,
            float(loss.terms["distortion"] + 1.7 * loss.terms["kl"]),
            float(loss.value.detach()),
            1e-3,
        ),
        equal(
            "bound = -(distortion + KL), whatever beta",
            source,
            float(-loss.terms["distortion"] - loss.terms["kl"]),
            float(bound.detach()),
            1e-3,
        ),
    ]


@states("lecture §3; Salimans et al. 2017, eq. 2")
@torch.no_grad()
def levels_sum_to_one() -> list[Law]:
    """Each likelihood, summed over all levels, at odd places and widths."""
    laws = []
    for name, count in (("bernoulli", 2), ("gaussian", 17), ("discretised-logistic", 256)):
        domain = Domain("points", (1,), Levels(count))
        likelihood = likelihoods.likelihood(name, domain, c=0.003)
        x = torch.arange(count, dtype=torch.uint8)[:, None]
        sums = []
        for location in (-1.7, -0.4, 0.013, 0.99):
            for scale in (-6.0, 0.0, 4.0):
                f = torch.tensor([[location, scale][: likelihood.outputs]]).expand(count, -1)
                sums.append(likelihood.log_prob(x, f).exp().sum())
        worst = max(sums, key=lambda s: abs(float(s) - 1))
        laws.append(
            equal(
                f"{name} likelihood sums to one over {count} levels",
                "lecture §3; Salimans et al. 2017, eq. 2",
                float(worst),
                1,
                1e-4,
            )
        )
    return laws


@states("Salimans et al. 2017, section 2.1")
def tails() -> list[Law]:
    """Far from the mean, float32 log-probabilities against float64, and finite gradients."""
    levels = torch.arange(256)
    laws = []
    functions: dict[str, Callable[..., Tensor]] = {
        "discretised logistic": distributions.discretised_logistic_log_prob,
        "discretised normal": distributions.discretised_normal_log_prob,
    }
    for name, function in functions.items():
        worst = 0.0
        for log_scale in (-7.0, -4.0, -1.0, 2.0):
            for location in (-3.0, 0.2, 1.0):
                m = torch.full((256,), location, requires_grad=True)
                s = torch.full((256,), log_scale, requires_grad=True)
                value = function(levels, m, s, 256)
                gradients = torch.autograd.grad(value.sum(), [m, s])
                exact = function(levels, m.double(), s.double(), 256)
                error = ((value - exact).abs() / (1 + exact.abs())).max()
                finite = all(bool(gradient.isfinite().all()) for gradient in gradients)
                worst = max(worst, float(error.detach())) if finite else math.nan
        laws.append(
            equal(
                f"{name} is exact in the tails, and so is its slope",
                "Salimans et al. 2017, section 2.1",
                worst,
                0,
                1e-3,
            )
        )
    return laws


def _autoencoder() -> Autoencoder:
    """Return a linear autoencoder."""
    model = Autoencoder(nn.Linear(D, J), nn.Linear(J, D), POINTS, J, prior=Mixture(J))
    draw = _generator(6)
    with torch.no_grad():
        for parameter in (*model.encoder.parameters(), *model.decoder.parameters()):
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
    return model


@states("lecture §2; Baldi & Hornik 1989")
def principal_components() -> list[Law]:
    """A linear autoencoder, trained to the end, against the sum of the discarded variances."""
    draw = _generator(4)
    spreads = torch.tensor([2.0, 1.6, 0.9, 0.6, 0.4])
    rotation = torch.linalg.qr(torch.randn(D, D, generator=draw))[0]
    x = torch.randn(200, D, generator=draw) * spreads @ rotation
    x = x - x.mean(0)
    (objective,) = _autoencoder().objectives()
    batch, velocities = Examples(x=x), [torch.zeros_like(p) for p in objective.parameters]
    for _ in range(300):  # gradient descent with momentum
        gradients = torch.autograd.grad(objective.loss(batch).value, objective.parameters)
        with torch.no_grad():
            for parameter, velocity, gradient in zip(
                objective.parameters, velocities, gradients, strict=True
            ):
                parameter.add_(velocity.mul_(0.9).sub_(0.02 * gradient))
    discarded = torch.linalg.eigvalsh(x.double().T @ x.double() / len(x))[: D - J].sum()
    return [
        equal(
            "a linear autoencoder comes to the principal components' error",
            "lecture §2; Baldi & Hornik 1989",
            float(objective.loss(batch).value.detach()),
            float(discarded),
            1e-3 * float(discarded),
        )
    ]


@states("lecture §2")
@torch.no_grad()
def squared_error() -> list[Law]:
    """The autoencoder's loss against the lecture's sum."""
    model, x = _autoencoder(), _points(6)
    by_hand = sum(
        float(((a - b) ** 2).sum()) for a, b in zip(x, model.decode(model.encode(x)), strict=True)
    )
    value = float(model.loss(Examples(x=x)).value)
    return [
        equal("autoencoder loss = 1/N sum ||x - xhat||^2", "lecture §2", value, by_hand / 6, 1e-4)
    ]


def _three() -> Tensor:
    """Return points of three crossing clouds, [300, 2], in float64."""
    draw = _generator(5)
    centres = torch.tensor([[-2.0, 0.0], [1.5, 1.0], [0.5, -1.5]], dtype=torch.float64)
    shapes = torch.randn(3, 2, 2, generator=draw, dtype=torch.float64) * 0.7
    eps = torch.randn(3, 100, 2, generator=draw, dtype=torch.float64)
    return (centres[:, None] + eps @ shapes).flatten(0, 1)


@states("lecture §2")
@torch.no_grad()
def mixture_density() -> list[Law]:
    """The density of a fitted mixture, integrated over a grid; a Gaussian's moments."""
    x = _three().float()
    model = Mixture(2, 3)
    model.fit(x, Noise.of(0, 1))
    axis = torch.linspace(-9, 9, 200)
    grid = torch.cartesian_prod(axis, axis)
    mass = float(model.log_prob(grid).double().exp().sum() * (axis[1] - axis[0]) ** 2)

    gaussian = Mixture(2, 1)
    gaussian.fit(x, Noise.of(0, 1))
    factor = gaussian.gaussians().factors[0] * gaussian.scale[:, None]
    mean = gaussian.gaussians().means[0] * gaussian.scale + gaussian.location
    gap = (mean - x.mean(0)).abs().max()
    gap = gap + (factor @ factor.T - torch.cov(x.T, correction=0)).abs().max()
    return [
        equal("a mixture's density integrates to one", "lecture §2", mass, 1, 1e-3),
        equal("a fitted Gaussian has the sample's moments", "lecture §2", float(gap), 0, 1e-4),
    ]


@states("lecture §2; Dempster, Laird & Rubin 1977, theorem 1")
@torch.no_grad()
def mixture_climbs() -> list[Law]:
    """Expectation-maximisation: the largest fall of the likelihood over its steps is none."""
    x = _three()
    uniform = Noise.of(3, 1).uniform(4)[0]
    log_likelihoods = mixtures.fit_gaussians(x, uniform, strength=0.0, steps=25).log_likelihood
    fall = max(a - b for a, b in pairwise(log_likelihoods))
    return [
        at_most(
            "expectation-maximisation never lowers the likelihood",
            "lecture §2; Dempster, Laird & Rubin 1977, theorem 1",
            fall,
            0,
            1e-9,
        ),
        at_most(
            "and gains from its start",
            "lecture §2; Dempster, Laird & Rubin 1977, theorem 1",
            log_likelihoods[0],
            log_likelihoods[-1],
            -1e-3,
        ),
    ]


CHECKS: Sequence[Check] = (
    kl_closed_form,
    reparameterisation,
    bound_gap,
    importance_order,
    loss_as_squares,
    levels_sum_to_one,
    tails,
    principal_components,
    squared_error,
    mixture_density,
    mixture_climbs,
)
