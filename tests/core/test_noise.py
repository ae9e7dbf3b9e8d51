"""Example i gets the same numbers whoever asks, and for how many."""

import pytest
import torch

from trilemma.core.noise import CHUNK, Noise, mix


def test_rows_do_not_depend_on_how_many_are_asked_for():
    many = Noise.for_samples(5, 0, 3 * CHUNK + 2)
    first_rows = Noise.for_samples(5, CHUNK - 1, CHUNK + 2)
    first, second = many.normal(4), many.uniform(2)
    assert torch.equal(first_rows.normal(4), first[CHUNK - 1 : CHUNK + 2])
    assert torch.equal(first_rows.uniform(2), second[CHUNK - 1 : CHUNK + 2])


def test_parts_of_a_batch_draw_what_the_whole_draws():
    noise = Noise.of(1, 12)
    parts = [noise[0:5], noise[5:12]]
    normals = noise.normal(3)
    assert torch.equal(torch.cat([p.normal(3) for p in parts]), normals)
    integers = noise.integers(100)
    assert torch.equal(torch.cat([p.integers(100) for p in parts]), integers)


def test_a_part_starts_anew():
    noise = Noise.of(1, 4)
    first = noise.normal(2)
    assert torch.equal(noise[0:4].normal(2), first)
    assert not torch.equal(noise.normal(2), first)


def test_cutting_across_blocks():
    noise = Noise.for_samples(9, 0, 2 * CHUNK)
    part = noise[CHUNK - 2 : CHUNK + 3]
    assert len(part) == 5
    assert torch.equal(part.normal(1), Noise.for_samples(9, CHUNK - 2, CHUNK + 3).normal(1))
    with pytest.raises(ValueError, match="step of 1"):
        noise[::2]


def test_rows_in_another_order_keep_their_numbers():
    noise = Noise.for_samples(9, CHUNK - 3, CHUNK + 5)
    normals, named = noise[:].normal(3), noise.named("x").uniform()
    order = torch.randperm(8)
    other = noise.reordered(order)
    assert len(other) == 8
    assert torch.equal(other.normal(3), normals[order])
    assert torch.equal(other.named("x").uniform(), named[order])
    assert torch.equal(other.to("cpu")[2:5].normal(3), normals[order[2:5]])
    integers = other.reordered(torch.tensor([7, 0]))
    assert torch.equal(integers.normal(3), normals[order[[7, 0]]])


def test_names_and_seeds_give_unrelated_numbers():
    noise = Noise.of(1, 1000)
    other = noise.named("other").normal()
    assert abs(torch.corrcoef(torch.stack([noise.normal(), other]))[0, 1]) < 0.15
    assert len({mix(i, j) for i in range(50) for j in range(50)}) == 2500


def test_normal_numbers_are_normal():
    normals = Noise.of(3, 4000).normal(5)
    assert abs(normals.mean()) < 0.03
    assert abs(normals.var() - 1) < 0.03
