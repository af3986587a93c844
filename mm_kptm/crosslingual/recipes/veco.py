"""VECO: an encoder with optional cross-attention, and the translation model built from it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import isclose
from typing import Any, NamedTuple

from torch import Tensor, nn

from mm_kptm.batch import ALL_ROWS, Encoded, Inputs, OutputRows, Tokens
from mm_kptm.crosslingual.recipes.fairseq_layout import attention_rules, stack_rules
from mm_kptm.errors import UserError
from mm_kptm.models.seq2seq import Seq2Seq
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import TextOnly, required_text
from mm_kptm.nn.attention import set_attention_dropout
from mm_kptm.nn.decoder import Decoder, DecoderLayer
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.scaled import ScaledEmbedding, TiedProjection
from mm_kptm.nn.steps import Stream
from mm_kptm.nn.sublayers import FeedForwardSublayer, attention_sublayer, bert_layer
from mm_kptm.nn.submodules import submodule
from mm_kptm.systems.published_fields import check_fields
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Copies, Rule, Same


class BothSides(NamedTuple):
    """States of a text and of its translation, without and with cross-attention, [T, D] and [U, D]."""

    alone: tuple[Tensor, Tensor]
    plugged: tuple[Tensor, Tensor]


class Plugged(nn.Module):
    """Encoder with cross-attention to a translation if there is one (Luo et al. 2021, section 2.1).

    The translation is the target of the inputs. With a target, the states are those with cross-attention.
    """

    def __init__(self, text: TextEmbedding, layers: Sequence[DecoderLayer], *, dim: int) -> None:
        super().__init__()
        if not layers:
            raise UserError("an encoder needs at least one layer, but num_layers is 0")
        self.text = text
        self.layers = nn.ModuleList(layers)
        self.dim = dim

    def hidden_states(self, inputs: Inputs) -> Iterator[Stream]:
        """The states of the text alone at every depth."""
        stream = self._embedded(required_text(inputs))
        yield stream
        for layer in self.layers:
            assert isinstance(layer, DecoderLayer)
            stream = stream._replace(x=layer.ffn(layer.self_attention(stream.x, stream.attention)))
            yield stream

    def both(self, inputs: Inputs) -> BothSides:
        """All four final states of a text and its translation.

        Raises:
            UserError: there is no translation.
        """
        if inputs.target is None:
            raise UserError("cross-attention is plugged in where there is a translation, but the inputs have no target")
        sides = required_text(inputs), inputs.target
        *_, first = self.hidden_states(Inputs(text=sides[0]))
        *_, second = self.hidden_states(Inputs(text=sides[1]))
        plugged = self._read(sides[0], second), self._read(sides[1], first)
        return BothSides((first.x, second.x), plugged)

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """The final states of the output rows; the pooled state is the first state."""
        text = required_text(inputs)
        firsts = text.layout.starts(text.ids.device)
        if inputs.target is None:
            *_, stream = self.hidden_states(inputs)
            states = {"text": stream.x}
        else:
            states = dict(zip(("text", "target"), self.both(inputs).plugged, strict=True))
        pooled = states["text"][firsts if output_rows.pooled else firsts[:0]]
        return Encoded({name: x[output_rows[name]] for name, x in states.items() if output_rows.wants(name)}, pooled)

    def _read(self, tokens: Tokens, source: Stream) -> Tensor:
        """States of one side, whose layers attend to the final states of the other."""
        x, attention_layout, _ = self._embedded(tokens)
        for layer in self.layers:
            x = layer(x, attention_layout, source)
        return x

    def _embedded(self, tokens: Tokens) -> Stream:
        return Stream.of(self.text(tokens), tokens.layout, tokens.attention_mask)


def _parts(
    dim: int, vocab_size: int, max_positions: int, scale_embedding: bool, norm_eps: float, dropout: float
) -> tuple[ScaledEmbedding, TextEmbedding, TextEmbedding]:
    """Embeddings of both sides with a shared word table."""
    word = ScaledEmbedding(vocab_size, dim, dim**0.5 if scale_embedding else 1.0)
    made = []
    for _ in range(2):
        text = TextEmbedding(
            vocab_size,
            dim,
            max_positions=max_positions,
            num_segments=0,
            position_offset=2,
            norm=nn.LayerNorm(dim, eps=norm_eps),
            dropout=dropout,
        )
        text.word = word
        made.append(text)
    return word, made[0], made[1]


def _decoder_layers(
    count: int, dim: int, num_heads: int, ffn_dim: int, activation: str, norm_eps: float, dropout: float
) -> list[DecoderLayer]:
    norm = partial(nn.LayerNorm, eps=norm_eps)
    return [
        DecoderLayer(
            attention_sublayer(dim, num_heads, dropout=dropout, norm=norm),
            attention_sublayer(dim, num_heads, dropout=dropout, norm=norm),
            FeedForwardSublayer(dim, ffn_dim, norm(dim), activation=activation, dropout=dropout),
        )
        for _ in range(count)
    ]


def veco(
    *,
    dim: int = 1024,
    num_heads: int = 16,
    num_layers: int = 24,
    ffn_dim: int = 4096,
    vocab_size: int = 250002,
    max_positions: int = 514,
    scale_embedding: bool = True,
    activation: str = "gelu",
    norm_eps: float = 1e-5,
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> Plugged:
    """The encoder of Luo et al. (2021, section 2); the defaults are the published large size.

    Post-norm layers; embeddings are multiplied by the root of ``dim`` before positions are added.
    ``max_positions`` includes two unused rows. ``attention_dropout`` defaults to ``dropout``.
    """
    _, text, _ = _parts(dim, vocab_size, max_positions, scale_embedding, norm_eps, dropout)
    layers = _decoder_layers(num_layers, dim, num_heads, ffn_dim, activation, norm_eps, dropout)
    model = Plugged(text, layers, dim=dim)
    if attention_dropout is not None:
        set_attention_dropout(model, attention_dropout)
    bert_init(model)
    return model


def veco_nmt(
    *,
    dim: int = 1024,
    num_heads: int = 16,
    num_layers: int = 24,
    num_decoder_layers: int = 6,
    ffn_dim: int = 4096,
    vocab_size: int = 250002,
    max_positions: int = 514,
    scale_embedding: bool = True,
    activation: str = "gelu",
    norm_eps: float = 1e-5,
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> Seq2Seq:
    """The translation model of Luo et al. (2021, section 4.2); the defaults are the published large size.

    The encoder without cross-attention, and a decoder of its last layers with it. Both sides and the output share one
    word table.
    """
    _, source, target = _parts(dim, vocab_size, max_positions, scale_embedding, norm_eps, dropout)
    norm = partial(nn.LayerNorm, eps=norm_eps)
    layers = [
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout, norm=norm)
        for _ in range(num_layers)
    ]
    writes = _decoder_layers(num_decoder_layers, dim, num_heads, ffn_dim, activation, norm_eps, dropout)
    model = Seq2Seq(SingleStream(TextOnly(source), layers, nn.Identity(), dim=dim), Decoder(target, writes))
    if attention_dropout is not None:
        set_attention_dropout(model, attention_dropout)
    bert_init(model)
    return model


def masked_tokens(encoder: Plugged) -> TiedProjection:
    """The word table as output matrix, without bias; which head pretraining had was not published."""
    return TiedProjection(encoder.text.word)


def next_tokens(encoder: Seq2Seq) -> TiedProjection:
    """The word table as output matrix, without bias."""
    return TiedProjection(submodule(encoder, "target.embed.word", nn.Embedding))


def keep_decoder_layers(tensors: Mapping[str, Tensor], kept: Sequence[int]) -> dict[str, Tensor]:
    """Published tensors with only these decoder layers, renumbered in this order.

    Raises:
        UserError: a layer is named twice or does not exist.
    """
    places = {number: place for place, number in enumerate(kept)}
    found, used = {}, set()
    for name, tensor in tensors.items():
        layer = re.fullmatch(r"decoder\.layers\.(\d+)\.(.*)", name)
        if layer is None:
            found[name] = tensor
        elif int(layer[1]) in places:
            used.add(int(layer[1]))
            found[f"decoder.layers.{places[int(layer[1])]}.{layer[2]}"] = tensor
    if len(places) < len(kept) or used != set(places):
        raise UserError(
            f"decoder layers {list(kept)} are kept, but each once, and the checkpoint has {sorted(used)} of them"
        )
    return found


_BUILT = {
    "post_norm": (True,),
    "encoder_normalize_before": (False,),
    "decoder_normalize_before": (False,),
    "layernorm_embedding": (True,),
    "encoder_learned_pos": (True,),
    "share_all_embeddings": (True,),
    "activation_dropout": (0, 0.0),
}
_FIELDS = {
    "embed_dim": "dim",
    "encoder_embed_dim": "dim",
    "heads": "num_heads",
    "encoder_attention_heads": "num_heads",
    "encoder_layers": "num_layers",
    "ffn_dim": "ffn_dim",
    "encoder_ffn_embed_dim": "ffn_dim",
    "activation": "activation",
    "activation_fn": "activation",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
}


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes from fairseq's arguments, nested under ``args`` or not.

    Raises:
        UserError: the configuration has an unsupported value.
    """
    config = {**config, **config.get("args", {})}
    check_fields("veco", config, _BUILT)
    sizes = {ours: config[theirs] for theirs, ours in _FIELDS.items() if theirs in config}
    if "no_scale_embedding" in config:
        sizes["scale_embedding"] = not config["no_scale_embedding"]
    if "embed_scale" in config and "dim" in sizes:
        sizes["scale_embedding"] = isclose(config["embed_scale"], sizes["dim"] ** 0.5, rel_tol=1e-6)
        if not sizes["scale_embedding"]:
            check_fields("veco", config, {"embed_scale": (1, sizes["dim"] ** 0.5)})
    return sizes


