"""Text towers: CLIP's own transformer, and any text encoder of the catalogue, with pooling and projection.

Shapes: B texts, T tokens, W width of the encoder, D dim of the joint space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, POOLED_ONLY, Encoded, Inputs, OutputRows, SequenceLayout, Tokens, pad
from mm_kptm.errors import UserError
from mm_kptm.models.normed import NormedSingleStream
from mm_kptm.nn.assembly import Assembled, TextOnly, required_text
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.pooling import POOLINGS
from mm_kptm.nn.prenorm import PreNormFeedForward
from mm_kptm.nn.submodules import submodule
from mm_kptm.nn.visibility import Branches, Causal, CausalTree
from mm_kptm.systems.encoder import TextLimits
from mm_kptm.vision.contrastive.vision_transformer import tower_layer

RowChoice = Callable[[Tokens], Tensor]  #: the row of every text that stands for it, [B]


def first_row(tokens: Tokens) -> Tensor:
    """The first token of every text."""
    return tokens.layout.starts(tokens.ids.device)


def last_row(tokens: Tokens) -> Tensor:
    """The last token of every text."""
    return tokens.layout.cu_seqlens(tokens.ids.device)[1:].long() - 1


def largest_row(tokens: Tokens) -> Tensor:
    """The token with the largest id of every text, the first of equals: CLIP's end token."""
    return _first_of_largest(tokens.ids, tokens.layout)


def end_row(tokens: Tokens, *, end: int) -> Tensor:
    """The first token ``end`` of every text, or its first token where it has none."""
    return _first_of_largest((tokens.ids == end).long(), tokens.layout)


def _first_of_largest(values: Tensor, layout: SequenceLayout) -> Tensor:
    padded = pad(values, layout, value=-1)
    count = padded.shape[1]
    ranked = padded * count + torch.arange(count - 1, -1, -1, device=padded.device)  # earlier places break ties
    return layout.starts(values.device) + ranked.argmax(1)


