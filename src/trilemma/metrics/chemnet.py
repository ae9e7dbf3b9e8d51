"""ChemNet: a recurrent network that predicts activities of molecules from their SMILES.

Its last 512 numbers are the features in which molecules are compared, as the field compares them
(Fréchet ChemNet distance). The weights come with the package `fcd_torch` (extra `molecules`).

Reference:
    Fréchet ChemNet Distance: A Metric for Generative Models for Molecules in Drug Discovery
    (Preuer, Renz, Unterthiner, Hochreiter & Klambauer, 2018)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.data.chemistry import to_smiles

__all__ = ["FEATURES", "NAME", "chemnet", "chemnet_features"]

NAME, FEATURES = "chemnet", 512
AT_ONCE = 256


@cache
def _loaded(device: str) -> tuple[Any, Any]:
    """Return the network, and the class that encodes SMILES.

    Raises:
        BadInput: The package is not installed.
    """
    try:
        from fcd_torch import FCD
        from fcd_torch.utils import SmilesDataset
    except ImportError:
        raise BadInput(
            "molecules are compared in ChemNet's features, and fcd_torch is not installed; pip "
            "install 'trilemma[molecules]'."
        ) from None
    return FCD(device=device).model.to(device).eval(), SmilesDataset


@torch.no_grad()
def chemnet(smiles: Sequence[str], device: torch.device | str = "cpu") -> Float[Tensor, "N 512"]:
    """Return the features of canonical SMILES; zeros of ''."""
    network, encode = _loaded(str(device))
    features = torch.zeros(len(smiles), FEATURES)
    rows = [i for i, text in enumerate(smiles) if text]
    for start in range(0, len(rows), AT_ONCE):
        chunk = rows[start : start + AT_ONCE]
        data = encode([smiles[i] for i in chunk], canonize=False)
        x = torch.stack([torch.as_tensor(data[i]) for i in range(len(chunk))])
        features[chunk] = network(x.transpose(1, 2).float().to(device)).cpu()
    return features


def chemnet_features(x: Tensor, domain: Domain, device: torch.device | str) -> Tensor:
    """Return the features of molecules, [N, 512]."""
    return chemnet(to_smiles(x, domain.elements), device)
