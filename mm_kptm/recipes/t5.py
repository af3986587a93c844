"""T5 and mT5: encoder-decoders with relative positions, norms without a mean and maps without biases."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mm_kptm.batch import Tokens
from mm_kptm.models.normed import NormedSingleStream
from mm_kptm.models.seq2seq import Seq2Seq
from mm_kptm.nn.assembly import TextOnly
from mm_kptm.nn.prenorm import NormedDecoder, PreNormDecoderLayer
from mm_kptm.nn.relative import GatedFeedForward, RelativeBias, UnbiasedFeedForward, relative_attention
from mm_kptm.nn.sublayers import Layer
from mm_kptm.nn.submodules import submodule
from mm_kptm.systems.published_fields import check_fields
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Rename, Rule, Same
from mm_kptm.systems.text_format import TextFormat


class WordEmbedding(nn.Module):
    """Words without positions; attention knows how far rows are apart."""

    def __init__(self, word: nn.Embedding, dropout: float) -> None:
        super().__init__()
        self.word = word
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: Tokens) -> Tensor:
        """The embedded tokens [T, D]."""
        embedded: Tensor = self.drop(self.word(tokens.ids))
        return embedded


class ScaledVocabulary(nn.Module):
    """Vocabulary logits of states that are multiplied by a constant; no bias."""

    def __init__(self, word: nn.Embedding, scale: float) -> None:
        super().__init__()
        self.word = word
        self.scale = scale

    def forward(self, rows: Tensor) -> Tensor:
        """[P, D] -> [P, V]."""
        return nn.functional.linear(rows * self.scale, self.word.weight)


class TextToText(Seq2Seq):
    """An encoder-decoder that knows what its output matrix is.

    Args:
        source, target: as of :class:`~mm_kptm.models.seq2seq.Seq2Seq`.
        tied: whether it is the word table.
        scaled: whether it reads states over the root of their dim.
    """

    def __init__(self, source: NormedSingleStream, target: NormedDecoder, *, tied: bool, scaled: bool) -> None:
        super().__init__(source, target)
        self.tied = tied
        self.scaled = scaled


def t5(
    *,
    dim: int = 768,
    num_heads: int = 12,
    head_dim: int = 64,
    num_layers: int = 12,
    num_decoder_layers: int | None = None,
    ffn_dim: int = 3072,
    vocab_size: int = 32128,
    num_buckets: int = 32,
    max_distance: int = 128,
    gated: bool = False,
    activation: str = "relu",
    tied: bool = True,
    scaled: bool = True,
    norm_eps: float = 1e-6,
    dropout: float = 0.1,
) -> TextToText:
    """The encoder-decoder of Raffel et al. (2020, section 2.1); the defaults are the first base model.

    Pre-norm layers with root-mean-square norms and another after each stack; the first layer of a stack holds the bias
    of its scores by distance, which all of its layers add. ``gated`` is the feed-forward layer of version 1.1 and of
    mT5, whose output matrix is not ``tied`` to the words and reads states as they are; the first version's reads them
    ``scaled`` by the root of ``dim``.
    """
    norm, word = partial(nn.RMSNorm, eps=norm_eps), nn.Embedding(vocab_size, dim)
    rates: dict[str, Any] = {"activation": activation, "dropout": dropout}
    feed_forward = GatedFeedForward if gated else UnbiasedFeedForward

    def bias(*, bidirectional: bool) -> RelativeBias:
        return RelativeBias(num_heads, num_buckets=num_buckets, max_distance=max_distance, bidirectional=bidirectional)

    attention = partial(relative_attention, dim, num_heads, head_dim, norm, dropout=dropout)
    ahead, back = bias(bidirectional=True), bias(bidirectional=False)
    layers = (Layer(attention(bias=ahead), feed_forward(dim, ffn_dim, norm(dim), **rates)) for _ in range(num_layers))
    source = NormedSingleStream(
        TextOnly(WordEmbedding(word, dropout)),
        layers,
        nn.Identity(),
        dim=dim,
        norm=nn.Sequential(norm(dim), nn.Dropout(dropout)),
    )
    written = (
        PreNormDecoderLayer(attention(bias=back), attention(bias=None), feed_forward(dim, ffn_dim, norm(dim), **rates))
        for _ in range(num_layers if num_decoder_layers is None else num_decoder_layers)
    )
    target = NormedDecoder(WordEmbedding(word, dropout), written, nn.Sequential(norm(dim), nn.Dropout(dropout)))
    model = TextToText(source, target, tied=tied, scaled=scaled)
    _begin(model, dim, head_dim, num_heads, ffn_dim)
    return model


@torch.no_grad()
def _begin(model: nn.Module, dim: int, head_dim: int, num_heads: int, ffn_dim: int) -> None:
    """The initialisation of the released code: scores begin as if they were divided by the root of the head's dim."""
    stds = {
        "query": (dim * head_dim) ** -0.5,
        "key": dim**-0.5,
        "value": dim**-0.5,
        "out_proj": (num_heads * head_dim) ** -0.5,
        "gate_proj": dim**-0.5,
        "up_proj": dim**-0.5,
        "down_proj": ffn_dim**-0.5,
        "table": dim**-0.5,
        "word": 1.0,
    }
    for name, parameter in model.named_parameters():
        if (std := stds.get(name.split(".")[-2])) is not None:
            parameter.normal_(0.0, std)


