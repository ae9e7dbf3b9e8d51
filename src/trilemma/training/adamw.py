r"""AdamW over one objective's parameters, as one call of torch's fused kernel.

    m <- b1 m + (1 - b1) g              v <- b2 v + (1 - b2) g²
    w <- w - lr · λ w - lr · m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + ε)

`torch.optim.AdamW(fused=True)` calls the same kernel and gives the same bits. It is not used
since it loads torch's compiler first, which takes longer than many a first training step, and
walks through the parameters in Python at every step.

References:
    Decoupled weight decay regularization, Loshchilov & Hutter, 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["AdamW"]


class AdamW:
    """First and second moments of the gradients, and the step they make.

    Arguments:
        parameters: w, all on one device and in float32.
        betas: (b1, b2).
        decay: λ, weight decay, not scaled by the gradient; only of matrices and kernels: a bias or
            a scale that is drawn to zero is another model, not a simpler one.
        epsilon: ε.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        decay: float = 0.0,
        epsilon: float = 1e-8,
    ) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self.betas, self.decay, self.epsilon = betas, decay, epsilon
        with torch.no_grad():
            self.first = [torch.zeros_like(p) for p in self.parameters]
            self.second = [torch.zeros_like(p) for p in self.parameters]
        self.count = torch.zeros((), device=self.parameters[0].device)
        indices = range(len(self.parameters))
        decayed = [i for i in indices if decay and self.parameters[i].dim() > 1]
        undecayed = sorted({*indices} - {*decayed})
        self._groups = [
            (group, _select(self.parameters, group), weight)
            for group, weight in ((decayed, decay), (undecayed, 0.0))
            if group
        ]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], lr: float) -> None:
        """Move the parameters against their gradients.

        Arguments:
            gradients: g, one for each parameter.
            lr: Learning rate of this step.
        """
        self.count += 1
        for indices, parameters, decay in self._groups:
            torch._fused_adamw_(  # pyright: ignore[reportPrivateImportUsage, reportCallIssue]
                parameters,
                _select(gradients, indices),
                _select(self.first, indices),
                _select(self.second, indices),
                [],
                [self.count] * len(indices),
                lr=lr,
                beta1=self.betas[0],
                beta2=self.betas[1],
                weight_decay=decay,
                eps=self.epsilon,
                amsgrad=False,
                maximize=False,
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the moments and the number of steps, not copied."""
        return {"first": self.first, "second": self.second, "count": self.count}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave."""
        for moments, saved_moments in (
            (self.first, state["first"]),
            (self.second, state["second"]),
        ):
            for moment, saved_moment in zip(moments, saved_moments, strict=True):
                moment.copy_(saved_moment)
        self.count.copy_(state["count"])


def _select(tensors: Sequence[Tensor], indices: Sequence[int]) -> list[Tensor]:
    return [tensors[i] for i in indices]
