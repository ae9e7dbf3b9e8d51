r"""GraphRNN: a graph grows node by node, and each node's edges are drawn one after another.

Let x be a graph whose n nodes are in breadth-first order (`maths.bfs_orders`), and row i the edges
of node i to the nodes of its window, w_i = min(i - parent(i - 1), M) nodes, the oldest first:

    h_i       = node network(h_{i-1}, row i)                          h of the graph up to node i
    p(row i)  = prod_t p(x_{i,t} | x_{i,<t}, h_{i-1})                 edge network
    p(x)      = prod_{i=1..n-1} p(row i) · c_i      ·      p(row n = 0) (1 - c)

A row without an edge has nothing to hold on to: with probability c another component begins with
it, and otherwise the graph has ended and its size is n. At the limit N it ends for certain.
So p is a distribution over graphs in breadth-first order, of any number of components, and sums to
one; no size is taken from anywhere. Nodes older than the window have no edge to node i in any
breadth-first order, so that nothing is computed of what is decided; M is the data's
(`Domain.reach`), and an edge that is older than that has no probability.

A graph in a file has labels and no order. Labels put on by chance give

    p(G) = 1/n! sum_orders p(G in this order)
    ln p(G) >= E_{order ~ q(· | G)}[ln p(G in this order) - ln q(order | G)] - ln n!

with q the random breadth-first orders; k of them within the logarithm bound it more tightly.

What differs from the released code: an explicit window and an explicit beginning of components; a
row is drawn once; orders are drawn anew for each batch, with starts and children by chance.

References:
    | GraphRNN: Generating Realistic Graphs with Deep Auto-regressive Models (You, Ying, Ren,
      Hamilton & Leskovec, 2018), https://arxiv.org/abs/1802.08773
    | Order Matters: Probabilistic Modeling of Node Sequence for Graph Generation (Chen, Han, Hu,
      Ruiz & Liu, 2021), for the bound
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.graph import adjacency, reordered, sizes
from trilemma.core.model import Loss, Model, Objective
from trilemma.core.noise import Noise
from trilemma.families.graph_sampling_state import Growth, extremes, oldest
from trilemma.maths.bfs_orders import breadth_first, log_chance, parents

__all__ = ["GraphRnn", "Links", "Nodes"]

State = tuple[Tensor, ...]
BEGIN = 2
"""What the edge network is told before the first edge of a row; 0 and 1 are edges."""


class Nodes(Protocol):
    """The node network: `networks.graph_rnn.NodeRecurrence` or its like."""

    memory: int
    """E, numbers that a node leaves; 0: none."""

    def __call__(
        self, bits: Tensor, window: Tensor, joined: Tensor, counts: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Return h after each of many graphs' rows, packed, and what each node leaves."""
        ...

    def begin(self, rows: int) -> State:
        """Return the states before the first row."""
        ...

    def step(
        self, bits: Tensor, window: Tensor, heard: Tensor | None, state: State
    ) -> tuple[Tensor, Tensor | None, State]:
        """Return h after one more row, what its node leaves, and the states."""
        ...

    def component(self, h: Tensor) -> Tensor:
        """Return the logit of c."""
        ...


class Links(Protocol):
    """The edge network that goes along a row: `networks.graph_rnn.LinkRecurrence`."""

    hints: bool

    def __call__(
        self,
        h: Tensor,
        before: Tensor,
        itself: Tensor | None,
        standing: Tensor | None,
        left: Tensor | None,
        counts: Tensor,
    ) -> Tensor:
        """Return the logits of all edges of many rows, packed."""
        ...

    def draw(
        self,
        h: Tensor,
        window: Tensor,
        chances: Tensor,
        known: Tensor | None,
        standing: Tensor | None,
    ) -> Tensor:
        """Return the edges of each row over its window, drawn one after another."""
        ...

    def known(self, itself: Tensor | None, left: Tensor | None) -> Tensor | None:
        """Return what is told of candidates from the start of a row."""
        ...

    def codes(self, degree: Tensor, least: Tensor, most: Tensor) -> Tensor:
        """Return what is told of candidates themselves, [..., 2]."""
        ...

    def standing(self, joined: Tensor, shared: Tensor) -> Tensor:
        """Return what is told of candidates' standing to the parent; 0 for no parent."""
        ...


