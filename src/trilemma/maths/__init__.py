"""Pure functions and frozen dataclasses: no parameters, no files.

Begin with `distributions.py`, then open what a family needs: `adversarial.py` for the losses of
games, `transforms.py` and `splines.py` for flows, `langevin.py` and `ais.py` for energies,
`ode.py` for continuous flows, `ppo.py` for policies. `diffusion/` has schedules and samplers,
`graphs/` what is computed on graphs and the environments that build them. Formulas stand at the
top of each file, and `laws` computes both of their sides.

Imports torch, jaxtyping and, where pairs are assigned, scipy: no other room, not even `core`.
"""
