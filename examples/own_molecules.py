# %% [markdown]
# # Molecules that are worth something to you
#
# A reward is a function from molecules of RDKit to numbers, entered by name: then it stands in
# expressions beside ours, such as `--reward "qed * rings"`. Here three nitrogens in rings are
# sought among at most 200 molecules that are asked. In a file of its own it is a plug-in:
# `trilemma train gcpn --reward rings --plugin FILE.py`.
#
#     python examples/own_molecules.py

# %%
from collections.abc import Sequence

from rdkit.Chem import Mol

import trilemma as tl


def rings(molecules: Sequence[Mol]) -> list[float]:
    """Return 1 less a quarter for each nitrogen in a ring too many or too few."""
    counts = [
        sum(atom.GetSymbol() == "N" and atom.IsInRing() for atom in molecule.GetAtoms())
        for molecule in molecules
    ]
    return [1 - abs(count - 3) / 4 for count in counts]


tl.REWARDS["rings"] = tl.Reward("rings", "three nitrogens in rings", rings)

# %%
run = tl.train(
    "gcpn", "qm9-small", reward="rings * qed", oracle_calls=200, steps=40, width=32, quiet=True
)

# %% [markdown]
# The best that the search has found; all of it is `best.csv` in the run directory.

# %%
molecules, worth = run.best(6)
for smiles, value in zip(molecules.smiles(), worth, strict=True):
    print(f"{value:.3f}  {smiles}")
molecules.save("own-molecules.png")
