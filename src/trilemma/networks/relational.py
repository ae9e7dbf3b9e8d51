r"""Relational networks over molecules: messages by the kind of bond, and the four heads of GCPN.

With A_b[i, j] = 1 where atoms i and j share a bond of order b, and h a vector an atom,

    m_i^b = sum_j A_b[i, j] h_j,       g = mean of h over the atoms that are there
    h_i <- h_i + W_2 relu(norm(W_1 [h_i, m_i^1, m_i^2, m_i^3, g]))

and with z = [mean, largest, sum / 20] of h over the atoms of a molecule, since what is sought may
be a sum over atoms, such as logP or the weight, the heads are

    stop           MLP(z)
    first_i        MLP([h_i, z])
    second_j       MLP([h_j, h_first, z]);  of a new atom of element k: MLP([h_first, z])_k
    bond_b         MLP([h_first, h_second or e_k, z])_b,   e_k a vector of element k
    value          MLP(z)

Each is about what those before it have chosen. All molecules of a batch are computed together,
padded; atoms that are not there are zero and say nothing. Put the atoms in another order, and the
logits of atoms go with them, and all others stay.

References:
    | Modeling Relational Data with Graph Convolutional Networks (Schlichtkrull, Kipf, Bloem, van
      den Berg, Titov & Welling, 2018)
    | Graph Convolutional Policy Network for Goal-Directed Molecular Graph Generation (You et al.,
      2018), arXiv:1806.02473, equations 4 to 7
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from trilemma.core.molecule import BOND_ORDERS, atoms, present

__all__ = ["MoleculeCritic", "MoleculeHeads", "RelationalEmbedding", "atom_features"]

FREE, DEGREES = 5, 5
"""Bonds that an atom can still make, and neighbours, that are told apart; above: the last."""


def atom_features(
    x: UInt8[Tensor, "B N N"],
    free: Int[Tensor, "B N"],
    latest: Int[Tensor, " B"] | None,
    elements: int,
) -> Float[Tensor, "B N F"]:
    """Return what is known of every atom: element, bonds it has and can make, and the size.

    Arguments:
        x: Molecules.
        free: Bonds that each atom can still make.
        latest: The atom that was added last, where that is known.
        elements: K.
    """
    codes = atoms(x)
    atom_mask = codes > 0
    positions = torch.arange(x.shape[1], device=x.device)
    degree = (x > 0).sum(2) - atom_mask.long()
    size = atom_mask.sum(1, keepdim=True)
    is_latest = torch.zeros_like(atom_mask) if latest is None else positions == latest[:, None]
    features = torch.cat(
        [
            F.one_hot(codes.long(), elements + 1)[..., 1:],
            F.one_hot(free.clamp(0, FREE - 1), FREE),
            F.one_hot(degree.clamp(0, DEGREES - 1), DEGREES),
            is_latest[..., None],
        ],
        2,
    ).float()
    scale = (size.float() / 20)[:, :, None].expand(-1, x.shape[1], -1)
    return torch.cat([features, scale], 2) * atom_mask[..., None]


def feature_count(elements: int) -> int:
    """Return F of `atom_features`."""
    return elements + FREE + DEGREES + 2


class RelationalEmbedding(nn.Module):
    """Embeds atoms.

    Arguments:
        inputs: Numbers of an atom.
        width: H.
        layers: Rounds of messages.
    """

    def __init__(self, inputs: int, width: int, layers: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.message = nn.ModuleList(
            nn.Linear((2 + BOND_ORDERS) * width, width) for _ in range(layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.update = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))

    def forward(
        self, x: UInt8[Tensor, "B N N"], features: Float[Tensor, "B N F"]
    ) -> Float[Tensor, "B N H"]:
        """Return an embedding of each atom, zero for those that are not there."""
        padded_size = x.shape[1]
        atom_indices = present(x).flatten().nonzero()[:, 0]
        off_diagonal = ~torch.eye(padded_size, dtype=torch.bool, device=x.device)
        orders = torch.arange(1, BOND_ORDERS + 1, device=x.device)[:, None, None]
        bonded = ((x[:, None] == orders) & off_diagonal).to(features.dtype).flatten(1, 2)
        share = present(x).to(features.dtype)
        share = share / share.sum(1, keepdim=True).clamp_min(1)
        # Layers see the atoms that are there: on the way to a molecule half of the places are not.
        h = self.enter(features.flatten(0, 1).index_select(0, atom_indices))
        for message, norm, update in zip(self.message, self.norms, self.update, strict=True):
            padded_h = _spread(h, atom_indices, x)
            neighbour_sums = (bonded.to(h.dtype) @ padded_h).unflatten(
                1, (BOND_ORDERS, padded_size)
            )
            neighbour_sums = (
                neighbour_sums.transpose(1, 2)
                .flatten(2)
                .flatten(0, 1)
                .index_select(0, atom_indices)
            )
            mean = (share[:, None].to(h.dtype) @ padded_h)[:, 0].index_select(
                0, atom_indices // padded_size
            )
            new = message(torch.cat([h, neighbour_sums.to(h.dtype), mean.to(h.dtype)], 1))
            h = h + update(norm(new).relu())
        return _spread(h, atom_indices, x)


def _spread(
    h: Float[Tensor, "A H"], atom_indices: Int[Tensor, " A"], x: UInt8[Tensor, "B N N"]
) -> Float[Tensor, "B N H"]:
    """Scatter rows of present atoms to their positions, zeros in the others."""
    batch, padded_size = x.shape[:2]
    padded_h = h.new_zeros(batch * padded_size, h.shape[1]).index_copy(0, atom_indices, h)
    return padded_h.unflatten(0, (batch, padded_size))


def pooled(h: Float[Tensor, "B N H"], x: UInt8[Tensor, "B N N"]) -> Float[Tensor, "B 3H"]:
    """Return mean, largest and sum over twenty of a molecule's embeddings."""
    atom_mask = present(x)
    total = h.sum(1)
    mean = total / atom_mask.sum(1, keepdim=True).clamp_min(1)
    largest = torch.where(atom_mask[..., None], h, -torch.inf).amax(1)
    return torch.cat([mean, largest, total / 20], 1)


