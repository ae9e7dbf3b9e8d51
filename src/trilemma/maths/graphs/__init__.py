"""What is computed on graphs and molecules, many at once, as tensors.

Begin with `graph_environment.py`: states, masked actions, `reset` and `step`;
`molecule_environment.py` is its like for molecules, with valence kept. `bfs_orders.py` orders
nodes for GraphRNN.
`isomorphism.py` decides which graphs are the same, by way of `weisfeiler_lehman.py` and
`canonical.py`; `graphlets.py` counts orbits, and `network_robustness.py` says what a network
withstands.

Imports what `maths` may; rdkit is not among it.
"""
