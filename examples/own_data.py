# %% [markdown]
# # Data of one's own
#
# What a program has becomes a data set by the rules that files have: arrays, DataFrames, PIL
# images, networkx graphs, RDKit molecules.
#
#     python examples/own_data.py

# %%
import networkx as nx
import numpy as np
import pandas as pd

import trilemma as tl

draws = np.random.default_rng(0)

# %% [markdown]
# Images with classes: discs and rings.

# %%
y, x = np.mgrid[-1:1:12j, -1:1:12j]
radius = np.hypot(x, y) + draws.normal(0, 0.1, (400, 1, 1))
is_ring = np.arange(400) % 2 == 1
pixels = 255 * np.where(is_ring[:, None, None], abs(radius - 0.6) < 0.2, radius < 0.6)
shapes = tl.dataset(
    pixels.astype(np.uint8), labels=np.where(is_ring, "ring", "disc"), name="shapes"
)
run = tl.train("ddpm", shapes, steps=30, batch=64, width=16, quiet=True)
run.sample(8, cond=["ring", "disc"]).save("own-shapes.png")

# %% [markdown]
# A table: its columns' kinds are found, and come back with the samples.

# %%
people = pd.DataFrame({"age": draws.integers(18, 80, 600), "pay": draws.lognormal(3, 1, 600)})
people["job"] = np.where(people["pay"] > 20, "smith", "nurse")
run = tl.train("tabular-autoregressive", tl.dataset(people, name="people"), steps=30, quiet=True)
print(run.sample(5).frame())
print(f"ln p of the first rows: {run.log_prob(people[:3]).tolist()}")

# %% [markdown]
# Graphs, as networkx has them.

# %%
circles = tl.dataset([nx.cycle_graph(n) for n in range(5, 13)] * 6, name="circles")
run = tl.train("graphrnn", circles, steps=30, quiet=True)
print([network.number_of_edges() for network in run.sample(4).networks()])
