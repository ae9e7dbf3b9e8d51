"""The contract: what a model is, what a batch is, where random numbers come from.

Begin with `model.py`: `Model`, its `Objective`s, `Stage`s and `Stream`s, and the capabilities by
which everything else asks what a model can do. `batch.py` and `noise.py` are what a loss is given,
`domain.py` what an example is; `columns.py`, `graph.py`, `molecule.py` and `point_cloud.py` say
how each kind lies in a tensor. `sampling.py` draws samples that depend on their index alone.
`errors.py`, `event.py`, `files.py` and `words.py` are what all rooms share.

Imports torch, jaxtyping and the standard library: no other room, not even `maths`.
"""
