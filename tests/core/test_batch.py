"""Batches are cut, moved and silenced by row."""

import torch

from trilemma.core.batch import Condition, Examples
from trilemma.core.noise import Noise


def batch(n=6):
    return Examples(
        x=torch.arange(n * 2).view(n, 2),
        condition=Condition(label=torch.arange(n)),
        noise=Noise.of(0, n),
    )


def test_rows_cut_everything_alike():
    part = batch()[2:5]
    assert len(part) == 3
    assert part.x.tolist() == [[4, 5], [6, 7], [8, 9]]
    assert part.condition.label.tolist() == [2, 3, 4]
    assert torch.equal(part.noise.normal(1), batch().noise.normal(1)[2:5])


def test_rows_in_another_order_are_the_same_rows():
    order = torch.tensor([4, 0, 3])
    part = batch().reordered(order)
    assert part.x.tolist() == [[8, 9], [0, 1], [6, 7]]
    assert part.condition.label.tolist() == [4, 0, 3]
    assert torch.equal(part.noise.normal(1), batch().noise.normal(1)[order])


def test_rows_are_views():
    full = batch()
    full[1:3].x.zero_()
    assert full.x[1:3].sum() == 0


def test_null_and_dropped_say_which_rows_speak():
    condition = batch().condition
    assert not condition.null().present.any()
    drop = torch.tensor([True, False, False, True, False, False])
    once = condition.dropped(drop)
    assert once.present.tolist() == [False, True, True, False, True, True]
    twice = once.dropped(torch.tensor([False, True, False, False, False, False]))
    assert twice.present.sum() == 3


def test_tokens_travel_with_their_mask():
    condition = Condition(
        tokens=torch.tensor([[1, 2], [3, 0]]), mask=torch.tensor([[True, True], [True, False]])
    )
    assert condition[1:2].mask.tolist() == [[True, False]]
    assert len(condition.null()) == 2


def test_classes_are_drawn_by_their_frequencies():
    label = Condition.sample((0.5, 0.2, 0.3), Noise.of(0, 4000)).label
    share = torch.bincount(label, minlength=3) / 4000
    torch.testing.assert_close(share, torch.tensor([0.5, 0.2, 0.3]), atol=0.03, rtol=0)


def test_a_share_of_the_rows_is_hidden_by_chance():
    condition = Condition(label=torch.zeros(4000, dtype=torch.int64))
    assert condition.partly_hidden(0.0, Noise.of(0, 4000)) is condition
    present = condition.partly_hidden(0.1, Noise.of(0, 4000)).present
    assert abs((~present).float().mean() - 0.1) < 0.02
