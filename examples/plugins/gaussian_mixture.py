"""A recipe: equally likely Gaussians with diagonal covariances, fitted by ln p."""

from dataclasses import dataclass

import torch

import trilemma as tl


class Mixture(tl.Model):
    def __init__(self, domain, components):
        super().__init__()
        self.domain, shape = domain, (components, domain.scaled_dimensions)
        self.means, self.log_spreads = (torch.nn.Parameter(torch.randn(shape)) for _ in "ms")

    def objectives(self):
        return [tl.Objective("likelihood", self.loss, list(self.parameters()))]

    def loss(self, batch):
        y = self.domain.values.dequantise(batch.x, batch.noise).flatten(1)
        z = (y[:, None] - self.means) / self.log_spreads.exp()
        return tl.Loss(-(-(z**2) / 2 - self.log_spreads).sum(2).logsumexp(1).mean())

    def sample(self, n, *, condition=None, noise=None):
        noise = noise or tl.Noise.fresh(n, self.means.device)
        k = noise.integers(len(self.means))
        y = self.means[k] + self.log_spreads[k].exp() * noise.normal(self.means.shape[1])
        return self.domain.values.quantise(y.view(n, *self.domain.scaled_shape))


@dataclass(frozen=True, kw_only=True)
class GaussianMixture(tl.Recipe):
    """Fits a mixture of Gaussians by gradients."""

    name, family = "gaussian-mixture", "mixture"
    reference = "Pattern Recognition and Machine Learning, Bishop, 2006, chapter 9"
    components: int = 20
    """How many Gaussians."""

    def model(self, domain):
        return Mixture(domain, self.components)


tl.RECIPES["gaussian-mixture"] = GaussianMixture
