from dataclasses import replace

import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.data.dataset import Split
from trilemma.data.stream import ExampleStream


def numbered(n, labels=True):
    return Split(torch.arange(n)[:, None], torch.arange(n) % 3 if labels else None)


def test_a_batch_is_a_pure_function_of_data_seed_and_k():
    one, other = ExampleStream(numbered(23), 5, 7), ExampleStream(numbered(23), 5, 7)
    forwards = [one.batch(k) for k in range(40)]
    for k in (39, 0, 17, 4, 17):
        repeated = other.batch(k)
        assert torch.equal(repeated.x, forwards[k].x)
        assert torch.equal(repeated.condition.label, forwards[k].condition.label)
        assert torch.equal(other.batch(k).noise.normal(2), one.batch(k).noise.normal(2))


def test_another_seed_or_batch_gives_another_order_and_noise():
    a, b = ExampleStream(numbered(23), 5, 7), ExampleStream(numbered(23), 5, 8)
    assert not torch.equal(a.batch(0).x, b.batch(0).x)
    assert not torch.equal(a.batch(0).noise.normal(2), b.batch(0).noise.normal(2))
    assert not torch.equal(a.batch(0).noise.normal(2), a.batch(1).noise.normal(2))


@pytest.mark.parametrize(("n", "batch"), [(23, 5), (20, 5), (7, 7), (9, 4), (5, 3)])
def test_every_example_comes_once_an_epoch_across_the_borders(n, batch):
    stream = ExampleStream(numbered(n), batch, 0)
    order = torch.cat([stream.batch(k).x[:, 0] for k in range(4 * n)])
    epochs = order[: (len(order) // n) * n].view(-1, n)
    assert len(epochs) >= 4
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(n))
    assert not torch.equal(epochs[0], epochs[1])


def test_labels_follow_their_examples_and_are_left_out_where_there_are_none():
    batch = ExampleStream(numbered(30), 8, 1).batch(2)
    assert torch.equal(batch.condition.label, batch.x[:, 0] % 3)
    assert len(batch.noise) == len(batch) == 8
    assert ExampleStream(numbered(30, labels=False), 8, 1).batch(2).condition is None


def test_captions_follow_their_examples_with_or_without_labels():
    tokens = torch.arange(30)[:, None] * torch.tensor([[1, 2, 0]])
    for labels in (True, False):
        split = replace(numbered(30, labels), tokens=tokens, mask=tokens > 3)
        batch = ExampleStream(split, 8, 1).batch(2)
        assert torch.equal(batch.condition.tokens[:, 1], 2 * batch.x[:, 0])
        assert torch.equal(batch.condition.mask, batch.condition.tokens > 3)
        assert (batch.condition.label is not None) == labels
        assert len(batch.condition) == 8


def test_fewer_examples_than_a_batch_are_refused_with_a_batch_that_would_do():
    with pytest.raises(BadInput, match=r"4 training examples.*a batch of 4"):
        ExampleStream(numbered(4), 5, 0)


def test_it_keeps_no_state():
    stream = ExampleStream(numbered(10), 5, 0)
    stream.batch(3)
    assert stream.state_dict() == {}


def test_each_of_several_captions_is_drawn_as_often_and_each_batch_anew():
    captions = torch.tensor([[[1, 2], [3, 0], [4, 0]], [[5, 0], [0, 0], [0, 0]]])
    split = Split(
        torch.arange(2)[:, None],
        tokens=captions[:, 0],
        mask=captions[:, 0] > 0,
        alternatives=captions,
        alternative_mask=captions > 0,
    )
    stream, repeated = ExampleStream(split, 2, 3), ExampleStream(split, 2, 3)
    counts = torch.zeros(6)
    for k in range(300):
        batch, condition = stream.batch(k), stream.batch(k).condition
        assert torch.equal(condition.tokens, repeated.batch(k).condition.tokens)
        assert torch.equal(condition.mask, condition.tokens > 0)
        for example, first in zip(
            batch.x[:, 0].tolist(), condition.tokens[:, 0].tolist(), strict=True
        ):
            assert (first == 5) == (example == 1)
            counts[first] += 1
    assert counts[2] == 0
    assert counts[5] == 300
    assert min(counts[1], counts[3], counts[4]) > 70  # 100 each, by four deviations


def test_captions_that_are_drawn_go_along_with_chosen_examples():
    split = replace(
        numbered(4),
        further=[["a"], [], ["b"], []],
        alternatives=torch.arange(8).view(4, 2, 1),
        alternative_mask=torch.ones(4, 2, 1, dtype=torch.bool),
    )
    chosen = split.select(torch.tensor([2, 0]))
    assert chosen.further == [["b"], ["a"]]
    assert chosen.alternatives.flatten().tolist() == [4, 5, 0, 1]
