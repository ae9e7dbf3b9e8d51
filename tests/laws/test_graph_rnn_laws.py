"""The laws of growing graphs hold, and each fails when the code is broken."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from trilemma.families import graph_rnn as family
from trilemma.families import graph_sampling_state
from trilemma.laws import graph_rnn as laws
from trilemma.maths.graphs import bfs_orders
from trilemma.networks import recurrent

ROWS, GROWN = family.AdjacencyRows.of, family.GraphRnn._grow
WINDOWS, CHANCE, ORDER = bfs_orders.windows, bfs_orders.log_chance, bfs_orders.breadth_first
BACKWARD, NATS = recurrent._Recurrence.backward, family.GraphRnn._nats
CLOSE, OPEN = (
    graph_sampling_state.GraphSamplingState.close,
    graph_sampling_state.GraphSamplingState.open,
)


def any_order(x, u):
    """An order by the numbers alone."""
    absent = ~x.diagonal(dim1=1, dim2=2).bool()
    return (u + 2 * absent).argsort(1)


def narrow(x):
    """Windows that are one too short."""
    return (WINDOWS(x) - 1).clamp_min(0)


def uniform(x):
    """Orders that are all taken for equally likely."""
    return torch.full_like(CHANCE(x), -3.178)


def lossless(x, reach):
    """Rows that do not tell what their windows leave out."""
    rows = ROWS(x, reach)
    return dataclasses.replace(rows, dropped_edges=torch.zeros_like(rows.dropped_edges))


def wide(self, node, node_messages=None):
    """Graphs that grow edges to any earlier node."""
    OPEN(self, node, node_messages)
    self.window = torch.full_like(self._parent, node)


def endless(self, y):
    """A likelihood that forgets how graphs end."""
    links, ends = NATS(self, y)
    return links, 0 * ends


def steady(self, bits, starts_component):
    """Graphs that never begin another component."""
    return CLOSE(self, bits, torch.zeros_like(starts_component))


def forgetful(self, noise, partial_graphs):
    """Completions that start from nothing."""
    return GROWN(self, noise, None)


def finished(self, noise, partial_graphs):
    """Completions that add nothing."""
    return partial_graphs if partial_graphs is not None else GROWN(self, noise, None)


def without_reset(ctx, *slopes):
    """Slopes as if r did not depend on h."""
    gradients = list(BACKWARD(ctx, *slopes))
    gradients[3] = gradients[3] * 0.9
    return tuple(gradients)


def skewed(x):
    """Chances of orders that are a little too large."""
    return CHANCE(x) + 0.3


def by_label(x, u):
    """Orders that begin with the first node."""
    u = u.clone()
    u[:, 0] = -1
    return ORDER(x, u)


BROKEN = [
    ("breadth_first_orders", "parents never go back", bfs_orders, "breadth_first", any_order),
    ("breadth_first_orders", "no edge reaches beyond", bfs_orders, "windows", narrow),
    ("breadth_first_orders", "q(order | graph) is", bfs_orders, "log_chance", uniform),
    ("only_breadth_first_orders", "has probability", family.AdjacencyRows, "of", lossless),
    ("sums_to_one", "sums to one", family.GraphRnn, "_nats", endless),
    ("bounds", "bound <= ln p", family, "log_chance", lambda x: CHANCE(x) - 1),
    ("bounds", "in mean: ratio", family, "log_chance", skewed),
    ("bounds", "comes near", family, "log_chance", skewed),
    (
        "bounds",
        "bound by one order <=",
        family.GraphRnn,
        "bound",
        lambda self, x, noise: self.importance_bound(x, 1, noise=noise) + 1,
    ),
    ("bounds", "does not know the labels", family, "breadth_first", by_label),
    ("draws", "have the probabilities", graph_sampling_state.GraphSamplingState, "close", steady),
    ("draws", "not drawn", graph_sampling_state.GraphSamplingState, "open", wide),
    ("completions", "keeps what was given", family.GraphRnn, "_grow", forgetful),
    ("completions", "grow further", family.GraphRnn, "_grow", finished),
    ("recurrence", "run by hand equals", torch, "lerp", lambda a, b, w, out: out.copy_(b)),
    (
        "recurrence",
        "so do its slopes",
        recurrent._Recurrence,
        "backward",
        staticmethod(without_reset),
    ),
]


@pytest.mark.parametrize(
    ("check", "law", "where", "name", "broken"), BROKEN, ids=[f"{b[0]}-{b[1]}" for b in BROKEN]
)
def test_a_break_is_seen(check, law, where, name, broken, breaks):
    breaks(laws, check, law, where, name, broken)


def test_each_law_is_broken(unbroken):
    assert unbroken(laws, BROKEN) == []
