# %% [markdown]
# # A reward of one's own
#
# A graph reward is a function from graphs to numbers, entered by name; a policy then learns which
# edges to add. Here networks get a fifth more edges, and each triangle is worth one. A file that
# holds the function is a plug-in: `trilemma train graphrl --task triangles --plugin FILE.py`.
#
#     python examples/own_reward.py

# %%
import networkx as nx
import torch

import trilemma as tl


def triangles(x: torch.Tensor) -> torch.Tensor:
    """Count the triangles of graphs, [B, N, N]: ones where nodes are joined, and where one is."""
    a = x.double() * (1 - torch.eye(x.shape[1], device=x.device))
    return (a @ a * a).sum((1, 2)) / 6


tl.GRAPH_REWARDS["triangles"] = triangles

# %%
networks = [nx.barabasi_albert_graph(12, 2, seed=seed) for seed in range(120)]
fields = {"task": "triangles", "budget": 0.2, "episodes": 32, "width": 32, "quiet": True}
run = tl.train("graphrl", networks[20:], steps=60, **fields)

# %%
unseen = networks[:20]
improved = run.improve(unseen)


def mean(graphs: list[nx.Graph]) -> float:
    """Return the triangles of a graph in the mean."""
    return sum(sum(nx.triangles(graph).values()) / 3 for graph in graphs) / len(graphs)


print(f"triangles of a network: {mean(unseen):.2f} before, {mean(improved.networks()):.2f} after")
improved.save("own-reward.png")
