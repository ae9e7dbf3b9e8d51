r"""A surrogate of an oracle: what molecules are likely worth before they are asked.

A Gaussian process with Tanimoto's covariance on Morgan fingerprints (`maths.gaussian_process`) is
told what the oracle answered: the best half of at most `LEARNT` molecules, and as many others by
chance. Among candidates it chooses those to be asked by Thompson sampling.

References:
    | Sample Efficiency Matters: A Benchmark for Practical Molecular Optimization (Gao, Fu, Sun &
      Coley, 2022), for such a process with a genetic algorithm beneath ('GP BO')
    | A fresh look at de novo molecular design benchmarks (Tripp, Simm & Hernández-Lobato, 2021)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.noise import mix
from trilemma.data.chemistry import fingerprints
from trilemma.maths.gaussian_process import Posterior, tanimoto, thompson

__all__ = ["Surrogate"]

LEARNT = 2_000
"""Molecules that are learnt from at most."""
NOISE = 0.01
"""Variance of what fingerprints do not tell, as a share of all."""


class Surrogate:
    """Learns what molecules are worth.

    Arguments:
        seed: Of what is left to chance.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._bits: dict[str, Tensor] = {}
        self._train_fingerprints = torch.zeros(0, 0)
        self._posterior: Posterior | None = None

    def learn(self, scores: Mapping[str, float], number: int) -> None:
        """Fit the surrogate to all scores of the oracle.

        Arguments:
            scores: By SMILES.
            number: Of the time that it learns: another one draws other molecules.
        """
        names, y = list(scores), torch.tensor(list(scores.values()), dtype=torch.float64)
        order = y.argsort(descending=True, stable=True)
        if len(order) > LEARNT:
            generator = torch.Generator().manual_seed(mix(self._seed, "learnt", number))
            remainder = order[LEARNT // 2 :]
            sampled = remainder[
                torch.randperm(len(remainder), generator=generator)[: LEARNT - LEARNT // 2]
            ]
            order = torch.cat([order[: LEARNT // 2], sampled])
        self._bits = {one: bits for one, bits in self._bits.items() if one in scores}
        self._train_fingerprints = self.fingerprints([names[i] for i in order.tolist()])
        self._posterior = Posterior(
            tanimoto(self._train_fingerprints, self._train_fingerprints), y[order], NOISE
        )

    def mean(self, smiles: Sequence[str]) -> Float[Tensor, " M"]:
        """Return what molecules are likely worth."""
        assert self._posterior is not None
        return self._posterior.mean(tanimoto(self.fingerprints(smiles), self._train_fingerprints))

    def choose(self, smiles: Sequence[str], count: int, number: int) -> list[int]:
        """Return the places of those that are to be asked.

        Arguments:
            smiles: Different molecules that were not asked.
            count: How many.
            number: Of the choice: another one draws other functions.
        """
        assert self._posterior is not None
        if not smiles:
            return []
        candidate_bits = self.fingerprints(smiles)
        generator = torch.Generator().manual_seed(mix(self._seed, "thompson", number))
        eps = torch.randn(count, len(candidate_bits), generator=generator, dtype=torch.float64)
        cross_kernel, candidate_kernel = (
            tanimoto(candidate_bits, self._train_fingerprints),
            tanimoto(candidate_bits, candidate_bits),
        )
        return thompson(self._posterior.draws(cross_kernel, candidate_kernel, eps)).tolist()

    def fingerprints(self, smiles: Sequence[str]) -> Float[Tensor, "M D"]:
        """Return fingerprints, those of molecules that were seen lately without making them."""
        new = [one for one in smiles if one not in self._bits]
        self._bits |= dict(zip(new, fingerprints(new).to(torch.uint8), strict=True))
        rows = [self._bits[one] for one in smiles]
        return torch.stack(rows).float() if rows else fingerprints([])
