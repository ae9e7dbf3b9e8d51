"""Pictures of clouds: what is drawn is in the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trilemma.pictures.point_clouds import sheet


@pytest.mark.parametrize("far", [1.0, 1.4])
def test_a_long_cloud_is_shown_whole(far):
    x = torch.zeros(20, 2, 4)
    x[:, 0, 0], x[:, 1, 0] = 1, -1
    x[0] *= far
    x[..., 3] = 1
    first = np.asarray(sheet(x, columns=20).convert("L"))[:, : sheet(x[:1], columns=1).width]
    marked = np.flatnonzero((first < 250).any(0))
    side = first.shape[1]
    assert 2 < marked[0] < side / 4
    assert side * 3 / 4 < marked[-1] < side - 3
