"""What each of some samples is of: its class or its caption, as given or as the model drew it.

FOLDER/labels.csv     file_name,class,caption: a row for each picture, read back by `data.folder`
FILE.npz              labels, [N] int64; captions, [N] text, beside x
FILE.safetensors      labels, [N] int64, beside x
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trilemma.core.batch import Condition
from trilemma.core.domain import Domain
from trilemma.core.model import Conditional
from trilemma.core.noise import Noise
from trilemma.core.sampling import Conditions
from trilemma.data.captions import CAPTION, CLASS, FILE_NAME, LABELS
from trilemma.recipes.runs import Loaded

__all__ = ["Annotations", "annotations_of"]


@dataclass(frozen=True)
class Annotations:
    """Classes and captions of samples, in their order; None of what is not known."""

    labels: Tensor | None = None
    """[N] int64."""
    classes: Sequence[str] = ()
    """Their names."""
    captions: Sequence[str] | None = None

    def __bool__(self) -> bool:
        """Tell whether anything is known."""
        return self.labels is not None or self.captions is not None

    def since(self, start: int) -> Annotations:
        """Return what is known of the samples from number `start` on."""
        labels = None if self.labels is None else self.labels[start:]
        return Annotations(
            labels, self.classes, None if self.captions is None else self.captions[start:]
        )

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Return what stands beside samples in a file of tensors."""
        return {} if self.labels is None else {"labels": self.labels.contiguous()}

    @property
    def arrays(self) -> dict[str, Any]:
        """Return what stands beside samples in an archive of arrays."""
        arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in self.tensors.items()}
        if self.captions is not None:
            arrays["captions"] = np.array(self.captions, dtype=np.str_)
        return arrays

    def write(self, folder: Path, names: Sequence[str]) -> None:
        """Write labels.csv into a folder of pictures, if anything is known.

        Arguments:
            folder: Where the pictures lie.
            names: Their files, in the order of the samples.
        """
        columns: dict[str, Sequence[str]] = {FILE_NAME: names}
        if self.labels is not None:
            columns[CLASS] = [self.classes[int(i)] for i in self.labels]
        if self.captions is not None:
            columns[CAPTION] = self.captions
        if len(columns) == 1:
            return
        with (folder / LABELS).open("w", encoding="utf-8", newline="") as file:
            write = csv.writer(file, lineterminator="\n")
            write.writerow(columns)
            write.writerows(zip(*columns.values(), strict=True))


def annotations_of(
    loaded: Loaded, n: int, seed: int, conditions: Conditions | None, captions: Sequence[str]
) -> Annotations:
    """Say what the first n samples of a run and a seed are of.

    Arguments:
        loaded: The run, whose model draws them.
        n: How many.
        seed: Of the samples.
        conditions: What they are to be, by index; None for what the model draws.
        captions: What was asked for in words, taken in turn.
    """
    model, domain = loaded.model, loaded.domain
    condition: Condition | None = None
    if conditions is not None:
        condition = conditions(0, n)
    elif isinstance(model, Conditional):
        noise = Noise.for_samples(seed, 0, n, next(model.parameters()).device)
        with torch.no_grad():
            condition = model.resolve_condition(None, noise)
    if condition is None:
        return Annotations()
    labels = condition.label.cpu() if condition.label is not None and domain.classes else None
    texts: Sequence[str] | None = None
    if captions:
        texts = [captions[i % len(captions)] for i in range(n)]
    elif condition.tokens is not None and condition.mask is not None:
        texts = _spoken(condition.tokens.cpu(), condition.mask.cpu(), domain)
    return Annotations(labels, domain.classes, texts)


def _spoken(tokens: Tensor, mask: Tensor, domain: Domain) -> list[str]:
    """Return tokens as words with spaces between; words that are not known are left out."""
    return [
        " ".join(domain.vocabulary[i - 1] for i in row[is_word].tolist() if i)
        for row, is_word in zip(tokens, mask, strict=True)
    ]
