r"""A recurrent layer along the nodes of growing graphs that hears what neighbours remember.

Node i leaves m_i = V h_i + v. When a node comes, it hears the sum over its earlier neighbours,

    s_i = sum_{j < i, x_ij = 1} m_j
    h_i = GRU(input_i, h_{i-1})     with U s_i added to what the input gives the gates

so that what is known of a place in the graph passes along edges, not only along the order: on a
grid, that a node lies on the border is told by its neighbour on the border. Whoever draws edges
may ask each candidate for its m.

As in `networks.recurrent` the layer is run by hand, with its way back; the rows of the matrix x
give each step's sum as one product for all graphs.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = ["GraphGRU"]


class GraphGRU(nn.Module):
    """One layer of gated recurrent units with a memory for each node.

    Arguments:
        inputs: I, numbers of an input.
        hidden: H, numbers of a state.
        memory: E, numbers of a node's message.
    """

    def __init__(self, inputs: int, hidden: int, memory: int) -> None:
        super().__init__()
        self.hidden, self.memory = hidden, memory
        self.cell = nn.GRUCell(inputs, hidden)
        self.leave = nn.Linear(hidden, memory)
        self.hear = nn.Linear(memory, 3 * hidden, bias=False)

    def forward(
        self,
        x: Float[Tensor, "C I"],
        joined: Float[Tensor, "R N N"],
        counts: Int[Tensor, " T"],
        reach: int,
    ) -> tuple[Float[Tensor, "C H"], Float[Tensor, "R N E"]]:
        """Return the states after every node, and every node's message.

        Arguments:
            x: Inputs of all steps, one step after another; C = sum_t k_t.
            joined: Graphs in order, those with the most nodes first, zeros on the diagonal.
            counts: k_t, graphs that have a node t, falling; on the CPU.
            reach: M, how far back a node may be joined.
        """
        dtype = self.leave.weight.dtype
        with torch.autocast(x.device.type, enabled=False):
            return _GraphGRUFunction.apply(
                x.to(dtype),
                joined.to(dtype),
                self.cell.weight_ih,
                self.cell.weight_hh,
                self.cell.bias_ih,
                self.cell.bias_hh,
                self.hear.weight,
                self.leave.weight,
                self.leave.bias,
                counts.tolist(),
                reach,
            )

    def step(
        self, x: Float[Tensor, "R I"], message_sum: Float[Tensor, "R E"], h: Float[Tensor, "R H"]
    ) -> Float[Tensor, "R H"]:
        """Return the states after one more node, whose neighbours' messages have this sum."""
        dtype, cell = self.leave.weight.dtype, self.cell
        with torch.autocast(x.device.type, enabled=False):
            inputs = torch.cat([x.to(dtype), message_sum.to(dtype)], 1)
            input_weights = torch.cat([cell.weight_ih, self.hear.weight], 1)
            return torch.gru_cell(
                inputs, h.to(dtype), input_weights, cell.weight_hh, cell.bias_ih, cell.bias_hh
            )

    def message(self, h: Float[Tensor, "R H"]) -> Float[Tensor, "R E"]:
        """Return the messages of nodes with these states."""
        with torch.autocast(h.device.type, enabled=False):
            return self.leave(h.to(self.leave.weight.dtype))


