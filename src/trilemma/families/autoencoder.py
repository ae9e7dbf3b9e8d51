r"""The autoencoder, and how far a density fitted to its codes gets.

    z = e(x)      xhat = d(z)      L = 1/N sum_i ||x_i - xhat_i||^2

It is trained to reproduce, not to generate: nothing says what z a decoder will be asked for. To
draw from it nevertheless, a density p(z) is fitted to the codes of the training data once encoder
and decoder are done; that is the baseline which a variational autoencoder has to beat.

References:
    Reducing the Dimensionality of Data with Neural Networks (Hinton & Salakhutdinov, 2006)
    From Variational to Deterministic Autoencoders (Ghosh, Sajjadi, Vergari, Black & Schölkopf,
        2020), https://arxiv.org/abs/1903.12436: a density fitted after training
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain
from trilemma.core.model import Loss, Model, Objective
from trilemma.core.noise import Noise
from trilemma.families.mixture import Mixture
from trilemma.maths.distributions import per_example

__all__ = ["Autoencoder"]


class Autoencoder(Model[Examples, Tensor]):
    """An encoder and a decoder, trained by the squared error, and a density of the codes.

    Its own objective trains encoder and decoder; `prior` is a model with an objective of its own,
    trained in a later stage on codes. Until then `sample` draws z from a standard normal.

    Arguments:
        encoder: [B, *shape] scaled to [B, J].
        decoder: [B, J] to [B, *shape] scaled.
        domain: Where the data lie.
        latent: J, numbers of a code.
        prior: The density of codes.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        domain: Domain,
        latent: int,
        *,
        prior: Mixture,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.prior = encoder, decoder, prior
        self.domain, self.latent = domain, latent

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the one player of the first stage."""
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        return [Objective("autoencoder", self.loss, parameters)]

    def loss(self, batch: Examples) -> Loss:
        """Return the mean over examples of ||x - xhat||^2, in scaled units."""
        y = self.domain.values.scale(batch.x)
        error = per_example((y - self.decoder(self.encoder(y)).float()) ** 2).mean()
        return Loss(error, {"squared_error": error.detach() / self.domain.scaled_dimensions})

    def encode(
        self, x: Float[Tensor, "B ..."], *, noise: Noise | None = None
    ) -> Float[Tensor, "B J"]:
        """Return the codes; they carry no noise."""
        return self.encoder(self.domain.values.scale(x)).float()

    def decode(self, z: Float[Tensor, "B J"]) -> Tensor:
        """Return examples in data units."""
        return self.domain.values.unscale(self.decoder(z))

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Draw codes from the density fitted to them, and decode."""
        noise = noise or Noise.fresh(n, next(self.parameters()).device)
        return self.decode(self.prior.sample(n, noise=noise))
