# %% [markdown]
# # Likelihoods in one column
#
# Three families are asked how probable the same digits are. Every number is in nats about the same
# 17 levels, so that they stand in one column; one of the three then finishes upper halves.
#
#     python examples/likelihoods.py

# %%
import math

import torch

import trilemma as tl

data = tl.dataset("name:digits")
test, bits = data.test.x, data.domain.dimensions * math.log(2)
runs = {name: tl.train(name, data, steps=300, quiet=True) for name in ("vae", "glow", "pixelcnn")}

# %% [markdown]
# An exact density where there is one, else a bound that 32 draws bring nearer.

# %%
for name, run in runs.items():
    exact = "density" in run.capabilities
    nats = (run.log_prob(test) if exact else run.bound(test, draws=32)).mean()
    how = "exact" if exact else "lower bound, 32 draws"
    print(f"{name:10} {nats:8.2f} nats  {-nats / bits:.3f} bits/dim  ({how})")

# %%
known = torch.zeros_like(test[:8], dtype=torch.bool)
known[:, :, :4] = True
rows = {f"seed {i}": runs["pixelcnn"].complete(test[:8], known, seed=i) for i in range(4)}
tl.strips({"test images": tl.Samples(test[:8], data.domain), **rows}).save("finished-digits.png")
