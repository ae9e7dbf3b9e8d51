r"""Gated recurrent units in layers, over many sequences of different lengths at once.

With the logistic function s and * the product of each number with its own,

    r = s(W_ir x + b_ir + W_hr h + b_hr)
    z = s(W_iz x + b_iz + W_hz h + b_hz)
    n = tanh(W_in x + b_in + r * (W_hn h + b_hn))
    h' = (1 - z) * n + z * h

Sequences lie packed: those that are longest come first, and step t holds the first k_t of them, so
that no step works on what has ended. On processors a layer is run by hand (`_Recurrence`): what x
adds is one product over all steps, in place of which a step writes r, z and n, and the gradients
of the weights are again products over all steps. Each gate has a matrix of its own, that what is
done number by number runs along memory. That is several times faster than the framework's own
layer, whose every step leaves a dozen records for its way back. On other devices the framework's
layer runs.

References:
    | Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation
      (Cho, van Merriënboer, Gulcehre, Bahdanau, Bougares, Schwenk & Bengio, 2014)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

__all__ = ["Recurrent"]

State = tuple[Tensor, ...]
"""[R, H] of each layer."""


class Recurrent(nn.Module):
    """Layers of gated recurrent units.

    Arguments:
        inputs: I, numbers of an input.
        hidden: H, numbers of a state.
        layers: L.
    """

    def __init__(self, inputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.hidden, self.layers = hidden, layers
        self.gru = nn.GRU(inputs, hidden, layers)

    def forward(
        self,
        x: Float[Tensor, "C I"],
        counts: Int[Tensor, " T"],
        state: Float[Tensor, "L R H"] | None = None,
    ) -> Float[Tensor, "C H"]:
        """Return the last layer's states at every step.

        Arguments:
            x: Inputs of all steps, one step after another; C = sum_t k_t.
            counts: k_t, sequences that go on at step t, falling; on the CPU.
            state: States before the first step; zero by default.
        """
        if state is None:
            state = x.new_zeros(self.layers, int(counts[0]), self.hidden)
        if x.is_cuda:
            return self.gru(PackedSequence(x, counts), state.to(x.dtype))[0].data
        steps = counts.tolist()
        with torch.autocast("cpu", enabled=False):
            y, state = x.float() if x.dtype == torch.bfloat16 else x, state.to(self._dtype)
            for layer in range(self.layers):
                y = _Recurrence.apply(y, state[layer], *self._weights(layer), steps)
        return y

    def step(self, x: Float[Tensor, "R I"], state: Sequence[Tensor]) -> State:
        """Return the states of all layers after one more input."""
        if torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                return self._stepped(x, state)
        return self._stepped(x, state)

    def cells(self) -> list[list[Tensor]]:
        """Return each layer's weights, in the order in which `torch.gru_cell` takes them."""
        # All layers' weights in order, without a search by their names.
        weights = cast(list[Tensor], self.gru._flat_weights)
        return [weights[4 * layer : 4 * layer + 4] for layer in range(self.layers)]

    def _stepped(self, x: Tensor, state: Sequence[Tensor]) -> State:
        after, cells = [], self.cells()
        x = x.to(cells[0][0].dtype)
        for h, cell in zip(state, cells, strict=True):
            x = torch.gru_cell(x, h.to(x.dtype), *cell)
            after.append(x)
        return tuple(after)

    def _weights(self, layer: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        w_in, w_state, b_in, b_state = (
            getattr(self.gru, f"{name}_l{layer}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        return w_in, w_state, b_in, b_state

    @property
    def _dtype(self) -> torch.dtype:
        return self._weights(0)[0].dtype


class _Recurrence(torch.autograd.Function):
    """One layer's way through all steps."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        start: Tensor,
        w_in: Tensor,
        w_state: Tensor,
        b_in: Tensor,
        b_state: Tensor,
        counts: list[int],
    ) -> Tensor:
        """Keep r, z, n and W_hn h + b_hn of every step."""
        cells, hidden = len(x), start.shape[1]
        gates = x.new_empty(3, cells, hidden)
        fresh, before, out = (x.new_empty(cells, hidden) for _ in range(3))
        inner, outer = w_in.view(3, hidden, -1), w_state.view(3, hidden, hidden)
        added = b_in.view(3, hidden).clone()
        added[:2] += b_state.view(3, hidden)[:2]
        for gate in range(3):
            torch.addmm(added[gate], x, inner[gate].T, out=gates[gate])
        of_rz, of_n, b_n = outer[:2].transpose(1, 2), outer[2].T, b_state[2 * hidden :]
        h, low = start, 0
        for count in counts:
            here = slice(low, low + count)
            h = h[:count]
            before[here] = h
            r, z = gates[:2, here].baddbmm_(h.expand(2, count, hidden), of_rz).sigmoid_()
            told = torch.addmm(b_n, h, of_n, out=fresh[here])
            n = gates[2, here].addcmul_(r, told).tanh_()
            h = torch.lerp(n, h, z, out=out[here])
            low += count
        ctx.save_for_backward(x, w_in, w_state, gates, fresh, before)
        ctx.counts, ctx.rows = counts, len(start)
        return out

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Go back from the slope d of h'; the slopes of the gates' arguments are these.

        n: d (1 - z) (1 - n²),   times r where it meets W_hn h
        r: d (1 - z) (1 - n²) r (1 - r) (W_hn h + b_hn)
        z: d z (1 - z) (h - n)
        """
        (slope,) = slopes
        x, w_in, w_state, gates, fresh, before = ctx.saved_tensors
        cells, hidden = fresh.shape
        of_gates, told = torch.empty_like(gates), torch.empty_like(fresh)
        inner, outer = w_in.view(3, hidden, -1), w_state.view(3, hidden, hidden)
        carried = x.new_zeros(ctx.rows, hidden)
        high = cells
        for count in reversed(ctx.counts):
            here = slice(high - count, high)
            r, z, n = gates[:, here]
            of_r, of_z, of_n = of_gates[:, here]
            d = carried[:count].add_(slope[here])
            kept = d * z
            torch.sub(d, kept, out=of_n)
            of_n.addcmul_(of_n * n, n, value=-1)
            torch.mul(of_n, r, out=told[here])
            torch.mul(told[here], fresh[here], out=of_r)
            of_r.addcmul_(of_r, r, value=-1)
            torch.addcmul(kept, kept, z, value=-1, out=of_z)
            of_z.mul_(before[here] - n)
            torch.addmm(kept, of_r, outer[0], out=d)
            d.addmm_(of_z, outer[1]).addmm_(told[here], outer[2])
            high -= count
        at_state = (of_gates[0], of_gates[1], told)
        of_x = of_gates[0] @ inner[0] if ctx.needs_input_grad[0] else None
        if of_x is not None:
            of_x.addmm_(of_gates[1], inner[1]).addmm_(of_gates[2], inner[2])
        return (
            of_x,
            carried,
            torch.cat([gate.T @ x for gate in of_gates]),
            torch.cat([gate.T @ before for gate in at_state]),
            of_gates.sum(1).view(-1),
            torch.cat([gate.sum(0) for gate in at_state]),
            None,
        )
