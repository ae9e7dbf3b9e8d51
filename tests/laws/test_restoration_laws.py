"""Each law of super-resolution holds, and fails when the code that it is about is broken."""

from __future__ import annotations

import dataclasses

import torch

from trilemma.core.batch import Condition
from trilemma.core.model import Loss
from trilemma.families import super_resolution_regression as regressing
from trilemma.families.diffusion import super_resolution
from trilemma.laws import restoration as laws
from trilemma.maths import resize
from trilemma.networks import tiling


def broken(check, saying):
    """Return how many laws of a check whose name has these words fail."""
    return sum(not law.holds for law in check() if saying in law.name)


def test_another_kernel_is_seen(monkeypatch):
    monkeypatch.setattr(resize, "KEYS", -0.75)
    resize.resizing.cache_clear()
    assert broken(laws.resizing, "torch's")
    monkeypatch.undo()
    resize.resizing.cache_clear()


def test_a_transpose_for_the_inverse_is_seen(monkeypatch):
    monkeypatch.setattr(resize, "pseudo_inverse", lambda n, m: resize.resizing(n, m).T * n / m)
    assert broken(laws.resizing, "A A^+")
    assert broken(laws.agreement, "= y")
    assert broken(laws.agreement, "twice")


def test_agreement_by_half_is_seen(monkeypatch):
    original = resize.agreed
    monkeypatch.setattr(resize, "agreed", lambda x, y, f: (x + original(x, y, f)) / 2)
    assert broken(laws.agreement, "= y")


def test_agreement_that_moves_the_null_space_is_seen(monkeypatch):
    def agreed(x, y, factor):
        return x + resize.enlarged(y - resize.reduced(x, factor), factor)

    monkeypatch.setattr(resize, "agreed", agreed)
    assert broken(laws.agreement, "null space")


def test_another_spread_and_another_rest_are_seen(monkeypatch):
    original = super_resolution.Pairing.residual
    monkeypatch.setattr(
        super_resolution.Pairing, "residual", lambda self, x, s: 1.2 * original(self, x, s)
    )
    assert broken(laws.rests, "u + s r")
    assert broken(laws.rests, "E r^2")


def test_estimates_that_do_not_agree_are_seen(monkeypatch):
    monkeypatch.setattr(super_resolution, "agreed", lambda x, y, factor: x)
    assert broken(laws.rests, "agree")


def test_a_leak_of_the_target_is_seen(monkeypatch):
    """The condition is the target itself, brought to the small image's size by picking."""

    def paired(self, batch, *, mirror=False):
        picked = batch.x[..., ::4, ::4]
        return dataclasses.replace(batch, condition=Condition(image=picked))

    monkeypatch.setattr(super_resolution.Pairing, "paired", paired)
    assert broken(laws.conditioned, "gradient")


def test_a_leak_by_levels_is_seen(monkeypatch):
    """Without a gradient, as levels have none."""

    def paired(self, batch, *, mirror=False):
        picked = batch.x[..., ::4, ::4].detach().to(torch.uint8)
        return dataclasses.replace(batch, condition=Condition(image=picked))

    monkeypatch.setattr(super_resolution.Pairing, "paired", paired)
    assert broken(laws.conditioned, "share small image")


def test_a_network_that_does_not_look_is_seen(monkeypatch):
    monkeypatch.setattr(tiling.Reading, "_up", lambda self, x, c: torch.zeros_like(x))
    assert broken(laws.conditioned, "another small image")


def test_windows_that_do_not_sum_to_one_are_seen(monkeypatch):
    original = tiling.window

    def window(length, tile, overlap):
        return {start: 1.01 * weight for start, weight in original(length, tile, overlap).items()}

    monkeypatch.setattr(tiling, "window", window)
    assert broken(laws.tiles, "sum to one")
    assert broken(laws.tiles, "the whole")


def test_tiles_that_trust_their_edges_are_seen(monkeypatch):
    original = tiling.window

    def window(length, tile, overlap):
        return original(length, tile, 0) if overlap < 12 else _even(length, tile, overlap)

    def _even(length, tile, overlap):
        starts, total = tiling.tile_starts(length, tile, overlap), torch.zeros(length).double()
        for start in starts:
            total[start : start + tile] += 1
        return {start: 1 / total[start : start + tile] for start in starts}

    monkeypatch.setattr(tiling, "window", window)
    assert broken(laws.tiles, "the whole")
    assert not broken(laws.tiles, "sum to one")


def test_another_loss_of_the_regression_is_seen(monkeypatch):
    def loss(self, batch):
        small = batch.condition.image
        rest = self.pairing.residual(batch.x, small)
        return Loss((rest - self._mean(small, self.network)).abs().mean())

    monkeypatch.setattr(regressing.Regression, "loss", loss)
    assert broken(laws.regression, "minimiser")
    assert broken(laws.regression, "least loss")