@dataclass(frozen=True)
class Rows:
    """All rows of a batch of graphs in breadth-first order, and the last one that ends each."""

    bits: UInt8[Tensor, "B N M"]
    """Edges of every node to its window, the oldest first, and zeros after the window."""
    window: Int[Tensor, "B N"]
    """w of every row, that of the row after the last node included."""
    parent: Int[Tensor, "B N"]
    size: Int[Tensor, " B"]
    lost: Int[Tensor, " B"]
    """Edges that are older than the window allows."""

    @classmethod
    def of(cls, x: UInt8[Tensor, "B N N"], reach: int) -> Rows:
        """Cut graphs in breadth-first order into rows."""
        max_nodes = x.shape[-1]
        positions = torch.arange(max_nodes, device=x.device)
        parent, size = parents(x), sizes(x)
        previous_parent = parent.roll(1, dims=1)
        previous_parent[:, 0] = 0
        window = (positions - previous_parent).clamp_max(reach) * (positions <= size[:, None])
        slot = torch.arange(min(reach, max(max_nodes - 1, 1)), device=x.device)
        older = positions[:, None] - window[..., None] + slot
        in_window = slot < window[..., None]
        bits = x.gather(2, torch.where(in_window, older, 0)) * in_window
        window_edges = bits.sum((1, 2), dtype=torch.int64)
        lost = adjacency(x).sum((1, 2), dtype=torch.int64) // 2 - window_edges
        return cls(F.pad(bits, (0, reach - bits.shape[-1])), window, parent, size, lost)


