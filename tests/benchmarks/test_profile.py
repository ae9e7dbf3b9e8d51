"""Where time goes: what an operation is, and how much of it there is."""

from __future__ import annotations

import pytest
import torch

from benchmarks.profile import DATA, GROUPS, _spent, group_of, grouped
from trilemma.recipes.catalog import CATALOG


@pytest.mark.parametrize(
    ("group", "operations"),
    [
        (
            "matrices",
            ["mm", "addmm", "bmm", "mkldnn_convolution", "convolution_backward", "linear"],
        ),
        ("matrices", ["_scaled_dot_product_flash_attention_for_cpu", "mkldnn_rnn_layer"]),
        ("arithmetic", ["silu", "mul", "native_layer_norm", "sum", "native_batch_norm_backward"]),
        ("memory", ["copy_", "cat", "constant_pad_nd", "index_select", "fill_", "slice_backward"]),
        ("noise", ["normal_", "uniform_", "randperm", "bernoulli_"]),
        ("optimiser", ["_fused_adamw_", "_foreach_norm", "_foreach_mul_", "lerp_"]),
    ],
)
def test_what_an_operation_is(group, operations):
    assert {group_of(name) for name in operations} == {group}


def test_marks_that_are_no_operation_count_not():
    result = grouped([("aten::mm", 2.0), ("aten::mm", 1.0), ("ProfilerStep*", 7.0)])
    assert result["matrices"] == 3
    assert sum(result.values()) == 3
    assert tuple(result) == GROUPS


def test_a_product_is_matrices_and_its_operations_are_counted():
    x, traced = torch.randn(64, 64), []
    spent = _spent(lambda: traced.append(x @ x), before=1, times=3)
    assert len(traced) == 1 + 3 + 3 + 1
    assert spent.operations == 2 * 64**3
    assert spent.seconds > 0
    assert spent.shares["matrices"] == max(spent.shares.values())
    assert 0 < sum(spent.shares.values()) <= 1


def test_every_recipe_has_data():
    for recipe in CATALOG.values():
        assert set(recipe.kinds) & set(DATA)
