"""How pages and tables speak of graphs: ranking by mmd, variants folded, histograms."""

from __future__ import annotations

import csv
import io

import pytest
import torch
from given import (
    columns,
    entry,
    grouped,
    quality_metric,
    rank,
    rows_to_csv,
    terminal_tables,
    trilemma_scores,
)

from trilemma.core.domain import Domain, Levels
from trilemma.core.graph import graph, stacked
from trilemma.pictures import histograms as module
from trilemma.pictures.histograms import clustering, histograms
from trilemma.report.html import comparison_page, run_page
from trilemma.report.page import Comparison, Portrait


def measured(evaluate, recipe, mmd, seconds, **more):
    """Return an evaluation of a model of graphs."""
    row = evaluate(recipe, "graph rnn", None, 0.8, seconds)
    names = ("mmd", "mmd_degree", "mmd_degree_u", "mmd_degree_tv", "mmd_degree_tv_u", "novel")
    for name in names:
        row["metrics"][name] = {
            "value": mmd,
            "low": mmd - 0.01,
            "high": mmd + 0.01,
            "unit": "MMD²",
            "better": "lower",
            "floor": 0.02,
            "baselines": {"erdos-renyi": 0.6, "barabasi-albert": 0.7},
            "n": 256,
            "by": "",
            "protocol": "256 samples",
        }
    row["metrics"] |= more
    return row


@pytest.fixture
def rows(evaluate):
    return [measured(evaluate, "graphrl", 0.3, 1e-2), measured(evaluate, "graphrnn", 0.05, 1e-3)]


def test_graphs_are_ranked_by_mmd(rows, evaluate):
    ranking = rank(rows)
    assert quality_metric(rows) == "mmd"
    assert [p.recipe for p in ranking.quality] == ["graphrnn", "graphrl"]
    assert ranking.verdict.startswith("Choose graphrnn")
    assert "mmd 0.05, where real data reach 0.02" in ranking.verdict
    assert "fd" not in ranking.words.replace("graphrnn", "")
    assert quality_metric([*rows, evaluate("vae", fd=3.0)]) == "fd"


def test_a_model_no_better_than_random_graphs_is_named(evaluate):
    rows = [measured(evaluate, "graphrl", 0.9, 1e-2), measured(evaluate, "graphrnn", 0.05, 1e-3)]
    words = rank(rows).words
    assert "graphrl does no better than the trivial baseline ‘erdos-renyi’ (mmd 0.6)" in words


def test_the_triangle_knows_graphs(rows):
    scores = trilemma_scores(rows)
    assert 0 < scores["graphrl"][0] < scores["graphrnn"][0] < 1


def test_variants_stand_in_the_file_and_not_in_the_table(rows):
    assert "mmd_degree" in columns(rows)
    assert not [name for name in columns(rows) if name.endswith(("_u", "_tv"))]
    head = next(csv.reader(io.StringIO(rows_to_csv(rows))))
    assert {"mmd_degree_u", "mmd_degree_tv", "mmd_degree_tv_u_low"} <= set(head)
    (table,) = terminal_tables(rows, width=140)
    assert table.row_count < len(rows[0]["metrics"]) + len(rows[0]["cost"])


def test_seeds_are_taken_together_for_graphs(evaluate):
    several = []
    for seed, mmd in enumerate((0.1, 0.2)):
        several.append({**measured(evaluate, "graphrnn", mmd, 1e-3), "seed": seed, "label": "a"})
    (row,) = grouped(several)
    assert row.of.metrics["mmd"].value == pytest.approx(0.15)


@pytest.fixture
def small_graphs():
    return stacked([graph(4, [(0, 1), (1, 2), (0, 2), (2, 3)]), graph(3, [(0, 1)])], limit=5)


def test_pages_show_graphs(rows, small_graphs):
    domain = Domain("graph", (5, 5), Levels(2))
    entries = [entry(row, small_graphs, (small_graphs, small_graphs)) for row in rows]
    page = comparison_page(Comparison("grid", entries, real=small_graphs, domain=domain))
    assert "the first 2 graphs of each" in page
    assert page.count("above their nearest training examples") == 2
    assert "mmd: up is nearer to real data" in page
    head, _, folded = page.partition("The discrepancies by other kernels")
    assert "mmd degree tv, u" in folded
    assert "mmd degree tv, u" not in head
    alone = run_page(Portrait(entries[0], real=small_graphs, domain=domain))
    assert "mmd 0.3, between 0.29 and 0.31 (real data: 0.02)" in alone


def test_clustering_is_that_of_a_triangle_with_a_tail(small_graphs):
    result = clustering(small_graphs)[0]
    assert result[:3].tolist() == pytest.approx([1.0, 1.0, 1 / 3])
    assert result[3].isnan()


def test_every_graph_counts_once(small_graphs):
    values, weight = module._degrees(small_graphs)
    assert len(values) == 7
    assert weight[:4].sum() == pytest.approx(1)
    assert weight[4:].sum() == pytest.approx(1)
    assert module._pieces(small_graphs)[0].tolist() == [1, 2]


def test_bars_hold_what_lies_beyond_in_the_last():
    values = torch.cat([torch.ones(1000), torch.tensor([500.0])]).double()
    edges = module._edges([values], False)
    assert edges[0] == 0.5
    assert edges[-1] < 10
    assert len(module._edges([torch.arange(1000.0).double()], False)) <= module.BARS + 2


def test_histograms_of_little_and_nothing_are_drawn(small_graphs):
    nothing = torch.zeros(1, 5, 5, dtype=torch.uint8)
    for x in (small_graphs, small_graphs[:0], nothing):
        assert histograms(small_graphs, x, "graph rnn").startswith("<svg")
        assert histograms(x, small_graphs).count("neighbours of a node") >= 1
