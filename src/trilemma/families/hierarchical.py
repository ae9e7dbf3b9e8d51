r"""The hierarchical variational autoencoder: codes of several levels, found from the top down.

    p(z) = prod_l p(z_l | z_<l)            p(z_l | z_<l) = N(m_l, diag s_l^2)
    q(z|x) = prod_l q(z_l | z_<l, x)       m_l, s_l from what the levels above have made of h

    ELBO = E_q[ln p(x|z)] - sum_l E_q[KL(q(z_l | z_<l, x) || p(z_l | z_<l))]  <=  ln p(x)

q shares the way down with p, as in ladder networks: at each level the state h of the decoder meets
what the encoder has found at that size. It is written relative to the prior,

    q(z_l | z_<l, x) = N(m_l + s_l d_l, diag s_l^2 e^r_l),

so that in the level's own unit u_l = (z_l - m_l) / s_l the prior is N(0, I), q is
N(d_l, diag e^r_l), and neither KL nor any ratio p / q sees m_l and s_l, for a change of variables
leaves them alone. The code of an example is all u_l one after another, [B, J]: its prior is the
standard normal, as with one level, and samples, walks and bounds are those of `Variational`.
d_l = r_l = 0 is where training starts: q is the prior, and every KL is 0.

References:
    Ladder Variational Autoencoders (Sønderby, Raiko, Maaløe, Sønderby & Winther, 2016),
        https://arxiv.org/abs/1602.02282
    NVAE: A Deep Hierarchical Variational Autoencoder (Vahdat & Kautz, 2020), section 3.2 for q
        relative to the prior, https://arxiv.org/abs/2007.03898
    Very Deep VAEs Generalize Autoregressive Models (Child, 2021),
        https://arxiv.org/abs/2011.10650
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trilemma.core.domain import Domain
from trilemma.families.likelihood import Likelihood
from trilemma.families.vae import Inferred, LatentPosterior, Variational

__all__ = ["HierarchicalVae", "WayDown"]


class WayDown(Protocol):
    """What a decoder of several levels can do."""

    sizes: tuple[int, ...]
    """Numbers of each level's code, from the top down."""

    def __call__(self, u: Tensor, cond: Tensor | None = None) -> Tensor:
        """Return what the code u, [B, J], decodes to."""
        ...

    def infer(
        self, eps: Tensor, features: Sequence[Tensor], cond: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what u = d + e^(r / 2) eps decodes to, and u, d and r, [B, J] each."""
        ...


class HierarchicalVae(Variational):
    """Several levels, each found given those above.

    Arguments:
        encoder: [B, *shape] scaled to what it finds for each level, batch-first tensors.
        decoder: The way down, a `WayDown` that is also a module.
        domain: Where the data lie.
        likelihood: What the decoder's numbers mean.
        kwargs: Further arguments of `Variational`; free bits are each level's.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        domain: Domain,
        *,
        likelihood: Likelihood,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        sizes: tuple[int, ...] = decoder.sizes  # type: ignore[assignment]
        super().__init__(domain, sum(sizes), likelihood=likelihood, **kwargs)
        self.encoder, self.decoder, self.sizes = encoder, decoder, sizes

    def features(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, ...]:
        """Return what the encoder finds for each level."""
        y = self.domain.values.scale(x)
        return tuple(self.encoder(y) if cond is None else self.encoder(y, cond))

    def inferred(self, features: Sequence[Tensor], eps: Tensor, cond: Tensor | None) -> Inferred:
        """Go down once with the encoder's findings."""
        f, u, shift, log_var = self.decoder.infer(eps, features, cond)  # type: ignore[operator]
        return Inferred(f, u, LatentPosterior(shift, log_var))

    def generated(self, z: Tensor, cond: Tensor | None) -> Tensor:
        """Go down once without them."""
        return self.decoder(z, cond)

    def grouped(self, kl: Tensor) -> Tensor:
        """Return the KL of each level: its units share its free bits."""
        return torch.stack([level.sum(1) for level in kl.split(self.sizes, 1)], 1)

    def levels(self, kl: Tensor) -> list[float]:
        """Return the nats of each level, from those of each unit, [J]."""
        return self.grouped(kl[None])[0].tolist()