class _GraphGRUFunction(torch.autograd.Function):
    """The layer's way through all nodes of all graphs."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        joined: Tensor,
        w_in: Tensor,
        w_state: Tensor,
        b_in: Tensor,
        b_state: Tensor,
        w_hear: Tensor,
        w_leave: Tensor,
        b_leave: Tensor,
        counts: list[int],
        reach: int,
    ) -> tuple[Tensor, Tensor]:
        """Keep r, z, n, W_hn h + b_hn and s of every step."""
        n_cells, hidden_size, message_size = len(x), w_state.shape[1], w_leave.shape[0]
        gates = x.new_empty(3, n_cells, hidden_size)
        hidden_terms, previous_states, states = (
            x.new_empty(n_cells, hidden_size) for _ in range(3)
        )
        message_sums = x.new_empty(n_cells, message_size)
        node_messages = x.new_zeros(len(joined), joined.shape[1], message_size)
        input_weights, state_weights = (
            w_in.view(3, hidden_size, -1),
            w_state.view(3, hidden_size, hidden_size),
        )
        message_weights = w_hear.view(3, hidden_size, message_size).transpose(1, 2)
        biases = b_in.view(3, hidden_size).clone()
        biases[:2] += b_state.view(3, hidden_size)[:2]
        for gate in range(3):
            torch.addmm(biases[gate], x, input_weights[gate].T, out=gates[gate])
        weights_rz, weights_n, b_n = (
            state_weights[:2].transpose(1, 2),
            state_weights[2].T,
            b_state[2 * hidden_size :],
        )
        h, offset = x.new_zeros(counts[0], hidden_size), 0
        for t, count in enumerate(counts):
            step_slice, window_start = slice(offset, offset + count), max(0, t - reach)
            h = h[:count]
            previous_states[step_slice] = h
            if t:
                row = joined[:count, t, None, window_start:t]
                s = torch.bmm(row, node_messages[:count, window_start:t])[:, 0]
                message_sums[step_slice] = s
                gates[:, step_slice].baddbmm_(s.expand(3, count, message_size), message_weights)
            else:
                message_sums[step_slice] = 0
            r, z = (
                gates[:2, step_slice]
                .baddbmm_(h.expand(2, count, hidden_size), weights_rz)
                .sigmoid_()
            )
            hidden_term = torch.addmm(b_n, h, weights_n, out=hidden_terms[step_slice])
            n = gates[2, step_slice].addcmul_(r, hidden_term).tanh_()
            h = torch.lerp(n, h, z, out=states[step_slice])
            node_messages[:count, t] = torch.addmm(b_leave, h, w_leave.T)
            offset += count
        ctx.save_for_backward(
            x,
            joined,
            w_in,
            w_state,
            w_hear,
            w_leave,
            gates,
            hidden_terms,
            previous_states,
            states,
            message_sums,
        )
        ctx.counts, ctx.reach = counts, reach
        return states, node_messages

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Go back; a message's gradient is the sum over later neighbours and over what read it."""
        grad_states, grad_messages = grad_outputs
        (
            x,
            joined,
            w_in,
            w_state,
            w_hear,
            w_leave,
            gates,
            hidden_terms,
            previous_states,
            states,
            message_sums,
        ) = ctx.saved_tensors
        n_cells, hidden_size, message_size = *hidden_terms.shape, w_leave.shape[0]
        grad_gates, grad_hidden_terms = torch.empty_like(gates), torch.empty_like(hidden_terms)
        grad_messages_packed = x.new_empty(n_cells, message_size)
        grad_messages = grad_messages.clone()
        input_weights, state_weights = (
            w_in.view(3, hidden_size, -1),
            w_state.view(3, hidden_size, hidden_size),
        )
        message_weights = w_hear.view(3, hidden_size, message_size)
        grad_carried = x.new_zeros(ctx.counts[0], hidden_size)
        end = n_cells
        for t in reversed(range(len(ctx.counts))):
            count, window_start = ctx.counts[t], max(0, t - ctx.reach)
            step_slice = slice(end - count, end)
            r, z, n = gates[:, step_slice]
            grad_r, grad_z, grad_n = grad_gates[:, step_slice]
            grad_messages_packed[step_slice] = grad_messages[:count, t]
            d = (
                grad_carried[:count]
                .add_(grad_states[step_slice])
                .addmm_(grad_messages_packed[step_slice], w_leave)
            )
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
            if t:
                grad_s = torch.bmm(grad_gates[:, step_slice], message_weights).sum(0)
                row = joined[:count, t, window_start:t, None]
                grad_messages[:count, window_start:t].baddbmm_(row, grad_s[:, None])
            end -= count
        grad_state_gates = (grad_gates[0], grad_gates[1], grad_hidden_terms)
        grad_x = grad_gates[0] @ input_weights[0] if ctx.needs_input_grad[0] else None
        if grad_x is not None:
            grad_x.addmm_(grad_gates[1], input_weights[1]).addmm_(grad_gates[2], input_weights[2])
        return (
            grad_x,
            None,
            torch.cat([gate.T @ x for gate in grad_gates]),
            torch.cat([gate.T @ previous_states for gate in grad_state_gates]),
            grad_gates.sum(1).view(-1),
            torch.cat([gate.sum(0) for gate in grad_state_gates]),
            torch.cat([gate.T @ message_sums for gate in grad_gates]),
            grad_messages_packed.T @ states,
            grad_messages_packed.sum(0),
            None,
            None,
        )
