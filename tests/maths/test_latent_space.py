from __future__ import annotations

import torch

from trilemma.maths.latent_space import codes, discontinuities, interpolate


def test_interpolation_holds_both_ends():
    a, b = torch.randn(2, 3)
    way = interpolate(a, b, 5)
    torch.testing.assert_close(way[0], a)
    torch.testing.assert_close(way[-1], b)
    torch.testing.assert_close(way[2], (a + b) / 2)


def test_codes_come_in_order_and_without_gradient():
    weight = torch.randn(3, 2, requires_grad=True)
    x = torch.randn(10, 3)
    computed = codes(lambda part: part @ weight, x, at_once=4)
    torch.testing.assert_close(computed, (x @ weight).detach())
    assert not computed.requires_grad


def test_discontinuities_count_a_class_that_is_cut_in_two():
    """Class 0 lies on both sides of class 1: what lies between them is class 1."""

    def classify(x):
        return (x[:, 0].abs() < 0.5).long()

    z = torch.tensor([[-1.0], [1.0], [0.0], [0.2]])
    code = discontinuities(z, torch.tensor([0, 0, 1, 1]), lambda z: z, classify, neighbours=1)
    assert (code.pairs, code.count) == (4, 2)
    one_class = discontinuities(z[2:], torch.tensor([1, 1]), lambda z: z, classify)
    assert (one_class.pairs, one_class.count, one_class.fraction) == (2, 0, 0.0)


def test_discontinuities_pair_far_codes_too():
    """Two halves of class 0 far apart, class 1 between: neighbours see nothing of it."""

    def classify(x):
        return (x[:, 0].abs() < 0.5).long()

    z = torch.tensor([[-1.0], [1.0], [-1.1], [1.1]])
    labels = torch.zeros(4, dtype=torch.int64)
    assert discontinuities(z, labels, lambda z: z, classify, neighbours=1).fraction == 0
    assert discontinuities(z, labels, lambda z: z, classify, neighbours=None).fraction == 1


def test_discontinuities_leave_out_what_is_not_reproduced():
    z = torch.tensor([[-1.0], [-2.0], [3.0]])
    code = discontinuities(z, torch.tensor([0, 0, 0]), lambda z: z, lambda x: (x[:, 0] > 0).long())
    assert code.pairs == 2


def test_discontinuities_of_nothing_are_none():
    code = discontinuities(
        torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64), lambda z: z, lambda x: x[:, 0].long()
    )
    assert (code.pairs, code.fraction) == (0, 0.0)
