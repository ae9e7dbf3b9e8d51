r"""An environment in which graphs are built: many at once, as tensors, impossible actions masked.

A state is a graph and, perhaps, its current node. With N places for nodes there are 2 N + 2
actions:

    0 … N - 1      join the current node to node j
    N … 2 N - 1    growing: add a node joined to node j, which becomes the current one
                   otherwise: make node j the current one
    2 N            growing: add a node joined to none, which becomes the current one
    2 N + 1        stop

A graph that grows begins with one node and ends by stopping, or when its actions are spent. One
that does not gets `budget` edges: a node is made current and joined to another, again and again,
until the budget is spent or no pair is open; it never stops of itself. What cannot be done is
masked: joins to oneself, to a neighbour, to a node that is not there; a node beyond N; making a
node current that is joined to all. So no state leaves simple graphs.

References:
    | Graph Convolutional Policy Network for Goal-Directed Molecular Graph Generation (You, Liu,
      Ying, Pande & Leskovec, 2018), for building by actions
    | Goal-directed graph construction using reinforcement learning (Darvariu, Hailes & Musolesi,
      2021), arXiv:2001.11279, for edges in two actions
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

__all__ = ["GraphState", "action_mask", "expert_action", "reset", "reset_from", "step"]


@dataclass(frozen=True)
class GraphState:
    """Graphs that are being built."""

    x: UInt8[Tensor, "B N N"]
    """Graphs (a diagonal of ones for the nodes that are there)."""
    current_node: Int[Tensor, " B"]
    """-1 for none."""
    remaining: Int[Tensor, " B"]
    """Growing: actions that are left; else edges that are left."""
    done: Bool[Tensor, " B"]

    def __len__(self) -> int:
        """Return the number of graphs."""
        return len(self.x)

    def rows(self, rows: Tensor) -> GraphState:
        """Take some of the graphs."""
        return GraphState(
            self.x[rows], self.current_node[rows], self.remaining[rows], self.done[rows]
        )


def reset(count: int, limit: int, steps: int, device: torch.device | str = "cpu") -> GraphState:
    """Begin graphs that grow: one node each, the current one.

    Arguments:
        count: B.
        limit: N.
        steps: Actions that each has, the last of which can only stop.
        device: Where.
    """
    x = torch.zeros(count, limit, limit, dtype=torch.uint8, device=device)
    x[:, 0, 0] = 1
    remaining = torch.full((count,), steps, device=device)
    return GraphState(
        x, torch.zeros_like(remaining), remaining, torch.zeros_like(remaining, dtype=torch.bool)
    )


def reset_from(x: UInt8[Tensor, "B N N"], budget: Int[Tensor, " B"]) -> GraphState:
    """Begin with given graphs, each of which gets so many edges."""
    current_node = torch.full_like(budget, -1)
    state = GraphState(x.clone(), current_node, budget.clone(), budget < 1)
    return replace(state, done=state.done | ~_open(state).any(1))


def _open(state: GraphState) -> Bool[Tensor, "B N"]:
    """Tell which nodes are there and not joined to all others."""
    node_mask = state.x.diagonal(dim1=1, dim2=2).bool()
    return node_mask & (state.x.sum(2, dtype=torch.int64) < node_mask.sum(1, keepdim=True))


def action_mask(state: GraphState, grows: bool) -> Bool[Tensor, "B A"]:
    """Tell which actions are possible, A = 2 N + 2; a graph that is done may only stop.

    >>> mask = action_mask(reset(1, 2, 9), grows=True)[0]
    >>> [i for i, can in enumerate(mask.tolist()) if can]  # a joined node, one alone, stop
    [2, 4, 5]
    """
    batch, max_nodes = state.x.shape[:2]
    rows = torch.arange(batch, device=state.x.device)
    node_mask = state.x.diagonal(dim1=1, dim2=2).bool()
    has_current = state.current_node >= 0
    join = (
        node_mask & ~state.x[rows, state.current_node.clamp_min(0)].bool() & has_current[:, None]
    )
    mask = torch.zeros(batch, 2 * max_nodes + 2, dtype=torch.bool, device=state.x.device)
    if grows:
        can_grow = (node_mask.sum(1) < max_nodes) & (state.remaining > 1)
        mask[:, :max_nodes] = join & (state.remaining > 1)[:, None]
        mask[:, max_nodes : 2 * max_nodes] = node_mask & can_grow[:, None]
        mask[:, 2 * max_nodes] = can_grow
        mask[:, 2 * max_nodes + 1] = True
    else:
        mask[:, :max_nodes] = join
        mask[:, max_nodes : 2 * max_nodes] = _open(state) & ~has_current[:, None]
    mask &= ~state.done[:, None]
    mask[:, 2 * max_nodes + 1] |= state.done
    return mask


def step(state: GraphState, action: Int[Tensor, " B"], grows: bool) -> GraphState:
    """Return the states after an action each, which must be possible."""
    max_nodes = state.x.shape[1]
    x, current_node = state.x.clone(), state.current_node.clone()
    size = x.diagonal(dim1=1, dim2=2).sum(1, dtype=torch.int64)
    joins = action < max_nodes
    takes = (action >= max_nodes) & (action < 2 * max_nodes)
    adds_isolated = action == 2 * max_nodes
    target_node = action % max_nodes
    if grows:
        current_node = torch.where(takes | adds_isolated, size, current_node)
        grown_rows = (takes | adds_isolated).nonzero()[:, 0]
        x[grown_rows, size[grown_rows], size[grown_rows]] = 1
        edge_rows = (joins | takes).nonzero()[:, 0]
    else:
        edge_rows = joins.nonzero()[:, 0]
    x[edge_rows, current_node[edge_rows], target_node[edge_rows]] = 1
    x[edge_rows, target_node[edge_rows], current_node[edge_rows]] = 1
    if grows:
        remaining = state.remaining - (~state.done).long()
        is_done = state.done | (action == 2 * max_nodes + 1) | (remaining < 1)
        return GraphState(x, current_node, remaining, is_done)
    current_node = torch.where(takes, target_node, torch.where(joins, -1, current_node))
    after = GraphState(x, current_node, state.remaining - joins.long(), state.done)
    spent = (after.remaining < 1) | ~_open(after).any(1)
    return replace(after, done=state.done | (joins & spent))


def expert_action(
    x: UInt8[Tensor, "B N N"], parent: Int[Tensor, "B N"], u: Float[Tensor, " B"]
) -> tuple[GraphState, Int[Tensor, " B"]]:
    """Stop the building of given graphs at a random action, and say what the action is.

    Node after node of a breadth-first order comes with its edges, the oldest first.

    Arguments:
        x: Graphs in breadth-first order.
        parent: First of the nodes before each that it is joined to; itself for none.
        u: Uniform numbers that choose the action.

    Returns:
        The states before the actions, and the actions.
    """
    batch, max_nodes = x.shape[:2]
    positions = torch.arange(max_nodes, device=x.device)
    n = x.diagonal(dim1=1, dim2=2).sum(1, dtype=torch.int64)
    lower = x.bool() & (positions < positions[:, None])
    edges = lower.sum(2, dtype=torch.int64)
    # As many actions as a node has earlier edges, one if it has none; the last action stops.
    actions = edges.clamp_min(1) * ((positions > 0) & (positions < n[:, None]))
    total = actions.sum(1) + 1
    chosen = (u.double() * total).long().clamp_max(total - 1)
    after = actions.cumsum(1)
    node = (after <= chosen[:, None]).sum(1)  # whose action it is; n for the stop
    node = torch.where(chosen == total - 1, n, node)
    rows = torch.arange(batch, device=x.device)
    clamped_node = node.clamp_max(max_nodes - 1)
    first_at = torch.where(clamped_node > 0, after[rows, (clamped_node - 1).clamp_min(0)], 0)
    which = torch.where(node < n, chosen - first_at, 0)
    rank = lower[rows, clamped_node].cumsum(1)
    target_node = (lower[rows, clamped_node] & (rank == which[:, None] + 1)).long().argmax(1)
    node_mask = positions < node[:, None]
    partial = x * node_mask[:, :, None] * node_mask[:, None]
    is_partial = (which > 0) & (node < n)
    row = (lower[rows, clamped_node] & (rank <= which[:, None]) & is_partial[:, None]).to(
        torch.uint8
    )
    partial_rows = is_partial.nonzero()[:, 0]
    partial[partial_rows, clamped_node[partial_rows]] = row[partial_rows]
    partial[partial_rows, :, clamped_node[partial_rows]] = row[partial_rows]
    partial[partial_rows, clamped_node[partial_rows], clamped_node[partial_rows]] = 1
    is_root = (parent[rows, clamped_node] == clamped_node) & (node < n)
    action = torch.where(is_partial, target_node, max_nodes + target_node)
    action = torch.where(is_root, 2 * max_nodes, action)
    action = torch.where(node >= n, 2 * max_nodes + 1, action)
    current_node = torch.where(is_partial, clamped_node, node - 1)
    remaining = torch.full_like(current_node, max_nodes * max_nodes)
    is_done = torch.zeros_like(current_node, dtype=torch.bool)
    return GraphState(partial, current_node, remaining, is_done), action
