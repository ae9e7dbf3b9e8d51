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
        next_state, cells = [], self.cells()
        x = x.to(cells[0][0].dtype)
        for h, cell in zip(state, cells, strict=True):
            x = torch.gru_cell(x, h.to(x.dtype), *cell)
            next_state.append(x)
        return tuple(next_state)

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
        n_cells, hidden_size = len(x), start.shape[1]
        gates = x.new_empty(3, n_cells, hidden_size)
        hidden_terms, previous_states, states = (
            x.new_empty(n_cells, hidden_size) for _ in range(3)
        )
        input_weights, state_weights = (
            w_in.view(3, hidden_size, -1),
            w_state.view(3, hidden_size, hidden_size),
        )
        biases = b_in.view(3, hidden_size).clone()
        biases[:2] += b_state.view(3, hidden_size)[:2]
        for gate in range(3):
            torch.addmm(biases[gate], x, input_weights[gate].T, out=gates[gate])
        weights_rz, weights_n, b_n = (
            state_weights[:2].transpose(1, 2),
            state_weights[2].T,
            b_state[2 * hidden_size :],
        )
        h, offset = start, 0
        for count in counts:
            step_slice = slice(offset, offset + count)
            h = h[:count]
            previous_states[step_slice] = h
            r, z = (
                gates[:2, step_slice]
                .baddbmm_(h.expand(2, count, hidden_size), weights_rz)
                .sigmoid_()
            )
            hidden_term = torch.addmm(b_n, h, weights_n, out=hidden_terms[step_slice])
            n = gates[2, step_slice].addcmul_(r, hidden_term).tanh_()
            h = torch.lerp(n, h, z, out=states[step_slice])
            offset += count
        ctx.save_for_backward(x, w_in, w_state, gates, hidden_terms, previous_states)
        ctx.counts, ctx.rows = counts, len(start)
        return states

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Go back from the gradient d of h'; the gradients of the gates' arguments are these.

        n: d (1 - z) (1 - n²),   times r where it meets W_hn h
        r: d (1 - z) (1 - n²) r (1 - r) (W_hn h + b_hn)
        z: d z (1 - z) (h - n)
        """
        (grad_states,) = grad_outputs
        x, w_in, w_state, gates, hidden_terms, previous_states = ctx.saved_tensors
        n_cells, hidden_size = hidden_terms.shape
        grad_gates, grad_hidden_terms = torch.empty_like(gates), torch.empty_like(hidden_terms)
        input_weights, state_weights = (
            w_in.view(3, hidden_size, -1),
            w_state.view(3, hidden_size, hidden_size),
        )
        grad_carried = x.new_zeros(ctx.rows, hidden_size)
        end = n_cells
        for count in reversed(ctx.counts):
            step_slice = slice(end - count, end)
            r, z, n = gates[:, step_slice]
            grad_r, grad_z, grad_n = grad_gates[:, step_slice]
            d = grad_carried[:count].add_(grad_states[step_slice])
            d_times_z = d * z
            torch.sub(d, d_times_z, out=grad_n)
            grad_n.addcmul_(grad_n * n, n, value=-1)
            torch.mul(grad_n, r, out=grad_hidden_terms[step_slice])
            torch.mul(grad_hidden_terms[step_slice], hidden_terms[step_slice], out=grad_r)
            grad_r.addcmul_(grad_r, r, value=-1)
            torch.addcmul(d_times_z, d_times_z, z, value=-1, out=grad_z)
            grad_z.mul_(previous_states[step_slice] - n)
            torch.addmm(d_times_z, grad_r, state_weights[0], out=d)
            d.addmm_(grad_z, state_weights[1]).addmm_(
                grad_hidden_terms[step_slice], state_weights[2]
            )
            end -= count
        grad_state_gates = (grad_gates[0], grad_gates[1], grad_hidden_terms)
        grad_x = grad_gates[0] @ input_weights[0] if ctx.needs_input_grad[0] else None
        if grad_x is not None:
            grad_x.addmm_(grad_gates[1], input_weights[1]).addmm_(grad_gates[2], input_weights[2])
        return (
            grad_x,
            grad_carried,
            torch.cat([gate.T @ x for gate in grad_gates]),
            torch.cat([gate.T @ previous_states for gate in grad_state_gates]),
            grad_gates.sum(1).view(-1),
            torch.cat([gate.sum(0) for gate in grad_state_gates]),
            None,
        )
