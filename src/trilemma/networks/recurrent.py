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

__all__ = ["GRUGradients", "GRUSteps", "Recurrent"]

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


class GRUSteps:
    """A layer's way through all steps, and what its way back needs: r, z, n, W_hn h + b_hn.

    What the inputs give the gates is one product over all steps, in whose place r, z and n come.

    Arguments:
        x: Inputs of all steps, one step after another, [C, I].
        w_in: The weights of a cell, in the order of `torch.gru_cell`: this one [3H, I].
        w_state: [3H, H].
        b_in: [3H].
        b_state: [3H].
    """

    def __init__(
        self, x: Tensor, w_in: Tensor, w_state: Tensor, b_in: Tensor, b_state: Tensor
    ) -> None:
        n_cells, hidden_size = len(x), w_state.shape[1]
        self.gates = x.new_empty(3, n_cells, hidden_size)
        self.hidden_terms, self.previous_states, self.states = (
            x.new_empty(n_cells, hidden_size) for _ in range(3)
        )
        input_weights, state_weights = _by_gate(w_in), _by_gate(w_state)
        biases = b_in.view(3, hidden_size).clone()
        biases[:2] += b_state.view(3, hidden_size)[:2]
        for gate in range(3):
            torch.addmm(biases[gate], x, input_weights[gate].T, out=self.gates[gate])
        self._weights_rz, self._weights_n, self._b_n = (
            state_weights[:2].transpose(1, 2),
            state_weights[2].T,
            b_state[2 * hidden_size :],
        )

    @property
    def saved(self) -> tuple[Tensor, Tensor, Tensor]:
        """What `GRUGradients` is made of, besides the weights."""
        return self.gates, self.hidden_terms, self.previous_states

    def forward(self, step_slice: slice, h: Float[Tensor, "K H"]) -> Float[Tensor, "K H"]:
        """Return the states after the step that has these rows, from those before it."""
        self.previous_states[step_slice] = h
        r, z = (
            self.gates[:2, step_slice].baddbmm_(h.expand(2, *h.shape), self._weights_rz).sigmoid_()
        )
        hidden_term = torch.addmm(self._b_n, h, self._weights_n, out=self.hidden_terms[step_slice])
        n = self.gates[2, step_slice].addcmul_(r, hidden_term).tanh_()
        return torch.lerp(n, h, z, out=self.states[step_slice])


class GRUGradients:
    """A layer's way back, from the gradient d of h' to those of the gates' arguments.

    n: d (1 - z) (1 - n²),   times r where it meets W_hn h
    r: d (1 - z) (1 - n²) r (1 - r) (W_hn h + b_hn)
    z: d z (1 - z) (h - n)

    The gradients of the weights are products over all steps.

    Arguments:
        w_state: [3H, H].
        gates: r, z and n, [3, C, H].
        hidden_terms: W_hn h + b_hn, [C, H].
        previous_states: h, [C, H].
    """

    def __init__(
        self, w_state: Tensor, gates: Tensor, hidden_terms: Tensor, previous_states: Tensor
    ) -> None:
        self.hidden_size = w_state.shape[1]
        self.gates = torch.empty_like(gates)
        """Gradients of the gates' arguments, [3, C, H]."""
        self._grad_hidden_terms = torch.empty_like(hidden_terms)
        self._gates, self._hidden_terms = gates, hidden_terms
        self._previous_states, self._state_weights = previous_states, _by_gate(w_state)

    def backward(self, step_slice: slice, d: Float[Tensor, "K H"]) -> None:
        """Turn d, the gradient of a step's h', into that of its h, in place."""
        r, z, n = self._gates[:, step_slice]
        grad_r, grad_z, grad_n = self.gates[:, step_slice]
        grad_hidden_term, weights = self._grad_hidden_terms[step_slice], self._state_weights
        d_times_z = d * z
        torch.sub(d, d_times_z, out=grad_n)
        grad_n.addcmul_(grad_n * n, n, value=-1)
        torch.mul(grad_n, r, out=grad_hidden_term)
        torch.mul(grad_hidden_term, self._hidden_terms[step_slice], out=grad_r)
        grad_r.addcmul_(grad_r, r, value=-1)
        torch.addcmul(d_times_z, d_times_z, z, value=-1, out=grad_z)
        grad_z.mul_(self._previous_states[step_slice] - n)
        torch.addmm(d_times_z, grad_r, weights[0], out=d)
        d.addmm_(grad_z, weights[1]).addmm_(grad_hidden_term, weights[2])

    def of_inputs(self, w_in: Float[Tensor, "G I"]) -> Float[Tensor, "C I"]:
        """Return the gradient of the inputs."""
        weights = _by_gate(w_in)
        grad_x = self.gates[0] @ weights[0]
        return grad_x.addmm_(self.gates[1], weights[1]).addmm_(self.gates[2], weights[2])

    def of_weights(self, x: Float[Tensor, "C I"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the gradients of w_in, w_state, b_in and b_state."""
        of_states = (self.gates[0], self.gates[1], self._grad_hidden_terms)
        return (
            torch.cat([gate.T @ x for gate in self.gates]),
            torch.cat([gate.T @ self._previous_states for gate in of_states]),
            self.gates.sum(1).view(-1),
            torch.cat([gate.sum(0) for gate in of_states]),
        )


def _by_gate(weights: Float[Tensor, "G I"]) -> Float[Tensor, "3 H I"]:
    """Return the matrix of each gate."""
    return weights.view(3, len(weights) // 3, -1)


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
        steps, h, offset = GRUSteps(x, w_in, w_state, b_in, b_state), start, 0
        for count in counts:
            h = steps.forward(slice(offset, offset + count), h[:count])
            offset += count
        ctx.save_for_backward(x, w_in, w_state, *steps.saved)
        ctx.counts, ctx.rows = counts, len(start)
        return steps.states

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Go back through the steps."""
        (grad_states,) = grad_outputs
        x, w_in, w_state, *saved = ctx.saved_tensors
        steps, end = GRUGradients(w_state, *saved), len(x)
        grad_carried = x.new_zeros(ctx.rows, steps.hidden_size)
        for count in reversed(ctx.counts):
            step_slice = slice(end - count, end)
            steps.backward(step_slice, grad_carried[:count].add_(grad_states[step_slice]))
            end -= count
        grad_x = steps.of_inputs(w_in) if ctx.needs_input_grad[0] else None
        return grad_x, grad_carried, *steps.of_weights(x), None
