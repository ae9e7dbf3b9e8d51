"""The released GeoLDM's equivariant network, from a checkout that is made apart.

    git clone the GitHub project MinkaiXu/GeoLDM into FOLDER
    python -m benchmarks egnn --peer FOLDER

Its `egnn/egnn_new.py` is loaded alone, unpatched; that of EDM is the same file. Lists of pairs lie
ready, as it keeps them, and its mean is taken off as its dynamics do. Left out, in its favour: the
rest of its training step (noise, loss, average of the weights, checks for numbers that are none).
"""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trilemma.core.errors import BadInput
from trilemma.core.point_cloud import centred
from trilemma.networks.egnn import Egnn, EgnnForm, PairNetwork

__all__ = ["REACH", "SUMMED", "Released", "ours_of", "worst_difference"]

REACH, SUMMED = 15.0, 1.0
"""`coords_range` and `normalization_factor`, as its command for QM9 has them."""


class Released:
    """Its network, with attention, tanh and one message layer a block, as for QM9.

    Arguments:
        folder: A checkout.
        inputs: Features of a point that are given.
        outputs: Features that come out.
        width: Of its layers.
        layers: How many.
    """

    def __init__(self, folder: Path, inputs: int, outputs: int, width: int, layers: int) -> None:
        path = folder / "egnn" / "egnn_new.py"
        if not path.is_file():
            raise BadInput(
                f"{folder} has no egnn/egnn_new.py; give a checkout of MinkaiXu/GeoLDM."
            )
        spec = importlib.util.spec_from_file_location("released_egnn", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        completed = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True
        )
        self.commit = completed.stdout.strip()[:12] or "an unknown commit"
        self.width, self.layers = width, layers
        self.network: nn.Module = module.EGNN(
            in_node_nf=inputs,
            in_edge_nf=1,
            hidden_nf=width,
            n_layers=layers,
            attention=True,
            out_node_nf=outputs,
            tanh=True,
            coords_range=REACH,
            norm_constant=1,
            inv_sublayers=1,
            normalization_factor=SUMMED,
        )
        self._pairs: dict[tuple[int, int], list[Tensor]] = {}

    def __call__(self, x: Tensor, h: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return displacements without their mean, [B, N, 3], and features, [B, N, G]."""
        count, room, _ = x.shape
        if (count, room) not in self._pairs:
            one = torch.arange(room)
            first = torch.arange(count)[:, None, None] * room
            grid = torch.broadcast_tensors(first + one[:, None], first + one)
            self._pairs[count, room] = [part.reshape(-1) for part in grid]
        node_mask = mask[..., None].to(x)
        apart = 1 - torch.eye(room, dtype=x.dtype)
        of_pairs = (node_mask * node_mask.mT * apart).reshape(-1, 1)
        flat = node_mask.reshape(-1, 1)
        features, at = self.network(
            h.reshape(count * room, -1),
            x.reshape(count * room, 3),
            self._pairs[count, room],
            node_mask=flat,
            edge_mask=of_pairs,
        )
        moved = (at.view_as(x) - x) * node_mask
        return centred(moved, mask), features.view(count, room, -1)

    def weights_as_ours(self) -> Iterator[tuple[str, Any]]:
        """Yield its tensors by the names that they have in ours; parameters or gradients alike."""
        get = dict(self.network.named_parameters())
        yield from _linear("embedding", "embedding", get)
        yield from _linear("output", "embedding_out", get)
        for k in range(self.layers):
            block, mine = f"e_block_{k}", f"layers.{k}"
            yield from _pair(f"{mine}.messages", f"{block}.gcl_0.edge_mlp", get, self.width)
            yield from _linear(f"{mine}.attention", f"{block}.gcl_0.att_mlp.0", get)
            yield from _linear(f"{mine}.update.0", f"{block}.gcl_0.node_mlp.0", get)
            yield from _linear(f"{mine}.update.2", f"{block}.gcl_0.node_mlp.2", get)
            moved = f"{block}.gcl_equiv.coord_mlp"
            yield from _pair(f"{mine}.displacements", moved, get, self.width)
            yield f"{mine}.displacement.weight", (get[f"{moved}.4.weight"], slice(None))


def _linear(ours: str, theirs: str, get: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for part in ("weight", "bias"):
        yield f"{ours}.{part}", (get[f"{theirs}.{part}"], slice(None))


def _pair(ours: str, theirs: str, get: dict[str, Any], width: int) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a first layer over (h_i, h_j, distances), which ours has apart."""
    weight = get[f"{theirs}.0.weight"]
    yield f"{ours}.receiver.weight", (weight, slice(0, width))
    yield f"{ours}.receiver.bias", (get[f"{theirs}.0.bias"], slice(None))
    yield f"{ours}.sender.weight", (weight, slice(width, 2 * width))
    yield f"{ours}.distances.weight", (weight, slice(2 * width, None))
    yield from _linear(f"{ours}.second", f"{theirs}.2", get)


def _cut(tensor: Tensor, columns: slice) -> Tensor:
    return tensor[:, columns] if tensor.ndim == 2 else tensor


def ours_of(released: Released, inputs: int, outputs: int) -> Egnn:
    """Return our network of the same form, with its weights."""
    form = EgnnForm(released.width, released.layers, reach=REACH, summed=SUMMED, is_separate=True)
    mine = Egnn(inputs, outputs, form)
    assert isinstance(mine.layers[0].messages, PairNetwork)
    dtype = next(released.network.parameters()).dtype
    state = {
        name: _cut(value.detach(), columns)
        for name, (value, columns) in released.weights_as_ours()
    }
    mine.to(dtype).load_state_dict(state)
    return mine


def worst_difference(released: Released, mine: Egnn, x: Tensor, h: Tensor, mask: Tensor) -> float:
    """Return the largest difference of outputs and of gradients, of inputs and of all weights.

    Arguments:
        released: Its network.
        mine: Ours, with its weights.
        x: Positions.
        h: Features.
        mask: Which points are there.
    """
    differences = []
    for network in (released, mine):
        at, features = x.clone().requires_grad_(), h.clone().requires_grad_()
        moved, out = network(at, features, mask)
        if network is mine:
            moved = moved - at * mask[..., None].to(at)
        node_mask = mask[..., None].to(x)
        loss = (moved * node_mask).pow(2).sum() + (out * node_mask).sin().sum()
        owner = released.network if network is released else mine
        owner.zero_grad()
        loss.backward()
        assert at.grad is not None
        assert features.grad is not None
        differences.append(
            [moved * node_mask, out * node_mask, at.grad * node_mask, features.grad * node_mask]
        )
    gaps = [float((a - b).detach().abs().max()) for a, b in zip(*differences, strict=True)]
    for name, (value, columns) in released.weights_as_ours():
        gradient = mine.get_parameter(name).grad
        assert gradient is not None
        gaps.append(float((_cut(value.grad, columns) - gradient).abs().max()))
    return max(gaps)
