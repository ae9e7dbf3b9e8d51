"""GraphRNN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Model
from trilemma.families.graph_rnn import GraphRnn
from trilemma.networks.graph_rnn import IndependentLinks, LinkRecurrence, NodeRecurrence
from trilemma.recipes.recipe import Recipe

__all__ = ["GraphRecurrent"]


@dataclass(frozen=True, kw_only=True)
class GraphRecurrent(Recipe):
    """Trains a recurrent network that adds one node after another, with its edges."""

    name: ClassVar[str] = "graphrnn"
    family: ClassVar[str] = "graph rnn"
    reference: ClassVar[str] = (
        "GraphRNN: Generating Realistic Graphs with Deep Auto-regressive Models, You, Ying, Ren, "
        "Hamilton & Leskovec, 2018, arXiv:1802.08773"
    )
    kinds: ClassVar[tuple[str, ...]] = ("graph",)
    bf16: ClassVar[bool] = False

    batch: int = 8
    """Graphs an update, over all devices and accumulated parts together."""
    lr: float = 3e-3
    """Peak learning rate of AdamW."""

    edges: Literal["rnn", "independent"] = "rnn"
    """Edges of a node one after another by a second RNN, or independently (GraphRNN-S)."""
    hints: bool = True
    """Whether the edge RNN is given candidates' degrees and their ties to the node's parent."""
    memory: int = 16
    """Numbers that a node leaves for its neighbours and the edge RNN; 0: none, as in the paper."""
    width: int = 64
    """Numbers of a row's embedding."""
    hidden: int = 128
    """Numbers of the node RNN's state."""
    layers: int = 2
    """Layers of the node RNN."""
    edge_width: int = 16
    """Numbers of an edge's embedding."""
    edge_hidden: int = 32
    """Numbers of the edge RNN's state, or twice that in its perceptron (independent)."""
    edge_layers: int = 2
    """Layers of the edge RNN."""

    def model(self, domain: Domain) -> Model:
        """Build the untrained model.

        Raises:
            BadInput: No graph of the data has an edge, or a size is below 1.
        """
        if domain.reach < 1:
            raise BadInput(
                "no training graph has an edge, so there is nothing to be learnt; give graphs "
                "with edges."
            )
        for name in ("width", "hidden", "layers", "edge_width", "edge_hidden", "edge_layers"):
            if getattr(self, name) < 1:
                raise BadInput(f"--{name.replace('_', '-')} takes 1 or more.")
        if self.memory < 0:
            raise BadInput("--memory takes 0 or more.")
        nodes = NodeRecurrence(
            domain.reach,
            width=self.width,
            hidden=self.hidden,
            layers=self.layers,
            memory=self.memory,
        )
        return GraphRnn(nodes, self._links(domain), domain)

    def _links(self, domain: Domain) -> nn.Module:
        if self.edges == "independent":
            return IndependentLinks(self.hidden, domain.reach, width=2 * self.edge_hidden)
        return LinkRecurrence(
            self.hidden,
            width=self.edge_width,
            hidden=self.edge_hidden,
            layers=self.edge_layers,
            hints=self.hints,
            memory=self.memory,
        )
