"""How sampled molecules are beside those of the data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trilemma.data.chemistry import parsed, to_smiles
from trilemma.data.rewards import REWARDS
from trilemma.pictures.histograms import numbers
from trilemma.report.model_view import MEASURED, Subject
from trilemma.report.page import Picture
from trilemma.report.view import View

__all__ = ["VIEWS"]


def _properties(subject: Subject[Any]) -> list[Picture]:
    """Draw histograms of sizes and properties, over those of test molecules."""
    elements = subject.domain.elements

    def values(x: Tensor) -> dict[str, Tensor]:
        mols = [parsed(s) for s in to_smiles(x, elements) if s]
        properties = {"heavy atoms": torch.tensor([float(mol.GetNumAtoms()) for mol in mols])}
        for name in ("logp", "qed", "weight"):
            properties[name] = torch.tensor(REWARDS[name](mols))
        return {name: value.double() for name, value in properties.items()}

    if subject.samples is None:
        return []
    real, generated = subject.data.test.x[:MEASURED], subject.samples[:MEASURED]
    if not any(to_smiles(generated, elements)):
        return []
    chart = numbers(values(real), values(generated), subject.family)
    caption = f"{len(real)} test molecules (grey) and {len(generated)} samples (line)."
    return [Picture("sizes and properties", chart, caption)]


VIEWS = (
    View(
        name="molecule properties",
        section="likeness",
        needs=(),
        kinds=("molecule",),
        draw=_properties,
    ),
)
