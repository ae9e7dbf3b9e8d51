from __future__ import annotations

import pytest
import torch

from trilemma.core.batch import Condition
from trilemma.networks.pixelcnn import (
    CellPerceptron,
    ConvolutionalTrunk,
    GatedBlock,
    MaskedConvolution,
)

GRIDS = [(1, 1), (1, 6), (6, 1), (5, 7)]


def trunk(grid=(5, 7), numbers=2, **options):
    return ConvolutionalTrunk(numbers, grid, width=6, blocks=3, **options).double()


def visible_cells(network, grid, row, column, numbers=2):
    """Return which cells the output at a cell depends on."""
    x = torch.randn(1, numbers, *grid, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(network(x)[0, :, row, column].pow(2).sum(), x)
    return slope[0].abs().sum(0) > 0


@pytest.mark.parametrize("grid", GRIDS)
def test_a_cell_sees_all_cells_before_it_and_no_other(grid):
    network = trunk(grid)
    for position in range(grid[0] * grid[1]):
        expected = (torch.arange(grid[0] * grid[1]) < position).view(grid)
        assert torch.equal(visible_cells(network, grid, *divmod(position, grid[1])), expected)


def test_dilated_blocks_leave_no_gap():
    network = ConvolutionalTrunk(1, (8, 8), width=4, blocks=3).double()
    assert bool(visible_cells(network, (8, 8), 7, 7, 1).flatten()[:-1].all())


@torch.no_grad()
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("classes", [0, 3])
def test_steps_give_what_the_pass_gives(grid, classes):
    network = trunk(grid, classes=classes)
    x = torch.randn(4, 2, *grid, dtype=torch.float64)
    null_condition = Condition(
        label=torch.tensor([0, 2, 1, 0]), present=torch.tensor([True, True, False, True])
    )
    condition = null_condition if classes else None
    full_output, cells = network(x, condition).flatten(2), x.flatten(2)
    state = network.start(4, condition, x.device)
    for position in range(cells.shape[2]):
        before = cells[:, :, position - 1].clone() if position else None
        h = network.step(state, position, before)
        torch.testing.assert_close(h, full_output[:, :, position])
        if before is not None:
            before.zero_()  # the caller may use it again


@torch.no_grad()
def test_two_walks_do_not_disturb_each_other():
    network = trunk()
    x = torch.randn(2, 3, 2, 35, dtype=torch.float64)
    walks = [network.start(3, None, x.device) for _ in range(2)]
    for position in range(35):
        for cells, walk in zip(x, walks, strict=True):
            h = network.step(walk, position, cells[:, :, position - 1] if position else None)
    torch.testing.assert_close(h, network(x[1].unflatten(2, (5, 7)))[:, :, 4, 6])


@torch.no_grad()
def test_a_silent_condition_is_the_null():
    network = trunk(classes=3)
    x = torch.randn(2, 2, 5, 7, dtype=torch.float64)
    condition = Condition(label=torch.tensor([0, 2]))
    torch.testing.assert_close(network(x, condition.null()), network(x))
    assert not torch.allclose(network(x, condition), network(x))


def test_a_condition_reaches_every_block():
    network = trunk(classes=3)
    condition = Condition(label=torch.tensor([1]))
    network(torch.zeros(1, 2, 5, 7, dtype=torch.float64), condition).pow(2).sum().backward()
    for block in network.blocks:
        assert isinstance(block, GatedBlock)
        assert block.cond_layer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("numbers", [1, 2, 12])
def test_inside_a_cell_a_number_sees_exactly_the_earlier(numbers):
    cell = CellPerceptron(4, numbers, 3, units=5).double()
    h, x = torch.randn(4, dtype=torch.float64), torch.randn(numbers, dtype=torch.float64)
    slopes = torch.autograd.functional.jacobian(lambda x: cell(h, x), x).abs().sum(1)
    assert torch.equal(slopes > 0, torch.ones(numbers, numbers).tril(-1).bool())


def test_parameters_have_the_digits_of_float32_under_autocast():
    cell = CellPerceptron(4, 2, 3, units=5)
    with torch.autocast("cpu", torch.bfloat16):
        f = cell(torch.randn(7, 4), torch.randn(7, 2))
    assert f.dtype == torch.float32
    assert not torch.equal(f, f.bfloat16().float())


@pytest.mark.parametrize("numbers", [1, 4])
def test_one_number_alone_is_as_among_all(numbers):
    cell = CellPerceptron(4, numbers, 3, units=5).double()
    h, x = torch.randn(7, 4, dtype=torch.float64), torch.randn(7, numbers, dtype=torch.float64)
    for position in range(numbers):
        later = x.clone()
        later[:, position:] = 100.0
        torch.testing.assert_close(cell(h, later, position), cell(h, x)[:, position])


@pytest.mark.parametrize(("own", "sees"), [(True, 0), (False, -1)])
def test_masked_layers_see_lower_groups(own, sees):
    layer = MaskedConvolution(3, 2, 2, own=own)
    x = torch.randn(6)
    slopes = torch.autograd.functional.jacobian(layer, x)
    expected = torch.ones(3, 3).tril(sees).repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert torch.equal(slopes != 0, expected.bool())


def test_every_weight_gets_a_gradient_in_both_layouts():
    for layout in (torch.contiguous_format, torch.channels_last):
        network = ConvolutionalTrunk(2, (5, 7), width=6, blocks=2).to(memory_format=layout)
        h = network(torch.randn(3, 2, 5, 7))
        h.pow(2).sum().backward()
        assert all(p.grad.abs().sum() > 0 for p in network.parameters())


def test_layouts_agree():
    network = ConvolutionalTrunk(2, (5, 7), width=6, blocks=2)
    x = torch.randn(3, 2, 5, 7)
    usual = network(x)
    torch.testing.assert_close(network.to(memory_format=torch.channels_last)(x), usual)
