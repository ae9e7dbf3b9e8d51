r"""tau: what an example is asked to be, as a sequence of tokens that a denoiser can look at.

    tau(y) = n(transformer(s, E_c, W_{w_1} + P_1, …, W_{w_M} + P_M))  in R^{L x width}

with a learned start s, which is always seen, a token E_c for a class c and a token for each word
w_j of a caption, at its learned position P_j. What is not said (no class, no caption, a place
after the caption's last word, a whole row with `present` false) is masked: nobody looks at it, and
its own numbers are zero. So the start alone is left where nothing is said; it speaks for the null
that guidance compares with, and it has a gradient in every batch.

The transformer is a small one: each token that is seen gathers from those that are, then thinks
for itself, both on normalised numbers and added (Xiong et al.). It is trained along with the
denoiser, from the denoiser's loss.

The column of a word in a map of cross-attention is that of its token: the start has 0, the class 1
where there are classes, and word j of the caption `first_word` + j.

Layouts (an object and its box as one token) would need no more than tokens made of
[W_object, Fourier(x_0, y_0, x_1, y_1)] in place of W_w + P_j; a condition carries no boxes yet.

References:
    Attention Is All You Need, Vaswani et al., 2017 (arXiv:1706.03762).
    On Layer Normalization in the Transformer Architecture, Xiong et al., 2020 (arXiv:2002.04745).
    High-Resolution Image Synthesis with Latent Diffusion Models, Rombach et al., 2022
        (arXiv:2112.10752): tau_theta as a transformer trained from scratch.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.errors import BadInput
from trilemma.networks.attention import SelfAttention

__all__ = ["ConditionEncoder", "Layer", "width_of"]


class Layer(nn.Module):
    """x + attention to the tokens that are seen, then + a perceptron.

    Arguments:
        width: Numbers of a token.
        heads: Heads; divides `width`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before = nn.LayerNorm(width)
        self.attend = SelfAttention(width, heads)
        self.between = nn.LayerNorm(width)
        self.think = nn.Sequential(
            nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)
        )

    def forward(
        self, x: Float[Tensor, "B L width"], mask: Bool[Tensor, "B L"]
    ) -> Float[Tensor, "B L width"]:
        """Return the tokens; those that are seen do not depend on those that are not."""
        x = x + self.attend(self.before(x), mask)
        return x + self.think(self.between(x))