class MoleculeHeads(nn.Module):
    """Gives the four parts of an action their logits, and every state a value.

    Arguments:
        elements: K.
        width: H.
        layers: Rounds of messages.
        valued: Whether states have a value; without, it is zero.
    """

    def __init__(
        self, *, elements: int, width: int = 64, layers: int = 4, valued: bool = True
    ) -> None:
        super().__init__()
        self.elements = elements
        self.embedding = RelationalEmbedding(feature_count(elements), width, layers)
        self.stop_head = _perceptron(3 * width, width, 2)
        self.first_head = _perceptron(4 * width, width, 1)
        self.second_head = _perceptron(5 * width, width, 1)
        self.new_head = _perceptron(4 * width, width, elements)
        self.bond_head = _perceptron(5 * width, width, BOND_ORDERS)
        self.element = nn.Embedding(elements, width)
        self.value_head = _perceptron(3 * width, width, 1) if valued else None

    def forward(
        self, x: UInt8[Tensor, "B N N"], free: Int[Tensor, "B N"], latest: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B N H"], Float[Tensor, "B 3H"]]:
        """Return embeddings of atoms, and of whole molecules."""
        h = self.embedding(x, atom_features(x, free, latest, self.elements))
        return h, pooled(h, x).to(h.dtype)

    def stop(self, z: Float[Tensor, "B 3H"]) -> Float[Tensor, "B 2"]:
        """Return logits of going on and of stopping."""
        return self.stop_head(z).float()

    def first(self, h: Float[Tensor, "B N H"], z: Float[Tensor, "B 3H"]) -> Float[Tensor, "B N"]:
        """Return the logit of each atom to be the first."""
        return _of_atoms(self.first_head, h, z)

    def second(
        self,
        h: Float[Tensor, "B N H"],
        z: Float[Tensor, "B 3H"],
        first: Int[Tensor, " B"],
    ) -> Float[Tensor, "B M"]:
        """Return the logit of each atom, and of each element of a new one: M = N + K."""
        first_embedding = _select_atom(h, first)
        context = torch.cat([first_embedding, z], 1)
        atom_logits = _of_atoms(self.second_head, h, context)
        return torch.cat([atom_logits, self.new_head(context).float()], 1)

    def bond(
        self,
        h: Float[Tensor, "B N H"],
        z: Float[Tensor, "B 3H"],
        first: Int[Tensor, " B"],
        second: Int[Tensor, " B"],
    ) -> Float[Tensor, "B 3"]:
        """Return the logit of each order of the bond.

        Arguments:
            h: Embeddings of atoms.
            z: Of whole molecules.
            first: An atom.
            second: Another; -k for a new one of the k-th element.
        """
        element_embedding = self.element((-second - 1).clamp_min(0)).to(h.dtype)
        second_embedding = torch.where(
            (second < 0)[:, None], element_embedding, _select_atom(h, second.clamp_min(0))
        )
        return self.bond_head(torch.cat([_select_atom(h, first), second_embedding, z], 1)).float()

    def value(self, z: Float[Tensor, "B 3H"]) -> Float[Tensor, " B"]:
        """Return what is expected to be gained from here."""
        if self.value_head is None:
            return torch.zeros(len(z), device=z.device)
        return self.value_head(z)[:, 0].float()


class MoleculeCritic(nn.Module):
    """Tells how real a whole molecule looks.

    Arguments:
        elements: K.
        width: H.
        layers: Rounds of messages.
    """

    def __init__(self, *, elements: int, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        self.elements = elements
        self.embedding = RelationalEmbedding(feature_count(elements), width, layers)
        self.score = _perceptron(3 * width, width, 1)

    def forward(self, x: UInt8[Tensor, "B N N"], free: Int[Tensor, "B N"]) -> Float[Tensor, " B"]:
        """Return a logit of each molecule, higher where it looks more real."""
        h = self.embedding(x, atom_features(x, free, None, self.elements))
        return self.score(pooled(h, x).to(h.dtype))[:, 0].float()


def _of_atoms(
    head: nn.Sequential, h: Float[Tensor, "B N H"], wide: Float[Tensor, "B G"]
) -> Float[Tensor, "B N"]:
    """Return head([h_i, wide]) of each atom.

    The first layer is applied to the atom and to what is wide apart, and their sum is taken, so
    that what is the same for all atoms of a molecule is multiplied once.
    """
    first, activation, last = head
    assert isinstance(first, nn.Linear)
    width = h.shape[2]
    atom_term = F.linear(h, first.weight[:, :width])
    context_term = F.linear(wide, first.weight[:, width:], first.bias)
    return last(activation(atom_term + context_term[:, None]))[..., 0].float()


def _select_atom(h: Float[Tensor, "B N H"], at: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
    return h[torch.arange(len(h), device=h.device), at]


def _perceptron(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, outputs))
