"""Pictures of graphs: sheets, pairs, growth and what was added."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from trilemma.core.domain import Domain, Levels
from trilemma.core.graph import graph, stacked
from trilemma.pictures import figures, graphs
from trilemma.pictures.graphs import change, growth, pairs, sheet, side_by_side

RED = (214, 40, 57)


@pytest.fixture
def small_graphs():
    """Make a path, a triangle with a tail, a single node, nothing, and nodes without an edge."""
    return stacked(
        [
            graph(4, [(0, 1), (1, 2), (2, 3)]),
            graph(4, [(0, 1), (1, 2), (0, 2), (2, 3)]),
            graph(1, []),
            torch.zeros(1, 1, dtype=torch.uint8),
            graph(5, []),
        ],
        limit=6,
    )


def near(picture, colour, reach=12):
    """Count pixels of about a colour."""
    return int((np.abs(pixels(picture) - np.array(colour)).max(-1) <= reach).sum())


def pixels(picture):
    return np.asarray(picture.convert("RGB")).astype(int)


def test_graphs_without_nodes_or_edges_break_nothing(small_graphs):
    for x in (small_graphs, small_graphs[2:3], small_graphs[3:4], small_graphs[:0]):
        assert sheet(x).width > 0
        assert pairs(x, x).width > 0
        assert change(x, x).width > 0
        assert side_by_side(x, x).width > 0
        assert len(growth([x, x])) == 2


def test_a_sheet_has_at_most_so_many_and_few_large_ones():
    x = graph(2, [(0, 1)])[None].repeat(50, 1, 1)
    assert sheet(x).size == sheet(x[: graphs.MAX_GRAPHS]).size
    assert len(graphs._head(torch.zeros(9, 2000, 2000, dtype=torch.uint8))) == 4


def test_flat_graphs_take_less_room():
    path, square = (
        graph(6, [(i, i + 1) for i in range(5)]),
        graph(4, [(0, 1), (1, 2), (2, 3), (3, 0)]),
    )
    assert sheet(path[None]).height < 0.8 * sheet(square[None]).height


def test_colours_tell_how_many_neighbours_there_are():
    star = graph(5, [(0, i) for i in range(1, 5)])
    picture = graphs._Panel.of(star).picture(176)
    one, four = near(picture, (253, 180, 47)), near(picture, (194, 59, 129))
    assert one > 3 * four > 0
    assert near(picture, (223, 98, 99)) == 0  # three neighbours


def test_a_node_without_neighbours_is_grey():
    picture = graphs._Panel.of(graph(4, [(0, 1)])).picture(176)
    assert near(picture, (138, 151, 166)) > 0.5 * near(picture, (253, 180, 47)) > 0


def test_only_what_was_added_is_red(small_graphs):
    before = small_graphs[:2]
    after = before.clone()
    after[0, 0, 3] = after[0, 3, 0] = 1
    picture = change(before, after)
    left, right = (picture.crop((i * 186, 0, (i + 1) * 186, picture.height - 25)) for i in (0, 1))
    assert near(left, RED, 60) > 50
    assert near(right, RED, 60) == 0


def test_nodes_that_came_are_red_as_well():
    before = graph(2, [(0, 1)], limit=4)[None]
    panel = graphs._Panel.grown(before[0], graph(3, [(0, 1)], limit=4))
    assert near(panel.picture(176), RED, 20) > 20
    same = graphs._Panel.grown(before[0], before[0])
    assert near(same.picture(176), RED, 20) == 0


def test_nodes_stay_where_they_are_while_a_graph_grows():
    last = graph(6, [(i, i + 1) for i in range(5)])
    masks = [(torch.arange(6) < n).to(torch.uint8) for n in (2, 4, 6)]
    frames = growth([(last * h * h[:, None])[None] for h in masks])
    panel = graphs._Panel.of(last)
    spots = graphs._fitted(panel.at, graphs.SIDE, graphs._height([panel]))
    for n, frame in zip((2, 4, 6), frames, strict=True):
        for i, (x, y) in enumerate(spots):
            colour = frame.getpixel((round(graphs.GAP + x), round(graphs.GAP + y)))
            assert (min(colour) < 150) == (i < n)


def test_what_is_gone_from_a_frame_is_gone_from_the_picture():
    both = graph(3, [(0, 1), (1, 2)])
    one = graph(3, [(0, 1)])
    frames = growth([x[None] for x in (both, one, both)])
    assert (pixels(frames[0]) == pixels(frames[2])).all()
    assert (pixels(frames[0]) != pixels(frames[1])).any()


def test_a_way_of_graphs_is_a_film_with_their_colours():
    domain, last = Domain("graph", (4, 4), Levels(2)), graph(4, [(0, 1), (1, 2), (2, 3)])
    masks = [(torch.arange(4) < n).to(torch.uint8) for n in (1, 2, 3, 4)]
    film_bytes = figures.trajectory([(last * h * h[:, None])[None] for h in masks], domain)
    film = Image.open(io.BytesIO(film_bytes))
    assert film.n_frames == 4
    assert film.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert near(film, (253, 180, 47), 20) > 20
    assert figures.show(last[None], domain).size == sheet(last[None]).size