class TextTower(nn.Module):
    """A text encoder, one vector of each text, and a projection into the joint space.

    Args:
        encoder: any text encoder.
        choose: the row that stands for a text; the last layer finishes those rows alone.
        pooling: ``mean`` or ``max`` over all rows, or ``pooled``, the encoder's own pooler, in place of ``choose``.
        projection: from [B, W] to [B, D].
        length: tokens that every text is filled up to, for encoders that read padding; None: none.
        padding: the id that texts are filled up with.
        languages: codes in the order of the encoder's language ids, where it embeds them.

    Raises:
        UserError: there is no such pooling.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projection: nn.Module,
        *,
        choose: RowChoice | None = None,
        pooling: str = "mean",
        length: int | None = None,
        padding: int = 0,
        languages: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        if choose is None and pooling != "pooled" and pooling not in POOLINGS:
            raise UserError(f"texts can be pooled by pooled or {', '.join(POOLINGS)}, not by {pooling!r}")
        self.encoder = encoder
        self.projection = projection
        self.choose = choose
        self.pooling = pooling
        self.length = length
        self.padding = padding
        self.languages = languages

    @property
    def limits(self) -> TextLimits:
        """What the encoder can read."""
        return limits_of(self.encoder, self.length, self.languages)

    def forward(self, inputs: Inputs) -> Tensor:
        """Vectors in the joint space, not normalised, [B, D]."""
        return self.projection(self.pooled(inputs))

    def pooled(self, inputs: Inputs) -> Tensor:
        """The vector of every text before the projection, [B, W]."""
        inputs = self._filled(inputs)
        tokens = required_text(inputs)
        if self.choose is not None:
            return self._encode(inputs, OutputRows({"text": self.choose(tokens)}, pooled=False)).text
        if self.pooling == "pooled":
            return self._encode(inputs, POOLED_ONLY).pooled
        if self.pooling == "first":
            return self._encode(inputs, OutputRows({"text": first_row(tokens)}, pooled=False)).text
        rows = self._encode(inputs, OutputRows({"text": EVERY_ROW}, pooled=False)).text
        return POOLINGS[self.pooling](rows, tokens.layout)

    def states(self, inputs: Inputs) -> Tensor:
        """The final states of all tokens, [T, W]."""
        return self._encode(self._filled(inputs), OutputRows({"text": EVERY_ROW}, pooled=False)).text

    def _encode(self, inputs: Inputs, rows: OutputRows) -> Encoded:
        encoded: Encoded = self.encoder(inputs, rows)
        return encoded

    def _filled(self, inputs: Inputs) -> Inputs:
        """The inputs with every text as long as an encoder that reads padding was trained with."""
        tokens = required_text(inputs)
        if self.length is None:
            return inputs
        refuse_facts(tokens)
        if all(length == self.length for length in tokens.layout.lengths):
            return inputs
        if max(tokens.layout.lengths) > self.length:
            raise UserError(
                f"a text has {max(tokens.layout.lengths)} tokens, but the text tower reads {self.length}; cut it"
            )
        ids = pad(tokens.ids, tokens.layout, value=self.padding, length=self.length)
        return inputs.with_streams(text=Tokens.padded(ids, torch.ones_like(ids)))


def limits_of(encoder: nn.Module, length: int | None, languages: tuple[str, ...] = ()) -> TextLimits:
    """Positions and words of an encoder, and of texts not more than ``length`` tokens.

    Raises:
        UserError: the encoder has no table of words and positions.
    """
    embedding = next((one for one in encoder.modules() if isinstance(one, TextEmbedding)), None)
    if embedding is None:
        raise UserError(f"{type(encoder).__name__} has no table of words, so no tokenizer can be fitted to it")
    positions = embedding.position.num_embeddings - embedding.position_offset
    return TextLimits(min(positions, length or positions), embedding.word.num_embeddings, languages)


def refuse_facts(tokens: Tokens) -> None:
    """Refuse tokens with facts among them where a tower reads texts of one length.

    Raises:
        UserError: they have a mask.
    """
    if tokens.attention_mask is not None:
        raise UserError(
            "this text tower reads texts filled up to one length, in which there is no room for facts that hang from "
            "words; take the text tower of clip, or dual-tower around a text encoder"
        )


class CausalText(TextOnly):
    """Embedder of a text encoder in which a token sees itself and earlier ones, and the facts that hang from it."""

    def forward(self, inputs: Inputs) -> Assembled:
        """The embedded tokens.

        Raises:
            UserError: the tokens have a mask that is no sentence tree.
        """
        tokens = required_text(inputs)
        mask: Causal | CausalTree = Causal()
        if isinstance(tokens.attention_mask, Branches):
            mask = CausalTree(tokens.attention_mask)
        elif tokens.attention_mask is not None:
            raise UserError(
                "this text tower reads from left to right and takes facts as a sentence tree, but the mask of the "
                f"tokens is a {type(tokens.attention_mask).__name__}"
            )
        return super().forward(inputs.with_streams(text=replace(tokens, attention_mask=mask)))


def clip_text_encoder(
    *,
    context_length: int = 77,
    vocab_size: int = 49408,
    width: int = 512,
    heads: int = 8,
    layers: int = 12,
    mlp_ratio: float = 4.0,
    norm_eps: float = 1e-5,
    ls_init_value: float | None = None,
    causal: bool = True,
    activation: str = "gelu",
) -> NormedSingleStream:
    """The text transformer of Radford et al. (2021, section 2.4): no norm after embeddings, one after the layers."""
    norm = partial(nn.LayerNorm, eps=norm_eps)
    embedding = TextEmbedding(
        vocab_size, width, max_positions=context_length, num_segments=0, norm=nn.Identity(), dropout=0.0
    )
    ffn = int(width * mlp_ratio)
    stack = [
        tower_layer(width, heads, ffn, norm, activation=activation, layer_scale=ls_init_value) for _ in range(layers)
    ]
    embed = CausalText(embedding) if causal else TextOnly(embedding)
    _initialise(embedding, stack, width)
    return NormedSingleStream(embed, stack, nn.Identity(), dim=width, norm=norm(width))


def _initialise(embedding: TextEmbedding, stack: Sequence[nn.Module], width: int) -> None:
    """The initialisation of the released code."""
    nn.init.normal_(embedding.word.weight, std=0.02)
    nn.init.normal_(embedding.position.weight, std=0.01)
    deep = width**-0.5 * (2 * len(stack)) ** -0.5 if stack else 1.0
    for layer in stack:
        attention = submodule(layer, "self_attention.attention", Attention)
        for part, std in (
            (attention.query, width**-0.5),
            (attention.key, width**-0.5),
            (attention.value, width**-0.5),
            (attention.out_proj, deep),
        ):
            nn.init.normal_(part.weight, std=std)
            nn.init.zeros_(part.bias)
        ffn = submodule(layer, "ffn", PreNormFeedForward)
        nn.init.normal_(ffn.up_proj.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(ffn.down_proj.weight, std=deep)