def next_tokens(encoder: TextToText) -> ScaledVocabulary:
    """The output matrix: the words over the root of the dim, or one of its own."""
    word = submodule(encoder, "target.embed.word", nn.Embedding)
    if not encoder.tied:
        word = nn.Embedding(*word.weight.shape)
        nn.init.normal_(word.weight, 0.0, encoder.dim**-0.5)
    return ScaledVocabulary(word, encoder.dim**-0.5 if encoder.scaled else 1.0)


_WORD, _OUTPUT = "encoder.source.embed.text.word.weight", "heads.next-tokens.word.weight"
_MAPS = {"q": "query", "k": "key", "v": "value", "o": "out_proj"}
_INNER = {"wi": "up_proj", "wi_0": "gate_proj", "wi_1": "up_proj", "wo": "down_proj"}


def _attention(theirs: str, number: int, name: str, ours: str) -> tuple[Rename, ...]:
    layer = f"{theirs}.block.{{i}}.layer.{number}"
    return (
        *(Rename(f"{layer}.{name}.{part}.weight", f"{ours}.attention.{mine}.weight") for part, mine in _MAPS.items()),
        Rename(f"{layer}.{name}.relative_attention_bias.weight", f"{ours}.attention.bias.table.weight"),
        Rename(f"{layer}.layer_norm.weight", f"{ours}.norm.weight"),
    )


def _stack(theirs: str, ours: str, last: int) -> tuple[Rule, ...]:
    layer = f"{theirs}.block.{{i}}.layer.{last}"
    return (
        *_attention(theirs, 0, "SelfAttention", f"{ours}.layers.{{i}}.self_attention"),
        *(
            Rename(f"{layer}.DenseReluDense.{part}.weight", f"{ours}.layers.{{i}}.ffn.{mine}.weight")
            for part, mine in _INNER.items()
        ),
        Rename(f"{layer}.layer_norm.weight", f"{ours}.layers.{{i}}.ffn.norm.weight"),
        Rename(f"{theirs}.final_layer_norm.weight", f"{ours}.norm.0.weight"),
        Same(f"{theirs}.embed_tokens.weight", as_="shared.weight"),
    )


