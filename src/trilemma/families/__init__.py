"""Mathematics and networks joined to models.

Begin with `autoencoder.py`, the shortest, then `vae.py`: a family takes its networks as arguments
and gives `objectives()` and `sample()`, as `core/model.py` wants them, and as many capabilities as
it has. `dequantised_density.py` is the one place where a density of real numbers is put over
levels, and `likelihood.py` the one where a decoder's numbers become p(x given z). `ppo.py` trains
any policy, such as `graph_policy.py` and `gcpn.py`. Diffusions are in `diffusion/`.

Imports `core` and `maths`, torch and jaxtyping. It imports no network, reads no file and asks
for no device.
"""
