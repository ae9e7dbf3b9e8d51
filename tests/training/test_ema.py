"""Averaged weights follow their formula and change places without a copy."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trilemma.training.ema import Average


def test_the_average_follows_its_formula():
    weight = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    average, expected = Average({"w": weight}, decay=0.5), torch.zeros(3, dtype=torch.float64)
    for k in range(20):
        weight.data = weight.data + torch.randn(3, dtype=torch.float64)
        average.update()
        d = min(0.5, (1 + k) / (10 + k))
        expected = d * expected + (1 - d) * weight.data
        torch.testing.assert_close(average.values[0], expected, rtol=1e-12, atol=1e-12)
    assert average.count == 20


def test_the_decay_warms_up():
    weight = nn.Parameter(torch.zeros(1))
    average = Average({"w": weight}, decay=0.9999)
    weight.data += 1
    average.update()
    assert average.values[0].item() == pytest.approx(0.9)


def test_applied_swaps_and_gives_back_the_same_memory():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
    model = model.to(memory_format=torch.channels_last)
    average = Average(dict(model.named_parameters()), decay=0.9)
    raw = [p.data_ptr() for p in model.parameters()]
    pointers = [v.data_ptr() for v in average.values]
    buffer = model[1].running_mean.data_ptr()
    with average.applied():
        assert [p.data_ptr() for p in model.parameters()] == pointers
        assert model[1].running_mean.data_ptr() == buffer
        with average.applied():
            assert [p.data_ptr() for p in model.parameters()] == pointers
        assert [p.data_ptr() for p in model.parameters()] == pointers
        assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert [p.data_ptr() for p in model.parameters()] == raw
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    assert [p.data_ptr() for p in model.parameters()] == raw


def test_settling_makes_the_averages_the_weights():
    weight = nn.Parameter(torch.zeros(2))
    average = Average({"w": weight}, decay=0.9)
    weight.data += 10
    average.update()
    average.settle()
    assert weight.tolist() == [9.0, 9.0]