def read_nmt_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same, and the depth of the decoder; errors as in :func:`read_config`."""
    fields = {**config, **config.get("args", {})}
    kept = fields.get("keep_decoder_layers")
    depth = len(kept.split(",")) if kept else fields.get("decoder_layers")
    return {**read_config(config), **({} if depth is None else {"num_decoder_layers": depth})}


def _shared_rules() -> tuple[Rule, ...]:
    """Key renamings of the pretrained decoder layers: only their cross-attention differs from the encoder."""
    theirs, layer = "decoder.layers.{i}", "encoder.layers.{i}"
    same = ("self_attn.{role}.{leaf}", "{part}.{leaf}")
    return (
        *attention_rules(f"{theirs}.encoder_attn", f"{layer}.cross_attention"),
        *(Same(f"{theirs}.{name}", as_=f"{layer}.{name}") for name in same),
        Same("decoder.{part}.{leaf}", as_="encoder.{part}.{leaf}"),
    )


_PAPER = (
    "Luo et al. 2021, VECO: Variable and Flexible Cross-lingual Pre-training for Language Understanding and "
    "Generation, ACL, arXiv:2010.16046"
)
_NOTES = (
    "for understanding the cross-attention is left out and published files are XLM-R large in Hugging Face's names: "
    "load those as xlm-r-large",
    "positions count real tokens, whose sources are padded in front",
)

VECO = Recipe(
    name="veco-large",
    family="veco",
    paper=_PAPER,
    build=veco,
    model_types=("veco",),
    reads=frozenset({"text", "target"}),
    heads={"masked-tokens": masked_tokens},
    objectives=("masked-tokens", "ca-mlm"),
    weights=(
        Copies("encoder.embed_tokens.weight", ("encoder.text.word.weight", "heads.masked-tokens.word.weight")),
        Same("decoder.output_projection.weight", as_="encoder.embed_tokens.weight"),
        *_shared_rules(),
        *stack_rules("encoder", "encoder.text", "encoder"),
    ),
    read_config=read_config,
    infer_from_shapes={
        "vocab_size": ("encoder.text.word.weight", 0),
        "max_positions": ("encoder.text.position.weight", 0),
    },
    notes=(*_NOTES, "the wiring of pretraining is the paper's; its program and its head were not published"),
)

VECO_NMT = Recipe(
    name="veco-nmt",
    family="veco-nmt",
    paper=_PAPER,
    build=veco_nmt,
    model_types=("veco",),
    reads=frozenset({"text", "target"}),
    heads={"next-tokens": next_tokens},
    objectives=("next-tokens",),
    weights=(
        Copies(
            "encoder.embed_tokens.weight", ("encoder.source.embed.text.word.weight", "heads.next-tokens.word.weight")
        ),
        Same("decoder.embed_tokens.weight", as_="encoder.embed_tokens.weight"),
        Same("decoder.output_projection.weight", as_="encoder.embed_tokens.weight"),
        *stack_rules("encoder", "encoder.source.embed.text", "encoder.source"),
        *stack_rules("decoder", "encoder.target.embed", "encoder.target"),
    ),
    read_config=read_nmt_config,
    infer_from_shapes={
        "vocab_size": ("encoder.source.embed.text.word.weight", 0),
        "max_positions": ("encoder.source.embed.text.position.weight", 0),
    },
    notes=(
        *_NOTES,
        "a checkpoint with all layers goes through keep_decoder_layers first, which numbers the kept ones anew; the "
        "released renumbering also changes fc1 and fc2 where a kept number is 1 or 2",
    ),
)
