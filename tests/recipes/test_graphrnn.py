"""The recipe of GraphRNN: its forms and its refusals."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.model import capabilities
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.recipes.catalog import CATALOG, fitting
from trilemma.recipes.runs import untrained

DOMAIN = Domain("graph", (15, 15), Levels(2), reach=9)


@pytest.mark.parametrize(
    "fields",
    [{}, {"edges": "independent"}, {"hints": False, "memory": 0}, {"layers": 1}],
    ids=str,
)
def test_all_forms_draw(fields):
    model = untrained(CATALOG["graphrnn"](**fields), DOMAIN, 0)
    x = draw(model, 5, seed=0)
    assert x.shape == (5, 15, 15)
    assert x.dtype == torch.uint8
    assert torch.equal(draw(model, 2, seed=0), x[:2])


def test_papers_sizes_have_the_papers_parameters():
    sizes = {"layers": 4, "edge_width": 8, "edge_hidden": 16, "edge_layers": 4}
    recipe = CATALOG["graphrnn"](hints=False, memory=0, **sizes)
    model = recipe.model(Domain("graph", (361, 361), Levels(2), reach=40))
    kinds = {type(m).__name__ for m in model.modules()}
    assert "GraphGRU" not in kinds
    nodes = sum(p.numel() for p in model.nodes.rnn.parameters())
    assert nodes == 3 * 128 * (64 + 128 + 2) + 3 * (3 * 128 * (128 + 128 + 2))


def test_it_fits_graphs_alone():
    assert fitting(DOMAIN) == [n for n, r in CATALOG.items() if "graph" in r.kinds]
    with pytest.raises(BadInput, match="for graph"):
        CATALOG["graphrnn"]().check(Domain("points", (2,), Levels(2)))


def test_capabilities():
    model = untrained(CATALOG["graphrnn"](), DOMAIN, 0)
    assert set(capabilities(model)) == {"sample", "bound", "complete", "path"}
    assert model.bound(draw(model, 3, seed=0), noise=Noise.of(0, 3)).shape == (3,)


def test_reach_below_one_is_refused():
    with pytest.raises(BadInput, match="edge"):
        untrained(CATALOG["graphrnn"](), Domain("graph", (5, 5), Levels(2), reach=0), 0)