class GraphRnn(Model[Examples, Tensor]):
    """A recurrent model of graphs.

    Arguments:
        nodes: Carries the graph so far.
        links: Draws a row's edges: one after another, or a module h -> logits [R, M] that draws
            them independently.
        domain: Graphs of at most N nodes, and M.
    """

    likelihood_by = "exact"

    def __init__(self, nodes: nn.Module, links: nn.Module, domain: Domain) -> None:
        super().__init__()
        self.nodes, self.links, self.domain = nodes, links, domain
        self.limit, self.reach = domain.shape[-1], domain.reach
        self.is_chained = hasattr(links, "draw")

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the one player: nats of the graphs in random breadth-first orders."""
        return [Objective("graph", self._loss, list(self.parameters()))]

    def _loss(self, batch: Examples) -> Loss:
        assert batch.noise is not None
        y = self._ordered(batch.x, batch.noise.named("order"))
        links, ends = self._nats(y)
        nats = links + ends
        terms = {"nats": nats.mean().detach(), "ends": ends.mean().detach()}
        return Loss(nats.mean() / self.limit, terms)

    def _ordered(self, x: Tensor, noise: Noise) -> Tensor:
        return reordered(x, breadth_first(x, noise.uniform(x.shape[-1])))

    # Likelihood

    def ordered_log_prob(self, x: UInt8[Tensor, "B N N"]) -> Float[Tensor, " B"]:
        """Return ln p of graphs in the order in which their nodes lie; -inf where it is none."""
        links, ends = self._nats(x)
        never = Rows.of(x, self.reach).lost > 0  # so it is in every order but breadth-first ones
        return torch.where(never, -math.inf, -(links + ends).double())

    def bound(
        self, x: Tensor, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Float[Tensor, " B"]:
        """Return a lower bound of ln p of labelled graphs, by one random order each."""
        return self.importance_bound(x, 1, condition=condition, noise=noise)

    def importance_bound(
        self,
        x: Tensor,
        k: int,
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Float[Tensor, " B"]:
        """Return a lower bound of ln p of labelled graphs, by k random orders each."""
        noise = noise or Noise.fresh(len(x), x.device)
        log_weights = []
        for _ in range(k):
            y = self._ordered(x, noise)
            log_weights.append(self.ordered_log_prob(y) - log_chance(y))
        log_factorial = torch.lgamma(sizes(x).double() + 1)
        return torch.stack(log_weights).logsumexp(0) - math.log(k) - log_factorial

    def _nats(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return -ln p of the edges and of the ends of graphs in breadth-first order, [B] each."""
        rows = Rows.of(y, self.reach)
        h, node_memory = self._states(y, rows)
        graph, node = self._rows(rows)
        state = h[graph, node - 1]
        if self.is_chained:
            row_nats = self._chained(y, rows, graph, node, state, node_memory)
        else:
            logits = self.links(state)
            bits = rows.bits[graph, node].to(logits.dtype)
            cost = F.binary_cross_entropy_with_logits(logits, bits, reduction="none")
            slot = torch.arange(self.reach, device=y.device)
            row_nats = (cost * (slot < rows.window[graph, node, None])).sum(1)
        empty = ~rows.bits[graph, node].bool().any(1)
        continues = (node < rows.size[graph]).to(state.dtype)
        end = F.binary_cross_entropy_with_logits(
            cast(Nodes, self.nodes).component(state), continues, reduction="none"
        )
        zeros = row_nats.new_zeros(len(y))
        return (
            zeros.index_add(0, graph, row_nats),
            zeros.index_add(0, graph, (end * empty).to(row_nats.dtype)),
        )

    def _states(self, y: Tensor, rows: Rows) -> tuple[Float[Tensor, "B N H"], Tensor | None]:
        """Return h after every node, zeros where there is none, and what every node leaves."""
        order = rows.size.argsort(descending=True, stable=True)
        steps = torch.arange(rows.bits.shape[1], device=order.device)
        is_present = steps[:, None] < rows.size[order]
        step, sequence = is_present.nonzero(as_tuple=True)
        counts = is_present.sum(1)
        counts, graph = counts[counts > 0].cpu(), order[sequence]
        bits, window = rows.bits[graph, step], rows.window[graph, step]
        h, node_memory = self.nodes(bits, window, adjacency(y)[order], counts)
        out = h.new_zeros(*rows.window.shape, h.shape[-1]).index_put((graph, step), h)
        return out, None if node_memory is None else node_memory[order.argsort()]

    def _rows(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Return graph and place of all rows after the first node's, the widest window first."""
        positions = torch.arange(rows.window.shape[1], device=rows.window.device)
        is_row = (positions > 0) & (positions <= rows.size[:, None])
        graph, node = is_row.nonzero(as_tuple=True)
        widest = rows.window[graph, node].argsort(descending=True, stable=True)
        return graph[widest], node[widest]

    def _chained(
        self,
        y: Tensor,
        rows: Rows,
        which: Tensor,
        place: Tensor,
        state: Tensor,
        left: Tensor | None,
    ) -> Tensor:
        """Return -ln p of rows whose edges come one after another."""
        links = cast(Links, self.links)
        window = rows.window[which, place]
        slot = torch.arange(int(window.max()) if len(window) else 0, device=y.device)
        valid_mask = slot[:, None] < window
        step, row = valid_mask.nonzero(as_tuple=True)
        bits = rows.bits[which, place]
        edge = bits[row, step]
        previous_edge = torch.where(step > 0, bits[row, (step - 1).clamp_min(0)], BEGIN).long()
        itself = standing = None
        which, place = which[row], place[row]
        if links.hints:
            itself, standing = self._hints(y, rows, which, place, step)
        if left is not None:
            left = left[which, place - window[row] + step]
        logits = links(state, previous_edge, itself, standing, left, valid_mask.sum(1).cpu())
        cost = F.binary_cross_entropy_with_logits(logits, edge.to(logits.dtype), reduction="none")
        return cost.new_zeros(len(state)).index_add(0, row, cost)

    def _hints(
        self, y: Tensor, rows: Rows, which: Tensor, place: Tensor, step: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the codes of every cell's candidate, as far as the graph is known by then."""
        edges = adjacency(y)
        older = place - rows.window[which, place] + step
        degrees = edges.cumsum(2, dtype=torch.int16)
        degree = degrees[which, older, place - 1].long()
        oldest_neighbours = oldest(edges)[which, older]
        neighbour_degrees = degrees[
            which[:, None], oldest_neighbours.clamp_min(0), (place - 1)[:, None]
        ].long()
        parent, positions = rows.parent, torch.arange(y.shape[-1], device=y.device)
        parent_neighbours = edges.gather(1, parent[..., None].expand_as(edges)) * (
            positions < positions[:, None]
        )
        shared = torch.bmm(parent_neighbours.float(), edges.float())[which, place, older].long()
        first = parent[which, place]
        parent_edge = edges[which, first, older].long()
        links = cast(Links, self.links)
        itself = links.codes(degree, *extremes(neighbour_degrees, oldest_neighbours))
        standing = links.standing(parent_edge, shared)
        return itself, torch.where((older > first) & (first < place), standing, 0)

    # Drawing

    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Draw n graphs, [n, N, N]; the nodes lie in the order in which they came."""
        noise = noise or Noise.fresh(n, next(self.parameters()).device)
        return self._grown(noise, None)

    def complete(
        self,
        x: Tensor,
        known: Tensor,
        *,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Tensor:
        """Let given graphs grow further: nodes and edges are added, none among those given.

        Arguments:
            x: The given graphs, [B, N, N]; each is taken in a random breadth-first order.
            known: [B, N, N], true between the nodes that are given: the first ones.
            condition: Not read.
            noise: B rows.

        Raises:
            BadInput: A given graph is empty, what is known are not its first nodes, or an order
                reaches further back than M.
        """
        noise = noise or Noise.fresh(len(x), x.device)
        partial_graphs = (x * known.to(x.dtype)).to(torch.uint8)
        count = sizes(partial_graphs)
        if bool((count == 0).any()):
            raise BadInput("the given graph has no nodes; give a graph to be completed.")
        order = breadth_first(partial_graphs, noise.named("order").uniform(x.shape[-1]))
        ordered = reordered(partial_graphs, order)
        if bool((Rows.of(ordered, self.reach).lost > 0).any()):
            raise BadInput(
                f"the given graph joins nodes that are more than {self.reach} places apart in "
                "breadth-first order, which no graph of the training data does; give another."
            )
        inverse_order = torch.where(
            torch.arange(x.shape[-1], device=x.device) < count[:, None], order.argsort(1), order
        )
        return reordered(self._grown(noise, ordered), inverse_order)

    def path(
        self,
        n: int,
        *,
        frames: int,
        condition: Condition | None = None,
        noise: Noise | None = None,
    ) -> Sequence[Tensor]:
        """Return about `frames` states of n graphs on their way from one node to all of them."""
        x = self.sample(n, noise=noise)
        max_nodes, positions = int(sizes(x).max()), torch.arange(self.limit, device=x.device)
        states = []
        for count in sorted({max(1, round(max_nodes * (f + 1) / frames)) for f in range(frames)}):
            node_mask = (positions < count).to(x.dtype)
            states.append(x * node_mask * node_mask[:, None])
        return states

    def _grown(self, noise: Noise, given: Tensor | None) -> Tensor:
        nodes, links = cast(Nodes, self.nodes), cast(Links, self.links)
        growth = Growth(len(noise), self.limit, self.reach, nodes.memory, next(self.parameters()))
        state = nodes.begin(len(noise))
        forced = None if given is None else Rows.of(given, self.reach)
        for node in range(1, self.limit):
            h, node_memory, state = nodes.step(growth.bits, growth.window, growth.heard, state)
            u = noise.uniform(self.reach + 1)[growth.live]
            starts_component = u[:, -1] < nodes.component(h).float().sigmoid()
            growth.open(node, node_memory)
            if self.is_chained:
                bits = self._drawn(links, growth, h, u[:, :-1])
            else:
                in_window = growth.slots < growth.window[:, None]
                bits = (u[:, :-1] < self.links(h).float().sigmoid()) & in_window
            if forced is not None:
                is_forced = node < forced.size[growth.live]
                bits = torch.where(
                    is_forced[:, None], forced.bits[growth.live, node].bool(), bits.bool()
                )
                starts_component = starts_component | is_forced
            survivors = growth.close(bits.to(torch.uint8), starts_component)
            if survivors is not None:
                state = tuple(layer[survivors] for layer in state)
            if not len(growth.live):
                break
        return growth.x

    def _drawn(self, links: Links, growth: Growth, h: Tensor, chances: Tensor) -> Tensor:
        """Draw rows edge by edge."""
        widest = int(growth.window.max())
        older = growth.older(widest)
        itself = standing = node_memory = None
        if links.hints:
            itself, standing = growth.hints(links, older)
        if growth.left is not None:
            node_memory = growth.left[growth.live[:, None], older]
        return links.draw(h, growth.window, chances, links.known(itself, node_memory), standing)
