"""Properties of examples: their statistics, and a data set made ready for one as a condition.

A generator that is conditioned on a property is judged by a regressor of that property, which has
to be trained apart from it: the training examples are cut into two halves by a fixed seed, D_a
for the regressor and D_b for the generator, as the field does.

References:
    Equivariant Diffusion for Molecule Generation in 3D (Hoogeboom, Garcia Satorras, Vignac &
    Welling, 2022), arXiv:2203.17003, section 5.2.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.domain import PropertyStatistics
from trilemma.core.errors import BadInput, nearest
from trilemma.core.noise import mix
from trilemma.data.dataset import DataSet

__all__ = ["statistics", "with_property", "without_properties"]

FEWEST = 20
"""Training examples of which two halves can be made at least."""


def statistics(name: str, unit: str, values: Float[Tensor, " N"]) -> PropertyStatistics:
    """Return mean, standard deviation and range of the values that are finite numbers.

    >>> statistics("mu", "D", torch.tensor([1.0, 3.0, torch.nan])).mean
    2.0
    """
    finite_values = values.double()[values.isfinite()]
    if not len(finite_values):
        return PropertyStatistics(name, unit)
    mean, deviation = float(finite_values.mean()), float(finite_values.std(correction=0))
    return PropertyStatistics(
        name, unit, mean, deviation, float(finite_values.min()), float(finite_values.max())
    )


def without_properties(data: DataSet) -> DataSet:
    """Return the data set as it is to a model that knows no property; itself if it has none."""
    if not data.domain.properties:
        return data
    return dataclasses.replace(
        data,
        domain=dataclasses.replace(data.domain, properties=()),
        train=dataclasses.replace(data.train, properties=None),
        test=dataclasses.replace(data.test, properties=None),
        aside=None,
    )


def with_property(data: DataSet, name: str) -> DataSet:
    """Return the data set with one property alone and with half of its training examples.

    The other half is kept `aside` for a regressor; which examples it holds depends on their
    number alone. Statistics of the property are of the half that is left. A data set that is such
    a one already comes back as it is.

    Arguments:
        data: Has properties.
        name: One of them.

    Raises:
        BadInput: It has none, not this one, or it is missing of some examples, the same of all
            or known of too few.
    """
    names = [one.name for one in data.domain.properties]
    if data.aside is not None and names == [name]:
        return data
    if not names:
        raise BadInput(
            f"--property {name} was given, and of '{data.name}' no property is known; leave it "
            "out, or take 'qm9', 'qm9-small', or an extended XYZ whose comments say NAME=NUMBER."
        )
    if name not in names:
        raise nearest("property", name, names)
    column = names.index(name)
    assert data.train.properties is not None
    assert data.test.properties is not None
    train, test = data.train.properties[:, column], data.test.properties[:, column]
    all_values = torch.cat([train, test])
    if bad := int((~all_values.isfinite()).sum()):
        raise BadInput(
            f"property '{name}' is missing, or no finite number, of {bad:,} of the "
            f"{len(all_values):,} examples of '{data.name}'; give it of every one, or leave those "
            "out."
        )
    if len(train) < FEWEST:
        raise BadInput(
            f"'{data.name}' has {len(train)} training examples, and {FEWEST} or more are needed "
            "with --property: half of them are kept for the regressor by which it is judged."
        )
    generator = torch.Generator().manual_seed(mix("property halves", len(train)))
    order = torch.randperm(len(train), generator=generator)
    half = len(train) // 2
    regressor_rows, rows = order[:half].sort().values, order[half:].sort().values
    measured = statistics(name, data.domain.properties[column].unit, train[rows])
    if not measured.deviation > 0:
        raise BadInput(
            f"property '{name}' is {measured.mean:g} of every training example; there is nothing "
            "to be asked for."
        )
    parts = [
        dataclasses.replace(part, properties=part.properties[:, column : column + 1])
        for part in (data.train.select(rows), data.test, data.train.select(regressor_rows))
        if part.properties is not None
    ]
    note = (
        f"conditioned on {name}: {len(rows):,} of the training examples are for the generator, "
        f"{half:,} for a regressor of the property, by a fixed seed"
    )
    return dataclasses.replace(
        data,
        domain=dataclasses.replace(data.domain, properties=(measured,)),
        train=parts[0],
        test=parts[1],
        aside=parts[2],
        notes=(*data.notes, note),
        views={},
    )
