r"""An environment in which molecules are built: hundreds at once, as tensors, valence kept.

A `MoleculeState` is molecules (`core.molecule`), each with the bonds that every atom can still
make, and with the atom that was added last. An action has four parts, each chosen given those
before it:

    stop     end here, or go on
    first    an atom that can make another bond
    second   another atom that can, and is not bonded to the first: a ring is closed;
             or a new atom of the k-th element: the molecule grows
    bond     its order, single, double or triple, as both can still make

and is a row of integers (stop, first, second, bond), second >= 0 an atom and -k a new one of the
k-th element, bond 1 … 3. What breaks a valence is not allowed, so that every state is a valid
molecule. An episode ends by stopping, when its steps are spent, or when no bond can be made.

    A law of it (`laws.gcpn`): of all sequences of actions no state breaks a valence.

References:
    | Graph Convolutional Policy Network for Goal-Directed Molecular Graph Generation (You, Liu,
      Ying, Pande & Leskovec, 2018), arXiv:1806.02473, sections 3.1 and 3.2
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

__all__ = ["MoleculeEnvironment", "MoleculeState", "expert_action"]


@dataclass(frozen=True)
class MoleculeState:
    """Molecules that are being built."""

    x: UInt8[Tensor, "B N N"]
    """Elements on the diagonal, orders of bonds beside it."""
    free: Int[Tensor, "B N"]
    """Bonds that each atom can still make; 0 where there is none."""
    size: Int[Tensor, " B"]
    latest: Int[Tensor, " B"]
    """The atom that was added last."""
    remaining: Int[Tensor, " B"]
    """Steps that are left."""
    done: Bool[Tensor, " B"]

    def __len__(self) -> int:
        """Return the number of molecules."""
        return len(self.x)

    def __getitem__(self, rows: Tensor | slice) -> MoleculeState:
        """Take some of the molecules, by numbers or a slice."""

        def some(each: Tensor) -> Tensor:
            # Whole rows are copied at once this way.
            return each[rows] if isinstance(rows, slice) else each.index_select(0, rows)

        return MoleculeState(
            some(self.x),
            some(self.free),
            some(self.size),
            some(self.latest),
            some(self.remaining),
            some(self.done),
        )


@dataclass(frozen=True)
class MoleculeEnvironment:
    """The rules by which molecules are built.

    Arguments:
        valence: Of each code: 0, then those of the elements, [K + 1].
        most: Atoms that a molecule may have, at most N.
        steps: Actions of an episode, at most.
    """

    valence: Int[Tensor, " K"]
    most: int
    steps: int

    @property
    def elements(self) -> int:
        """Return K, how many elements there are."""
        return len(self.valence) - 1

    def reset(self, count: int, limit: int, code: int = 1) -> MoleculeState:
        """Begin with single atoms.

        Arguments:
            count: B.
            limit: N, rows of the matrices.
            code: The element; the first one is carbon.
        """
        x = torch.zeros(count, limit, limit, dtype=torch.uint8, device=self.valence.device)
        x[:, 0, 0] = code
        return self.reset_from(x)

    def reset_from(self, x: UInt8[Tensor, "B N N"]) -> MoleculeState:
        """Begin with given molecules, to which bonds and atoms are added."""
        codes = x.diagonal(dim1=1, dim2=2).long()
        free = self.valence.to(x.device)[codes] - (x.sum(2, dtype=torch.int64) - codes)
        size = (codes > 0).sum(1)
        steps = torch.full_like(size, self.steps)
        return MoleculeState(x, free, size, (size - 1).clamp_min(0), steps, size < 1)

    def stop_mask(
        self, state: MoleculeState, first: Bool[Tensor, "B N"] | None = None
    ) -> Bool[Tensor, "B 2"]:
        """Tell whether a molecule may go on, and whether it may stop, which it always may.

        Arguments:
            state: Where the molecules stand.
            first: `first_mask` of them, where it is known.
        """
        can = self.first_mask(state) if first is None else first
        go = can.any(1) & (state.remaining > 1) & ~state.done
        return torch.stack([go, torch.ones_like(go)], 1)

    def first_mask(self, state: MoleculeState) -> Bool[Tensor, "B N"]:
        """Tell which atoms can make another bond, with one that is there or with a new one."""
        can = state.free > 0
        full = state.size >= self.most
        if not bool(full.any()):
            return can
        # A ring can be closed between two open atoms alone, which are few.
        row, atom = (can & full[:, None]).nonzero().unbind(1)
        partner = (state.x[row, atom] == 0) & can[row]
        can = can.clone()
        can[row, atom] = partner.any(1)
        return can

    def second_mask(
        self, state: MoleculeState, first: Int[Tensor, " B"]
    ) -> tuple[Bool[Tensor, "B N"], Bool[Tensor, "B K"]]:
        """Tell which atoms the first may be bonded to, and which new elements.

        Arguments:
            state: Where the molecules stand.
            first: An atom that can make another bond, of each.
        """
        rows = torch.arange(len(first), device=first.device)
        # x[first, first] is its element, so that it is no partner of itself.
        atom_mask = (state.x[rows, first] == 0) & (state.free > 0)
        can_grow = (state.size < self.most) & (state.free[rows, first] > 0)
        return atom_mask, can_grow[:, None].expand(-1, self.elements)

    def bond_mask(
        self, state: MoleculeState, first: Int[Tensor, " B"], second: Int[Tensor, " B"]
    ) -> Bool[Tensor, "B 3"]:
        """Tell which orders the bond may have."""
        rows = torch.arange(len(first), device=first.device)
        first_free = state.free[rows, first]
        second_free = state.free[rows, second.clamp_min(0)]
        new_valence = self.valence.to(second.device)[(-second).clamp_min(0)]
        least = torch.minimum(first_free, torch.where(second < 0, new_valence, second_free))
        return torch.arange(1, 4, device=first.device) <= least[:, None]

    def step(self, state: MoleculeState, action: Int[Tensor, "B 4"]) -> MoleculeState:
        """Return the states after an action each, which must be allowed."""
        stop, first, second, bond = action.unbind(1)
        acts = (stop == 0) & ~state.done
        grows = acts & (second < 0)
        x, free = state.x.clone(), state.free.clone()
        grown_rows = grows.nonzero()[:, 0]
        new_atom, code = state.size[grown_rows], -second[grown_rows]
        x[grown_rows, new_atom, new_atom] = code.to(torch.uint8)
        free[grown_rows, new_atom] = self.valence.to(x.device)[code]
        rows = acts.nonzero()[:, 0]
        first_atom, order = first[rows], bond[rows]
        second_atom = torch.where(second[rows] < 0, state.size[rows], second[rows])
        x[rows, first_atom, second_atom] = x[rows, second_atom, first_atom] = order.to(torch.uint8)
        free[rows, first_atom] -= order
        free[rows, second_atom] -= order
        remaining = state.remaining - (~state.done).long()
        return MoleculeState(
            x,
            free,
            state.size + grows.long(),
            torch.where(grows, state.size, state.latest),
            remaining,
            state.done | (stop == 1) | (remaining < 1),
        )


def expert_action(
    x: UInt8[Tensor, "B N N"], valence: Int[Tensor, " K"], u: Float[Tensor, " B"]
) -> tuple[MoleculeState, Int[Tensor, "B 4"]]:
    """Stop the building of given molecules at a random action, and say what the action is.

    Atom after atom comes with a bond to the oldest atom that it is bonded to; then its rings are
    closed, the oldest first; the last action stops.

    Arguments:
        x: Connected molecules, their atoms in an order in which each but the first is bonded to
            an earlier one, as `orders.breadth_first` gives it.
        valence: Of each code.
        u: Uniform numbers that choose the action.

    Returns:
        The states before the actions, and the actions.
    """
    batch, max_atoms = x.shape[:2]
    positions = torch.arange(max_atoms, device=x.device)
    rows = torch.arange(batch, device=x.device)
    codes = x.diagonal(dim1=1, dim2=2).long()
    n = (codes > 0).sum(1)
    lower = (x > 0) & (positions < positions[:, None])
    actions = lower.sum(2) * (positions > 0)
    total = actions.sum(1) + 1
    chosen = (u.double() * total).long().clamp_max(total - 1)
    after = actions.cumsum(1)
    is_stop = chosen == total - 1
    atom = torch.where(is_stop, n - 1, (after <= chosen[:, None]).sum(1)).clamp(0, max_atoms - 1)
    before = torch.where(atom > 0, after[rows, (atom - 1).clamp_min(0)], 0)
    # Which of the atom's bonds comes now, from 0; all of them are there where it is to stop.
    bond_index = torch.where(is_stop, actions[rows, atom], chosen - before)
    rank = lower[rows, atom].long().cumsum(1)
    partner = (lower[rows, atom] & (rank == bond_index[:, None] + 1)).long().argmax(1)
    grows = (bond_index == 0) & ~is_stop
    order = x[rows, atom, partner].long()
    action = torch.stack(
        [
            is_stop.long(),
            torch.where(grows, partner, atom),
            torch.where(grows, -codes[rows, atom], partner),
            order,
        ],
        1,
    )
    action = torch.where(is_stop[:, None], action.new_tensor([1, 0, 0, 1]), action)
    node_mask = torch.where(
        grows[:, None], positions < atom[:, None], positions <= atom[:, None]
    ).to(x.dtype)
    state = x * node_mask[:, :, None] * node_mask[:, None]
    # Of the atom itself only the bonds that have come.
    partial_rows = (~grows & ~is_stop).nonzero()[:, 0]
    row = torch.where(
        rank[partial_rows] <= bond_index[partial_rows, None],
        x[partial_rows, atom[partial_rows]],
        0,
    )
    row = torch.where(
        positions == atom[partial_rows, None], x[partial_rows, atom[partial_rows]], row
    )
    row = torch.where(positions <= atom[partial_rows, None], row, 0).to(x.dtype)
    state[partial_rows, atom[partial_rows]] = row
    state[partial_rows, :, atom[partial_rows]] = row
    size = torch.where(grows, atom, atom + 1)
    state_codes = state.diagonal(dim1=1, dim2=2).long()
    free = valence.to(x.device)[state_codes] - (state.sum(2, dtype=torch.int64) - state_codes)
    steps = torch.full_like(size, max_atoms * max_atoms)
    is_done = torch.zeros_like(is_stop)
    return MoleculeState(state, free, size, (size - 1).clamp_min(0), steps, is_done), action
