"""Where batches come from.

Begin with `dataset.py`: examples in memory as they lie in the file, and their split, which
`split.py` makes of their contents. `sources.py` lists the sets that have a name and opens paths;
`folder.py`, `table.py`, `graph_files.py`, `molecule_files.py` and `point_cloud_files.py` read a
user's own. `stream.py` makes batch k a function of data, seed and k alone; `rollouts.py` makes
batches by a policy. What molecules are worth is in `rewards.py`, `oracles.py` and `search.py`.

Imports `core` and `maths`. rdkit is imported by a few files alone, and only when molecules are
asked for.
"""
