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

from trilemma.networks.recurrent import GRUGradients, GRUSteps

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
        steps = GRUSteps(x, w_in, w_state, b_in, b_state)
        message_size = len(w_leave)
        message_sums = x.new_empty(len(x), message_size)
        node_messages = x.new_zeros(len(joined), joined.shape[1], message_size)
        message_weights = w_hear.view(3, -1, message_size).transpose(1, 2)
        h, offset = x.new_zeros(counts[0], w_state.shape[1]), 0
        for t, count in enumerate(counts):
            step_slice, window_start = slice(offset, offset + count), max(0, t - reach)
            if t:
                row = joined[:count, t, None, window_start:t]
                s = torch.bmm(row, node_messages[:count, window_start:t])[:, 0]
                message_sums[step_slice] = s
                steps.gates[:, step_slice].baddbmm_(
                    s.expand(3, count, message_size), message_weights
                )
            else:
                message_sums[step_slice] = 0
            h = steps.forward(step_slice, h[:count])
            node_messages[:count, t] = torch.addmm(b_leave, h, w_leave.T)
            offset += count
        ctx.save_for_backward(
            x, joined, w_in, w_state, w_hear, w_leave, steps.states, message_sums, *steps.saved
        )
        ctx.counts, ctx.reach = counts, reach
        return steps.states, node_messages

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Go back; a message's gradient is the sum over later neighbours and over what read it."""
        grad_states, grad_messages = grad_outputs
        x, joined, w_in, w_state, w_hear, w_leave, states, message_sums, *saved = ctx.saved_tensors
        steps, end, message_size = GRUGradients(w_state, *saved), len(x), len(w_leave)
        grad_messages_packed = x.new_empty(len(x), message_size)
        grad_messages = grad_messages.clone()
        message_weights = w_hear.view(3, -1, message_size)
        grad_carried = x.new_zeros(ctx.counts[0], steps.hidden_size)
        for t in reversed(range(len(ctx.counts))):
            count, window_start = ctx.counts[t], max(0, t - ctx.reach)
            step_slice = slice(end - count, end)
            grad_messages_packed[step_slice] = grad_messages[:count, t]
            d = grad_carried[:count].add_(grad_states[step_slice])
            steps.backward(step_slice, d.addmm_(grad_messages_packed[step_slice], w_leave))
            if t:
                grad_s = torch.bmm(steps.gates[:, step_slice], message_weights).sum(0)
                row = joined[:count, t, window_start:t, None]
                grad_messages[:count, window_start:t].baddbmm_(row, grad_s[:, None])
            end -= count
        return (
            steps.of_inputs(w_in) if ctx.needs_input_grad[0] else None,
            None,
            *steps.of_weights(x),
            torch.cat([gate.T @ message_sums for gate in steps.gates]),
            grad_messages_packed.T @ states,
            grad_messages_packed.sum(0),
            None,
            None,
        )
