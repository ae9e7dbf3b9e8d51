"""What gives samples away: how it is drawn for each kind of data."""

from __future__ import annotations

import pytest
import torch

from trilemma.data import sources
from trilemma.report.page import exhibit


@pytest.mark.parametrize("name", ["digits", "two-moons", "community-small"])
def test_examples_of_every_kind_are_drawn_alone_and_beside_others(name):
    data = sources.load(name)
    x = data.test.x[:10]
    alone = exhibit(x, None, data)
    side_by_side = exhibit(x, data.train.x[:10], data)
    assert alone.width > 0
    assert side_by_side.width > 0
    if data.domain.kind == "image":
        assert alone.width > 5 * alone.height  # a row
        assert side_by_side.height > side_by_side.width / 10  # pairs
    assert exhibit(x, torch.empty(0, *data.domain.shape), data).size == alone.size
