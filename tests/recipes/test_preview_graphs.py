"""Previews of graphs: what they tell, and that the same noise is drawn from at each call."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from trilemma.data import sources
from trilemma.recipes.graphrnn import GraphRecurrent
from trilemma.recipes.preview import PREVIEW_SAMPLES, Previews
from trilemma.recipes.runs import untrained
from trilemma.report.model_view import Subject
from trilemma.report.registry import pictures_of
from trilemma.training.run import Run


@pytest.fixture(scope="module")
def small():
    return sources.load("community-small")


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", {"name": "graphrnn", "seed": 0}, {})


def model(data):
    return untrained(GraphRecurrent(hidden=16, width=8, memory=0), data.domain, 0).eval()


def test_graphs_are_counted_and_drawn(run, small):
    looks = Previews(run, model(small), small, 0)
    values = looks(model(small), 0)
    assert set(values) == {"n", "nodes", "edges", "valid"}
    with Image.open(run.path / "samples" / "step_00000000.png") as picture:
        assert picture.width > 700  # four in a row


def test_numbers_are_those_of_the_graphs(run, small):
    graph_model = model(small)
    graph_model.sample = lambda n, **_: small.train.x[:n]
    values = Previews(run, graph_model, small, 0)(graph_model, 1)
    x = small.train.x[: PREVIEW_SAMPLES["graph"]]
    counts = x.diagonal(dim1=1, dim2=2).sum()
    assert values["nodes"] == pytest.approx(float(counts) / len(x))
    assert values["edges"] == pytest.approx(float(x.sum() - counts) / 2 / len(x))
    assert values["valid"] == 1.0


def test_without_a_rule_nothing_is_said_of_it(run):
    data = sources.load("barabasi-albert", size=20)
    if data.rule is not None:
        data = data.__class__(data.name, data.domain, data.train, data.test)
    graph_model = model(data)
    graph_model.sample = lambda n, **_: data.train.x[:n]
    assert set(Previews(run, graph_model, data, 0)(graph_model, 1)) == {"n", "nodes", "edges"}


def test_the_same_graphs_are_drawn_of_the_same_weights(run, small):
    graph_model, looks = model(small), Previews(run, model(small), small, 3)
    sampled = []
    sample = graph_model.sample
    graph_model.sample = lambda n, **options: sampled.append(sample(n, **options)) or sampled[-1]
    looks(graph_model, 1)
    looks(graph_model, 2)
    assert torch.equal(*sampled)


class Joins:
    """Joins the first node of a graph to its last."""

    improves = "robustness"

    def improve(self, x, *, noise=None):
        y = x.clone()
        last = x.diagonal(dim1=1, dim2=2).sum(1, dtype=torch.int64) - 1
        at = torch.arange(len(x))
        y[at, 0, last] = y[at, last, 0] = 1
        return y

    def worth(self, x, *, seed):
        raise AssertionError("a page asks for no estimate")


def test_a_page_shows_what_a_policy_adds(small):
    (picture,) = pictures_of(Subject(Joins(), small))
    pixels = np.asarray(picture.image.convert("RGB")).astype(int)
    red = np.abs(pixels - [214, 40, 57]).max(-1) < 60
    assert red[: pixels.shape[0] - 25].sum() > 100
    assert "robustness" in picture.caption
