"""Samples: a tensor, and what it means as pictures, rows, networks or molecules."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from trilemma.api.display import warn
from trilemma.api.notebook import image_tag
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.data import chemistry, graph_writing, in_memory, table_frames
from trilemma.pictures import figures, image_strips
from trilemma.report import drawing
from trilemma.report.annotations import Annotations

__all__ = ["Samples", "examples", "strips"]


class Samples:
    """What a model has drawn, in data units.

    Arguments:
        tensor: [N, *shape].
        domain: Where they lie.
        annotations: Their classes and captions, where these are known.
    """

    def __init__(
        self, tensor: Tensor, domain: Domain, annotations: Annotations | None = None
    ) -> None:
        self.tensor, self.domain = tensor, domain
        self.annotations = annotations or Annotations()

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.tensor)

    def __getitem__(self, rows: int | slice) -> Samples:
        """Return some of them."""
        rows = slice(rows, rows + 1 or None) if isinstance(rows, int) else rows
        labels, captions = self.annotations.labels, self.annotations.captions
        annotations = Annotations(
            None if labels is None else labels[rows],
            self.annotations.classes,
            None if captions is None else captions[rows],
        )
        return Samples(self.tensor[rows], self.domain, annotations)

    def __repr__(self) -> str:
        """Say how many of what they are."""
        shape = "×".join(map(str, self.domain.shape))
        return f"{len(self)} samples ({self.domain.kind}, {shape})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: ANN401
        """Return the numbers, as numpy asks for them."""
        return np.array(self.tensor.numpy(), dtype=dtype, copy=copy)

    @property
    def labels(self) -> list[str] | None:
        """Return the class of each, by name; None where none is known."""
        if self.annotations.labels is None:
            return None
        return [self.annotations.classes[int(i)] for i in self.annotations.labels.tolist()]

    @property
    def captions(self) -> list[str] | None:
        """Return the caption of each; None where none is known."""
        return None if self.annotations.captions is None else list(self.annotations.captions)

    def numpy(self) -> np.ndarray:
        """Return the numbers, [N, *shape]."""
        return self.tensor.numpy()

    def images(self) -> list[Any]:
        """Return images as PIL images.

        Raises:
            BadInput: They are none.
        """
        self._require("image")
        levels = figures.levels_of(self.domain)
        return [figures.grid(one[None], levels, 1, 1) for one in self.tensor]

    def frame(self) -> Any:  # noqa: ANN401
        """Return rows of a table as a pandas DataFrame, with the types of its columns.

        Raises:
            BadInput: They are none.
        """
        self._require("points")
        return table_frames.frame(self.tensor, self.domain, self.annotations.labels)

    def networks(self) -> list[Any]:
        """Return graphs as networkx graphs.

        Raises:
            BadInput: They are none.
        """
        self._require("graph")
        return [graph_writing.network(one) for one in self.tensor]

    def molecules(self) -> list[Any]:
        """Return molecules as rdkit.Chem.Mol, not sanitised: some may have impossible bonds.

        Raises:
            BadInput: They are none.
        """
        self._require("molecule")
        return [chemistry.to_mol(one, self.domain.elements) for one in self.tensor]

    def smiles(self) -> list[str]:
        """Return molecules as canonical SMILES; empty where one is no molecule.

        Raises:
            BadInput: They are none.
        """
        self._require("molecule")
        return chemistry.to_smiles(self.tensor, self.domain.elements)

    def picture(self) -> Any:  # noqa: ANN401
        """Return one PIL image of all of them."""
        return figures.show(self.tensor, self.domain)

    def save(self, path: str | Path) -> Path:
        """Write them in the form of the name: .png, .npz, .csv, .smi, .graphml, a folder, ….

        Raises:
            BadInput: The form is unknown or does not fit them, or the place is taken.
        """
        target = Path(path)
        omitted = drawing.write(self.tensor, target, self.domain, self.annotations)
        if omitted:
            warn(f"{omitted} of {len(self)} molecules are not in {target}: RDKit refuses them.")
        return target

    def _require(self, kind: str) -> None:
        if self.domain.kind != kind:
            names = [name for name, form in FORMS.items() if form == self.domain.kind]
            hint = f"give .{names[0]}()" if names else "give .numpy()"
            raise BadInput(f"these samples are of kind '{self.domain.kind}', not {kind}; {hint}.")

    def _repr_html_(self) -> str:
        """Show them in a notebook."""
        return _png_of(self.picture, repr(self))


def strips(rows: Mapping[str, Samples]) -> Any:  # noqa: ANN401
    """Lay images out in rows with their names, and return one PIL image.

    Arguments:
        rows: Samples of images by what they are, as many in each.

    Raises:
        BadInput: They are no images, or there are not as many in each.
    """
    for one in rows.values():
        one._require("image")
    levels = {figures.levels_of(one.domain) for one in rows.values()}
    if len(levels) > 1:
        raise BadInput("these rows are of images with different levels; show each apart.")
    tensors = [one.tensor for one in rows.values()]
    return image_strips.strips(tensors, *levels, row_labels=list(rows))


def examples(x: Any, domain: Domain, name: str = "what was given") -> Tensor:  # noqa: ANN401
    """Return samples, or what a program has in memory, as examples of a domain.

    Arguments:
        x: Samples, an array, a DataFrame, or a list of images, networks or molecules.
        domain: Where they have to lie.
        name: What they are called in an error.

    Returns:
        [N, *shape] in data units.

    Raises:
        BadInput: They are of another kind, shape or range.
    """
    return in_memory.examples(x.tensor if isinstance(x, Samples) else x, domain, name)


FORMS = {"images": "image", "frame": "points", "networks": "graph", "molecules": "molecule"}
"""What each kind of data is had as."""


def _png_of(draw: Callable[[], Any], words: str) -> str:
    buffer = io.BytesIO()
    draw().save(buffer, format="PNG")
    return f"<p>{words}</p>{image_tag(buffer.getvalue(), words)}"
