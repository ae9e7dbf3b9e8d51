r"""A regressor of a property of molecules in space, trained apart from every model that it judges.

An E(n)-invariant graph network on what stays when a molecule is moved: elements and distances.
With counts n of the elements, least squares a of the property on them, and s the deviation of
what they leave,

    m_ij = φ_e(h_i, h_j) · W e(|x_i - x_j|),        h_i' = h_i + φ_h(h_i, Σ_j m_ij)
    c(x) = a · (n, 1) + s Σ_i φ_o(h_i) / 10

over all pairs: the E(n) graph network of Garcia Satorras et al. without updates of positions, its
message a product with a linear function of e, Gaussians of the distance at equal steps up to
`FAR`, as continuous filters are. It is trained by the mean absolute error on the half D_a of the
training set that the generator does not see, a fixed number of steps from a fixed seed, and kept
in the user's cache by the fingerprint of the data.

References:
    | E(n) Equivariant Graph Neural Networks (Garcia Satorras, Hoogeboom & Welling, 2021),
      arXiv:2102.09844, section 5.3
    | SchNet: A continuous-filter convolutional neural network (Schütt et al., 2017),
      arXiv:1706.08566, for the Gaussians
"""

from __future__ import annotations

import contextlib
import hashlib
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.domain import Domain
from trilemma.core.noise import mix
from trilemma.core.point_cloud import mask_of, positions, sizes, types
from trilemma.core.session import Session
from trilemma.data import cache
from trilemma.data.dataset import DataSet, Split

__all__ = ["Regressor", "predicted", "regressor"]

WIDTH, LAYERS = 64, 3
SUMMED = 10.0
"""About the number of the atoms that are summed."""
GAUSSIANS, FAR = 24, 6.0
"""Functions of a distance, and where the last of them lies, in ångström."""
BATCH, LR = (16, 64), 3e-3
"""Least and most molecules of a batch, a two-hundredth of all between; peak learning rate."""
PASSES, FEWEST, MOST = 40, 800, 4000
"""Passes over the data, within these numbers of steps."""
AT_ONCE = 256
VERSION = 1
"""Of all that makes a regressor; a kept one of another version is trained anew."""