class ConditionEncoder(nn.Module):
    """tau: a condition -> tokens and which of them are seen.

    Arguments:
        width: Numbers of a token.
        classes: Classes of the condition; 0 for none.
        words: Words of the vocabulary; 0 without captions. Token i of a condition stands for
            word i - 1, and 0 for a word that is not in the vocabulary, which starts as a word
            that means nothing.
        length: M, tokens of a caption at most; 0 without captions.
        depth: Layers; 0 lets the tokens be as the tables have them.
        head: Numbers of one head; divides `width`.

    Raises:
        BadInput: There is nothing to condition on, or the sizes do not fit.

    >>> tau = ConditionEncoder(32, classes=3, words=20, length=4)
    >>> condition = Condition(tokens=torch.tensor([[5, 2, 0, 0]]), mask=torch.arange(4)[None] < 2)
    >>> tokens, mask = tau(condition, 1)
    >>> tokens.shape, mask.int().tolist(), tau.first_word
    (torch.Size([1, 6, 32]), [[1, 0, 1, 1, 0, 0]], 2)
    """

    def __init__(
        self,
        width: int,
        *,
        classes: int = 0,
        words: int = 0,
        length: int = 0,
        depth: int = 2,
        head: int = 32,
    ) -> None:
        super().__init__()
        _fitting(width, head, classes, words, length)
        self.width, self.length, self.first_word = width, length, 1 + bool(classes)
        self.start = nn.Parameter(torch.randn(width))
        self.classes = nn.Embedding(classes, width) if classes else None
        self.words = nn.Embedding(words + 1, width) if words else None
        if self.words is not None:
            self.position_embedding = nn.Parameter(0.3 * torch.randn(length, width))
            nn.init.zeros_(self.words.weight[0])
        self.layers = nn.ModuleList(Layer(width, max(1, width // head)) for _ in range(depth))
        self.after = nn.LayerNorm(width)

    @property
    def tokens(self) -> int:
        """Return L, the tokens that are given."""
        return self.first_word + self.length

    def forward(
        self, condition: Condition | None, rows: int
    ) -> tuple[Float[Tensor, "B L width"], Bool[Tensor, "B L"]]:
        """Return tau(y), and which of its tokens are seen.

        Arguments:
            condition: Labels, captions or both, `rows` of them; None says nothing, like rows
                whose `present` is false.
            rows: Number of examples B.

        Raises:
            BadInput: Captions are longer than `length`.
        """
        cond = Condition() if condition is None else condition
        parts = [self.start.expand(rows, 1, -1)]
        token_masks = [torch.ones(rows, 1, dtype=torch.bool, device=self.start.device)]
        if self.classes is not None:
            label, part_mask = self._label(cond, rows)
            parts.append(self.classes(label))
            token_masks.append(part_mask)
        if self.words is not None:
            ids, part_mask = self._caption(cond, rows)
            parts.append(self.words(ids) + self.position_embedding)
            token_masks.append(part_mask)
        x, mask = torch.cat(parts, dim=1), torch.cat(token_masks, dim=1)
        if cond.present is not None:
            mask = torch.cat([mask[:, :1], mask[:, 1:] & cond.present[:, None]], dim=1)
        for layer in self.layers:
            x = layer(x, mask)
        return self.after(x) * mask[:, :, None], mask

    def _label(self, condition: Condition, rows: int) -> tuple[Tensor, Tensor]:
        """Return the class, or class 0 unseen, [B, 1] each."""
        if condition.label is not None:
            return condition.label[:, None], torch.ones_like(
                condition.label[:, None], dtype=torch.bool
            )
        nothing = torch.zeros(rows, 1, dtype=torch.int64, device=self.start.device)
        return nothing, nothing.bool()

    def _caption(self, condition: Condition, rows: int) -> tuple[Tensor, Tensor]:
        """Return words and which are seen, [B, M] each, as long as the longest may be."""
        if condition.tokens is None:
            zeros = torch.zeros(rows, self.length, dtype=torch.int64, device=self.start.device)
            return zeros, zeros.bool()
        tokens, padding = condition.tokens, self.length - condition.tokens.shape[1]
        if padding < 0:
            raise BadInput(
                f"captions of {tokens.shape[1]} words were given to a network that reads "
                f"{self.length}; give at most its first {self.length}."
            )
        mask = (
            torch.ones_like(tokens, dtype=torch.bool) if condition.mask is None else condition.mask
        )
        ids, mask = (nn.functional.pad(part, (0, padding)) for part in (tokens, mask))
        return ids.masked_fill(~mask, 0), mask


def width_of(context: nn.Module) -> int:
    """Return the numbers of a token that a context gives, its `width`."""
    width = context.width
    assert isinstance(width, int)
    return width


def _fitting(width: int, head: int, classes: int, words: int, length: int) -> None:
    """Refuse sizes of which no context can be made."""
    if not classes and not words:
        raise BadInput(
            "a context of 0 classes and 0 words was given, and there is nothing to condition on; "
            "give data with classes or captions, or a network without context."
        )
    if bool(words) != bool(length):
        raise BadInput(
            f"a vocabulary of {words} words in captions of {length} was given; give both or none."
        )
    if width < 1 or head < 1 or (width > head and width % head):
        least = max(head, 1)
        raise BadInput(
            f"context width {width} in heads of {head} was given; give a width that divides by "
            f"the head's, such as {max(1, round(width / least)) * least}."
        )