def with_output(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors of a checkpoint, with the output matrix that a file of a tied model may leave out."""
    if "lm_head.weight" in tensors or "shared.weight" not in tensors:
        return tensors
    return {**tensors, "lm_head.weight": tensors["shared.weight"]}


_FIELDS = {
    "d_model": "dim",
    "num_heads": "num_heads",
    "d_kv": "head_dim",
    "num_layers": "num_layers",
    "num_decoder_layers": "num_decoder_layers",
    "d_ff": "ffn_dim",
    "vocab_size": "vocab_size",
    "relative_attention_num_buckets": "num_buckets",
    "relative_attention_max_distance": "max_distance",
    "layer_norm_epsilon": "norm_eps",
    "dropout_rate": "dropout",
}


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes from a configuration of Hugging Face; whether the output is tied shows in the tensors.

    Files of transformers 5 say with ``scale_decoder_outputs`` what ``tie_word_embeddings`` said before.

    Raises:
        UserError: the configuration has an unsupported value.
    """
    check_fields("t5", config, {"is_encoder_decoder": (True,), "is_decoder": (False,)})
    sizes = {ours: config[theirs] for theirs, ours in _FIELDS.items() if theirs in config}
    if config.get("model_type") == "mt5":
        sizes["scaled"] = False
    elif (scaled := config.get("scale_decoder_outputs", config.get("tie_word_embeddings"))) is not None:
        sizes["scaled"] = bool(scaled)
    if "feed_forward_proj" in config:
        kind = str(config["feed_forward_proj"])
        gated, named = kind.startswith("gated-"), kind.removeprefix("gated-")
        sizes |= {"gated": gated, "activation": "gelu_new" if gated and named == "gelu" else named}
    return sizes


def infer_sizes(tensors: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the output matrix of a checkpoint is the word table."""
    word, output = (tensors.get(name) for name in (_WORD, _OUTPUT))
    if word is None or output is None:
        return {}
    return {"tied": word.shape == output.shape and torch.equal(word, output)}


_NOTES = (
    "a text ends with </s> and begins with nothing; the decoder begins with the padding token",
    "positions have no table, so that a text may have any length",
)

T5_BASE = Recipe(
    name="t5-base",
    family="t5",
    paper="Raffel et al. 2020, Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer, "
    "JMLR, arXiv:1910.10683",
    build=t5,
    model_types=("t5",),
    reads=frozenset({"text", "target"}),
    text=TextFormat(tokenizer="t5"),
    heads={"next-tokens": next_tokens},
    objectives=("span-corruption", "next-tokens"),
    weights=(
        Rename("shared.weight", _WORD),
        *_stack("encoder", "encoder.source", 1),
        *_stack("decoder", "encoder.target", 2),
        *_attention("decoder", 1, "EncDecAttention", "encoder.target.layers.{i}.cross_attention"),
        Rename("lm_head.weight", _OUTPUT),
    ),
    read_config=read_config,
    convert_state=with_output,
    fixed_fields={},  # read_config refuses by itself
    infer_from_shapes={"vocab_size": (_WORD, 0), "dim": (_WORD, 1)},
    infer_sizes=infer_sizes,
    notes=_NOTES,
)

_GATED = {"gated": True, "activation": "gelu_new", "tied": False, "scaled": False}
T5_SMALL = Recipe(
    **{**vars(T5_BASE), "name": "t5-small", "sizes": {"dim": 512, "num_heads": 8, "num_layers": 6, "ffn_dim": 2048}}
)
T5_V1_1_BASE = Recipe(**{**vars(T5_BASE), "name": "t5-v1_1-base", "sizes": {**_GATED, "ffn_dim": 2048}})
MT5_SMALL = Recipe(
    **{
        **vars(T5_BASE),
        "name": "mt5-small",
        "family": "mt5",
        "paper": "Xue et al. 2021, mT5: A Massively Multilingual Pre-trained Text-to-Text Transformer, NAACL, "
        "arXiv:2010.11934",
        "model_types": ("mt5",),
        "sizes": {**_GATED, "dim": 512, "num_heads": 6, "num_layers": 8, "ffn_dim": 1024, "vocab_size": 250112},
    }
)
MT5_BASE = Recipe(**{**vars(MT5_SMALL), "name": "mt5-base", "sizes": {**_GATED, "ffn_dim": 2048, "vocab_size": 250112}})