class _Layer(nn.Module):
    """One update of the atoms' numbers by messages over their pairs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.receiver = nn.Linear(width, width)
        self.sender = nn.Linear(width, width, bias=False)
        self.distance = nn.Linear(GAUSSIANS, width, bias=False)
        self.update = nn.Sequential(
            nn.Linear(2 * width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def forward(
        self, h: Float[Tensor, "B N W"], apart: Float[Tensor, "B N N G"]
    ) -> Float[Tensor, "B N W"]:
        """Return the numbers after the update; pairs that are none have distances of zeros."""
        g = self.norm(h)
        messages = F.silu(self.receiver(g)[:, :, None] + self.sender(g)[:, None])
        received = (messages * self.distance(apart)).sum(2)
        return h + self.update(torch.cat([g, received], dim=-1))


class Regressor(nn.Module):
    """Molecules in space to a property, in its unit.

    Arguments:
        kinds: Elements that there are.
        width: Numbers of an atom.
        layers: How many layers.
    """

    counts: Tensor
    scale: Tensor
    centres: Tensor

    def __init__(self, kinds: int, *, width: int = WIDTH, layers: int = LAYERS) -> None:
        super().__init__()
        self.kinds = kinds
        self.register_buffer("counts", torch.zeros(kinds + 1))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("centres", torch.linspace(0.0, FAR, GAUSSIANS))
        self.embedding = nn.Linear(kinds, width)
        self.layers = nn.ModuleList(_Layer(width) for _ in range(layers))
        self.output = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, x: Float[Tensor, "B N 4"]) -> Float[Tensor, " B"]:
        """Return the property of clouds in ångström, wherever and however they lie."""
        return self.of_counts(x) + self.scale * self.residual(x)

    def one_hot(self, x: Float[Tensor, "B N 4"]) -> Float[Tensor, "B N K"]:
        """Return the elements of atoms, zeros where there is none."""
        return F.one_hot(types(x), self.kinds + 1)[..., 1:].to(x)

    def of_counts(self, x: Float[Tensor, "B N 4"]) -> Float[Tensor, " B"]:
        """Return a · (n, 1)."""
        return self.one_hot(x).sum(1) @ self.counts[:-1] + self.counts[-1]

    def residual(self, x: Float[Tensor, "B N 4"]) -> Float[Tensor, " B"]:
        """Return what the counts leave, in units of its deviation."""
        mask = mask_of(x)
        atom_mask = mask[..., None].to(x)
        coords = positions(x) * atom_mask
        squared = (coords[:, :, None] - coords[:, None]).square().sum(-1)
        step = FAR / (GAUSSIANS - 1)
        distance_features = (squared + 1e-12).sqrt()[..., None] - self.centres
        distance_features = (-(distance_features / step).square() / 2).exp()
        pairs = (
            atom_mask * atom_mask.mT * (1 - torch.eye(x.shape[1], dtype=x.dtype, device=x.device))
        )
        distance_features = distance_features * pairs[..., None]
        h = self.embedding(self.one_hot(x))
        for layer in self.layers:
            h = layer(h, distance_features)
        return (self.output(h) * atom_mask)[..., 0].sum(1) / SUMMED

    @torch.no_grad()
    def fit_counts(self, x: Float[Tensor, "M N 4"], values: Float[Tensor, " M"]) -> None:
        """Set a by least squares, and s."""
        counts = F.pad(self.one_hot(x).sum(1), (0, 1), value=1.0).double()
        weights = torch.linalg.pinv(counts) @ values.double()
        residual_std = (values.double() - counts @ weights).std(correction=0)
        self.counts.copy_(weights)
        self.scale.copy_(residual_std.clamp_min(1e-6 * (1 + weights.abs().max())))


def regressor(data: DataSet, session: Session) -> tuple[Regressor, str]:
    """Return the regressor of a data set's property, kept or trained now; and its hash.

    Arguments:
        data: Conditioned on one property, with examples `aside`.
        session: It is trained and lies on its device; its seed has no part in it.
    """
    path = cache.folder() / "regressors" / f"{_fingerprint(data)}.safetensors"
    network = Regressor(len(data.domain.elements))
    cached = cache.read(path)
    if cached is None:
        assert data.aside is not None
        network = trained(data.aside, data.domain, session)
        tensors = {name: value.cpu() for name, value in network.state_dict().items()}
        with contextlib.suppress(OSError):
            facts = {"data": data.name, "property": data.domain.properties[0].name}
            cache.write(path, tensors, {**facts, "version": VERSION})
    else:
        tensors = cached[0]
        network.load_state_dict(tensors)
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return network.requires_grad_(False).to(session.device).eval(), digest.hexdigest()


def _fingerprint(data: DataSet) -> str:
    """Hash all that a regressor is made of."""
    settings = (VERSION, WIDTH, LAYERS, GAUSSIANS, FAR, BATCH, LR, PASSES, FEWEST, MOST)
    name = data.domain.properties[0].name
    text = f"{data.fingerprint} {name} {data.domain.elements} {settings}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@torch.enable_grad()
def trained(
    split: Split,
    domain: Domain,
    session: Session,
    *,
    steps: int = 0,
) -> Regressor:
    """Train a regressor on molecules with one property.

    Arguments:
        split: The molecules and their property.
        domain: Names their elements.
        session: Trained on its device; asked every ten steps whether to stop.
        steps: How many; 0: `PASSES` over the data, `FEWEST` to `MOST`.
    """
    assert split.properties is not None
    values, count = split.properties[:, 0], len(split)
    batch_size = min(max(BATCH[0], count // 200), BATCH[1], count)
    steps = steps or min(MOST, max(FEWEST, math.ceil(PASSES * count / batch_size)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix("property regressor", VERSION))
        network = Regressor(len(domain.elements))
    network.fit_counts(split.x, values)
    network.to(session.device)
    generator = torch.Generator().manual_seed(mix("property regressor", VERSION, count))
    optimiser = torch.optim.AdamW(network.parameters(), LR, weight_decay=1e-2)
    order = torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        if step % 10 == 0:
            session.check()
        if len(order) < batch_size:
            order = torch.randperm(count, generator=generator)
        rows, order = order[:batch_size], order[batch_size:]
        x = split.x[rows]
        x = x[:, : int(sizes(x).max())].to(session.device)
        targets = (values[rows].to(session.device) - network.of_counts(x)) / network.scale
        loss = (network.residual(x) - targets).abs().mean()
        for group in optimiser.param_groups:
            decay = (1 + math.cos(math.pi * step / steps)) / 2
            group["lr"] = LR * min(1.0, (step + 1) / 20) * decay
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        session.progress("training the regressor of the property", step + 1, steps)
    return network


@torch.no_grad()
def predicted(
    network: Regressor, x: Float[Tensor, "M N 4"], device: torch.device | str = "cpu"
) -> Float[Tensor, " M"]:
    """Return the property of molecules on the CPU, some at a time."""
    parts = [torch.empty(0)]
    for chunk in x.split(AT_ONCE):
        max_atoms = max(1, int(sizes(chunk).max()))
        parts.append(network(chunk[:, :max_atoms].to(device)).cpu())
    return torch.cat(parts)
