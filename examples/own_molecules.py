"""Search for molecules that are worth something to you: a reward is a function of molecules.

Here they are to have three nitrogens in rings and no more than twenty heavy atoms, from the
shipped part of QM9 on. The same counted oracle and the same proposer serve `trilemma train gcpn`.
"""

from __future__ import annotations

from collections.abc import Sequence

from rdkit.Chem import Mol

from trilemma.core.molecule import valences
from trilemma.data.search import CountedOracle, Search, start_rows
from trilemma.data.sources import load
from trilemma.pictures.molecules import sheet

CALLS = 1500


def reward(mols: Sequence[Mol]) -> list[float]:
    """Return 1 less a quarter for each nitrogen in a ring too many or too few, and for size."""
    made = []
    for mol in mols:
        nitrogens = sum(a.GetSymbol() == "N" and a.IsInRing() for a in mol.GetAtoms())
        large = max(0, mol.GetNumAtoms() - 20)
        made.append(1 - abs(nitrogens - 3) / 4 - large / 4)
    return made


def main() -> None:
    """Search, and draw the best."""
    data = load("qm9-small")
    oracle = CountedOracle(reward, "three nitrogens in rings", CALLS)
    search = Search(
        oracle,
        elements=data.domain.elements,
        valence=valences(data.domain.elements).tolist(),
        most=24,
        limit=data.domain.shape[0],
        seed=0,
    )
    search.score(data.train.x[start_rows(len(data.train), 0)])
    number = 0
    while not oracle.is_spent:
        search.score(search.propose(64, number))
        number += 1
    print(f"{len(oracle.scores)} molecules asked; the best are worth {search.best_scores[:3]}")
    sheet(search.best[:12]).save("own_molecules.png")
    print("own_molecules.png")


if __name__ == "__main__":
    main()
