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

__all__ = ["RememberingRecurrence"]


class RememberingRecurrence(nn.Module):
    """One layer of gated recurrent units with a memory for each node.

    Arguments:
        inputs: I, numbers of an input.
        hidden: H, numbers of a state.
        memory: E, numbers that a node leaves.
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
        """Return the states after every node, and what every node leaves.

        Arguments:
            x: Inputs of all steps, one step after another; C = sum_t k_t.
            joined: Graphs in order, those with the most nodes first, zeros on the diagonal.
            counts: k_t, graphs that have a node t, falling; on the CPU.
            reach: M, how far back a node may be joined.
        """
        dtype = self.leave.weight.dtype
        with torch.autocast(x.device.type, enabled=False):
            return _Remembering.apply(
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
        self, x: Float[Tensor, "R I"], heard: Float[Tensor, "R E"], h: Float[Tensor, "R H"]
    ) -> Float[Tensor, "R H"]:
        """Return the states after one more node, which hears so much."""
        dtype, cell = self.leave.weight.dtype, self.cell
        with torch.autocast(x.device.type, enabled=False):
            told = torch.cat([x.to(dtype), heard.to(dtype)], 1)
            inner = torch.cat([cell.weight_ih, self.hear.weight], 1)
            return torch.gru_cell(
                told, h.to(dtype), inner, cell.weight_hh, cell.bias_ih, cell.bias_hh
            )

    def left(self, h: Float[Tensor, "R H"]) -> Float[Tensor, "R E"]:
        """Return what nodes with these states leave."""
        with torch.autocast(h.device.type, enabled=False):
            return self.leave(h.to(self.leave.weight.dtype))


class _Remembering(torch.autograd.Function):
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
        cells, hidden, memory = len(x), w_state.shape[1], w_leave.shape[0]
        gates = x.new_empty(3, cells, hidden)
        fresh, before, out = (x.new_empty(cells, hidden) for _ in range(3))
        sums = x.new_empty(cells, memory)
        left = x.new_zeros(len(joined), joined.shape[1], memory)
        inner, outer = w_in.view(3, hidden, -1), w_state.view(3, hidden, hidden)
        hear = w_hear.view(3, hidden, memory).transpose(1, 2)
        added = b_in.view(3, hidden).clone()
        added[:2] += b_state.view(3, hidden)[:2]
        for gate in range(3):
            torch.addmm(added[gate], x, inner[gate].T, out=gates[gate])
        of_rz, of_n, b_n = outer[:2].transpose(1, 2), outer[2].T, b_state[2 * hidden :]
        h, low = x.new_zeros(counts[0], hidden), 0
        for place, count in enumerate(counts):
            here, since = slice(low, low + count), max(0, place - reach)
            h = h[:count]
            before[here] = h
            if place:
                row = joined[:count, place, None, since:place]
                s = torch.bmm(row, left[:count, since:place])[:, 0]
                sums[here] = s
                gates[:, here].baddbmm_(s.expand(3, count, memory), hear)
            else:
                sums[here] = 0
            r, z = gates[:2, here].baddbmm_(h.expand(2, count, hidden), of_rz).sigmoid_()
            told = torch.addmm(b_n, h, of_n, out=fresh[here])
            n = gates[2, here].addcmul_(r, told).tanh_()
            h = torch.lerp(n, h, z, out=out[here])
            left[:count, place] = torch.addmm(b_leave, h, w_leave.T)
            low += count
        ctx.save_for_backward(
            x, joined, w_in, w_state, w_hear, w_leave, gates, fresh, before, out, sums
        )
        ctx.counts, ctx.reach = counts, reach
        return out, left

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Go back; what a node left is sloped by whoever heard it later, and by who asked."""
        slope, at_left = slopes
        x, joined, w_in, w_state, w_hear, w_leave, gates, fresh, before, out, sums = (
            ctx.saved_tensors
        )
        cells, hidden, memory = *fresh.shape, w_leave.shape[0]
        of_gates, told = torch.empty_like(gates), torch.empty_like(fresh)
        of_left = x.new_empty(cells, memory)
        at_left = at_left.clone()
        inner, outer = w_in.view(3, hidden, -1), w_state.view(3, hidden, hidden)
        hear = w_hear.view(3, hidden, memory)
        carried = x.new_zeros(ctx.counts[0], hidden)
        high = cells
        for place in reversed(range(len(ctx.counts))):
            count, since = ctx.counts[place], max(0, place - ctx.reach)
            here = slice(high - count, high)
            r, z, n = gates[:, here]
            of_r, of_z, of_n = of_gates[:, here]
            of_left[here] = at_left[:count, place]
            d = carried[:count].add_(slope[here]).addmm_(of_left[here], w_leave)
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
            if place:
                of_s = torch.bmm(of_gates[:, here], hear).sum(0)
                row = joined[:count, place, since:place, None]
                at_left[:count, since:place].baddbmm_(row, of_s[:, None])
            high -= count
        at_state = (of_gates[0], of_gates[1], told)
        of_x = of_gates[0] @ inner[0] if ctx.needs_input_grad[0] else None
        if of_x is not None:
            of_x.addmm_(of_gates[1], inner[1]).addmm_(of_gates[2], inner[2])
        return (
            of_x,
            None,
            torch.cat([gate.T @ x for gate in of_gates]),
            torch.cat([gate.T @ before for gate in at_state]),
            of_gates.sum(1).view(-1),
            torch.cat([gate.sum(0) for gate in at_state]),
            torch.cat([gate.T @ sums for gate in of_gates]),
            of_left.T @ out,
            of_left.sum(0),
            None,
            None,
        )
