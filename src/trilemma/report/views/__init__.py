"""The pictures of a trained model: a module for each thing that can be looked at.

Each module draws and declares: its tuple `VIEWS` says of each `report.view.View` which abilities
of a model it needs and which kinds of data it is about. `report.registry` walks this package, so
one more picture is one more entry beside its function, or one more file, and no list names it.

likeness of samples    graphs, molecules
what a model knows     plane (densities), latent (codes), flows (inversion), diffusion (both ways
                       through the noise, few or many steps, the bound)
how a sample comes     paths
what it can do         search, editing, captions, restoration
how it was trained     training

A module imports `core`, `data`, `maths`, `metrics`, `pictures` and, of `report/`, the declaration
(`view`), what is looked at (`model_view`), what comes out (`page`) and `training_curves`. It loads
no run: the model, the data and the events are in the `Subject` that it is given. Begin with
`flows.py`, the shortest.
"""
