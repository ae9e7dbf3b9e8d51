r"""What is trivially reached: densities that know next to nothing of the data.

uniform       all levels alike: -D ln L nats
histogram     each coordinate of levels by itself: the training counts, plus one
independent   each column of a table by itself: the training counts of each cell plus one, of
real numbers a Gaussian of the training mean and variance; without real columns
a probability, never above 0, beside which a bound may stand
mixture       of a table: ten products of independent columns (`metrics.table_mixture`)
normal        a Gaussian of the training mean and covariance
erdos-renyi   pairs of nodes joined independently, sizes by their training histogram
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trilemma.core.domain import Columns, Levels
from trilemma.core.graph import adjacency, sizes
from trilemma.data.dataset import DataSet, Split
from trilemma.metrics.table_mixture import fit_mixture

__all__ = ["baselines", "erdos_renyi", "independent", "mixture", "normal", "uniform"]


def uniform(dimensions: int, count: int) -> float:
    """Return ln p(x) of D coordinates when all of L levels are alike: -D ln L nats."""
    return -dimensions * math.log(count)


def baselines(data: DataSet) -> dict[str, float]:
    """Return the mean ln p(x) of test examples under trivial densities, in nats."""
    values = data.domain.values
    if data.domain.kind == "graph":
        return {"erdos-renyi": erdos_renyi(data.train.x, data.test.x)}
    if isinstance(values, Levels):
        histogram = _histogram(data.train, data.test, values.count)
        return {"uniform": uniform(data.domain.dimensions, values.count), "histogram": histogram}
    if isinstance(values, Columns):
        return {"independent": independent(data), "mixture": mixture(data)}
    gaussian = normal(data.train.x).log_prob(data.test.x.double().flatten(1)).mean().item()
    return {"normal": gaussian, **({"mixture": mixture(data)} if data.domain.columns else {})}


def erdos_renyi(train: Tensor, test: Tensor) -> float:
    """Return the mean ln P of labelled test graphs, when pairs are joined independently.

    Sizes have the training histogram, each of 1 … N counted once more; all pairs are joined with
    the training graphs' share of joined pairs.

    >>> one = torch.tensor([[[1, 1], [1, 1]], [[1, 0], [0, 1]]], dtype=torch.uint8)
    >>> round(erdos_renyi(one, one), 4)  # ln(3 / 4) + ln(1 / 2)
    -0.9808
    """
    n, edge_counts = sizes(train), adjacency(train).sum((1, 2)).double() / 2
    pairs = n.double() * (n - 1) / 2
    density = edge_counts.sum() / pairs.sum().clamp_min(1)
    counts = torch.bincount(n, minlength=train.shape[-1] + 1)[1:] + 1
    m, edges = sizes(test), adjacency(test).sum((1, 2)).double() / 2
    size_log_prob = (counts.double() / counts.sum()).log()[m - 1]
    non_edges = m.double() * (m - 1) / 2 - edges
    edge_log_prob = torch.xlogy(edges, density) + torch.xlogy(non_edges, 1 - density)
    return (size_log_prob + edge_log_prob).mean().item()


def _histogram(train: Split, test: Split, count: int) -> float:
    """Return the mean log probability when each coordinate has its own histogram."""
    dimensions = train.x[0].numel()
    offset = torch.arange(dimensions) * count

    def counts(split: Split) -> Tensor:
        total = torch.zeros(dimensions * count, dtype=torch.float64)
        for chunk in split.x.split(4096):
            indices = chunk.flatten(1).long() + offset
            total += torch.bincount(indices.flatten(), minlength=len(total))
        return total

    probabilities = (counts(train) + 1) / (len(train) + count)
    return (counts(test) @ probabilities.log() / len(test)).item()


def normal(train: Tensor) -> torch.distributions.MultivariateNormal:
    """Return the Gaussian with the mean and covariance of the rows, float64."""
    x = train.double().flatten(1)
    covariance = torch.cov(x.T).reshape(x.shape[1], x.shape[1])
    ridge = 1e-9 * covariance.diagonal().mean().clamp_min(1e-12)
    scale = torch.linalg.cholesky(covariance + ridge * torch.eye(len(covariance)).to(x))
    return torch.distributions.MultivariateNormal(x.mean(0), scale_tril=scale)


def mixture(data: DataSet) -> float:
    """Return the mean ln p(x) of test rows under a shallow mixture, nats.

    Arguments:
        data: A table.
    """
    return fit_mixture(data.domain, data.train.x).log_prob(data.test.x).mean().item()


def independent(data: DataSet) -> float:
    """Return the mean ln p(x) of test rows under independent columns, nats.

    Arguments:
        data: A table with columns in cells.
    """
    values = data.domain.values
    assert isinstance(values, Columns)
    total = 0.0
    for d, column in enumerate(values.columns):
        train, test = data.train.x[:, d].double(), data.test.x[:, d].double()
        if column.in_cells:
            cells = (train - column.low).long()
            counts = torch.bincount(cells, minlength=column.count).double() + 1
            total += float((counts / counts.sum()).log()[(test - column.low).long()].mean())
        else:
            mean, variance = train.mean(), train.var(correction=0)
            log_probs = -0.5 * ((test - mean).square() / variance + (2 * math.pi * variance).log())
            total += float(log_probs.mean())
    return total
