# %% [markdown]
# # A loop of one's own
#
# A recipe builds a model and says how it is fed; what is done with that is yours. Nothing here is
# special to the VAE: of a game, such as a GAN, `objectives()` has several players.
#
#     python examples/own_loop.py

# %%
import torch

import trilemma as tl

data = tl.dataset("name:digits")
recipe = tl.recipe("vae", latent=8, batch=128)
torch.manual_seed(0)
model = recipe.model(data.domain)
(stage,) = recipe.stages(model, data, seed=0)
batches = stage.stream()

# %% [markdown]
# Batch k is a function of the seed and k alone, and brings its own noise.

# %%
(objective,) = model.objectives()
optimizer = torch.optim.AdamW(objective.parameters, lr=3e-3)
for k in range(200):
    loss = objective.loss(batches.batch(k))
    optimizer.zero_grad()
    loss.value.backward()
    optimizer.step()
    if k % 50 == 0:
        terms = "  ".join(f"{name} {float(value):.2f}" for name, value in loss.terms.items())
        print(f"step {k}: {float(loss.value.detach()):.2f} nats  {terms}")

# %%
model.eval()
with torch.no_grad():
    samples = tl.Samples(model.sample(64, noise=tl.Noise.of(0, 64)), data.domain)
    bound = model.bound(data.test.x, noise=tl.Noise.of(1, len(data.test.x))).mean()
print(f"bound on the test images: {bound:.2f} nats; {samples.save('own-loop.png')}")
