import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trilemma.core.errors import BadInput
from trilemma.data.dataset import Split
from trilemma.data.split import (
    content_hashes,
    duplicates,
    frequencies,
    is_test,
    row_hashes,
    split_warning,
)

HASH = st.integers(0, 2**64 - 1)


def test_equal_examples_have_equal_hashes_and_others_do_not():
    x = torch.randint(0, 256, (50, 1, 8, 8), dtype=torch.uint8)
    x[7] = x[30]
    hashes = content_hashes(x)
    assert hashes[7] == hashes[30]
    assert len(set(hashes)) == 49
    assert content_hashes(x.flip(0)) == hashes[::-1]


def test_shape_and_type_are_content():
    x = torch.zeros(1, 4, 4, dtype=torch.uint8)
    assert content_hashes(x) != content_hashes(x.view(1, 2, 8))
    assert content_hashes(x) != content_hashes(x.view(1, 16).view(torch.float32).view(1, 4))


def test_hashes_are_the_same_on_every_machine():
    assert content_hashes(torch.arange(4, dtype=torch.uint8).view(1, 4)) == [8641448689493484032]


def test_share_is_about_what_was_asked_for():
    hashes = content_hashes(torch.arange(20_000)[:, None])
    assert is_test(hashes, 0.1).float().mean().item() == pytest.approx(0.1, abs=0.01)


@given(st.lists(st.tuples(HASH, st.integers(0, 4)), min_size=2, max_size=60), st.randoms())
@settings(max_examples=200, deadline=None)
def test_split_keeps_its_promises(rows, random):
    hashes, labels = zip(*rows, strict=True)
    try:
        test = is_test(hashes, 0.2, labels).tolist()
    except BadInput:
        tops = {max(h for h, k in rows if k == label) for label in labels}
        assert set(hashes) <= tops  # nothing is left that could be held out
        return
    train = [row for row, is_held_out in zip(rows, test, strict=True) if not is_held_out]
    assert any(test)
    assert not {h for h, _ in train} & {
        h for h, is_held_out in zip(hashes, test, strict=True) if is_held_out
    }
    assert {label for _, label in train} == set(labels)
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled_split = is_test([hashes[i] for i in order], 0.2, [labels[i] for i in order]).tolist()
    assert shuffled_split == [test[i] for i in order]


def test_empty_test_set_takes_the_smallest_hashes():
    high = [2**63 + 1000 * i for i in range(20)]
    assert is_test(high, 0.1).nonzero().flatten().tolist() == [0, 1]


def test_lone_example_of_a_class_is_for_training():
    hashes = [0, *range(2**63, 2**63 + 30)]
    assert is_test(hashes, 0.1)[0]
    assert not is_test(hashes, 0.1, [1] + [0] * 30)[0]


def test_adding_examples_moves_none():
    hashes = content_hashes(torch.arange(1500)[:, None])
    assert torch.equal(is_test(hashes, 0.1)[:900], is_test(hashes[:900], 0.1))


def test_from_250_examples_on_50_are_for_testing():
    hashes = content_hashes(torch.arange(300)[:, None])
    for n, least, most in ((249, 10, 45), (250, 50, 50), (300, 50, 50)):
        assert least <= int(is_test(hashes[:n], 0.1).sum()) <= most
    # The smallest hashes are taken, whatever the order.
    shuffled = [hashes[i] for i in torch.randperm(300).tolist()]
    is_held_out = {
        h for h, is_held in zip(hashes, is_test(hashes, 0.1).tolist(), strict=True) if is_held
    }
    shuffled_split = is_test(shuffled, 0.1).tolist()
    assert is_held_out == {
        h for h, is_held in zip(shuffled, shuffled_split, strict=True) if is_held
    }


def test_copies_of_rows_lie_on_both_sides():
    hashes = content_hashes(torch.arange(6).repeat(100)[:, None])
    rows = row_hashes(hashes)
    assert len(set(rows)) == 600
    test = is_test(rows, 0.1)
    train_hashes = {h for h, is_held in zip(hashes, test.tolist(), strict=True) if is_held}
    train_side = {h for h, is_held in zip(hashes, test.tolist(), strict=True) if not is_held}
    assert train_hashes == train_side == set(hashes)
    assert 50 <= int(test.sum()) < 90
    assert sorted(row_hashes(hashes[::-1])) == sorted(rows)


def test_a_split_full_of_copies_or_far_from_its_share_is_warned_of():
    """300 examples, 82 of them for testing, 45 of these copies."""
    hashes = [*range(37), *[0] * 45, *range(100, 318)]
    warning = split_warning(hashes, [True] * 82 + [False] * 218, 0.1)
    assert "of 300 examples 82 are for testing, 45 of them copies" in warning
    assert split_warning(list(range(300)), [i < 50 for i in range(300)], 0.1) == ""
    assert "250 are for testing" in split_warning(
        list(range(500)), [i < 250 for i in range(500)], 0.1
    )


def test_all_the_same_is_refused():
    with pytest.raises(BadInput, match="1 different examples among 40"):
        is_test([5] * 40, 0.1)


def test_duplicates_are_counted_within_and_across():
    assert duplicates([1, 2, 3], [4, 5]) == {"train": 0, "test": 0, "across": 0}
    assert duplicates([1, 1, 1, 2], [2, 2, 3, 1]) == {"train": 2, "test": 1, "across": 3}


def test_frequencies_are_shares_of_the_training_examples():
    train = Split(torch.zeros(4, 1), torch.tensor([0, 2, 2, 2]))
    assert frequencies(train, ("a", "b", "c")) == (0.25, 0.0, 0.75)
    assert frequencies(Split(torch.zeros(4, 1)), ()) == ()
