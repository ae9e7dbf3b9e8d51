"""Diffusion, and what is built on it.

Begin with `diffusion.py`: a schedule, a prediction, a sampler and a space joined to one model.
`denoiser.py` turns a network into E[x | x_t]; `bound.py`, `probability_flow.py` and
`likelihood.py` say what a diffusion knows of ln p(x); `editing.py` and `fragments.py` keep a part
of an example. `latent.py` and `geometric.py` diffuse codes, of images and of point clouds, and
`super_resolution.py` large images, given small ones.

Imports what `families` may. `families/flow_matching.py` and
`families/super_resolution_regression.py` share parts of it.
"""
