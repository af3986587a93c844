"""Key renamings and modules shared by the systems trained with XLM's code."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.nn.decoder import DecoderLayer
from mm_kptm.nn.embeddings import TextEmbedding, sinusoids
from mm_kptm.nn.sublayers import AttentionSublayer, FeedForwardSublayer, NormBuilder, attention_sublayer, bert_norm
from mm_kptm.systems.published_fields import check_fields
from mm_kptm.systems.rules import Drop, Rename, Rule


@torch.no_grad()
def xlm_embedding(
    vocab_size: int,
    dim: int,
    *,
    max_positions: int = 512,
    num_languages: int = 0,
    positions: str = "learned",
    norm: nn.Module | None = None,
    dropout: float = 0.1,
) -> TextEmbedding:
    """Embeddings of words, positions and languages with XLM's initialisation: normal with std 1 / sqrt(dim).

    Raises:
        UserError: ``positions`` are neither ``learned`` nor ``sinusoidal``.
    """
    if positions not in ("learned", "sinusoidal"):
        raise UserError(f"positions are learned or sinusoidal, not {positions!r}")
    text = TextEmbedding(
        vocab_size,
        dim,
        max_positions=max_positions,
        num_segments=0,
        num_languages=num_languages,
        norm=norm,
        dropout=dropout,
    )
    for table in (text.word, text.position, text.language):
        if table is not None:
            table.weight.normal_(0.0, dim**-0.5)
    if positions == "sinusoidal":
        text.position.weight.copy_(sinusoids(max_positions, dim))
        text.position.weight.requires_grad_(False)
    return text


def xlm_decoder_layers(
    dim: int,
    num_heads: int,
    num_layers: int,
    *,
    ffn_dim: int | None = None,
    activation: str = "gelu",
    dropout: float = 0.1,
    cross_attention: Callable[[], AttentionSublayer] | None = None,
    layer: type[DecoderLayer] = DecoderLayer,
    norm: NormBuilder = bert_norm,
) -> Iterator[DecoderLayer]:
    """Post-norm decoder layers, with a feed-forward width of 4 x ``dim`` by default.

    Args:
        dim: hidden size.
        num_heads: attention heads.
        num_layers: layers.
        ffn_dim: feed-forward width.
        activation: activation of the feed-forward layers.
        dropout: dropout probability.
        cross_attention: builds the sublayer that attends to the source; default: as the others.
        layer: the class of a layer.
        norm: of every sublayer.
    """
    width = 4 * dim if ffn_dim is None else ffn_dim
    for _ in range(num_layers):
        self_attention = attention_sublayer(dim, num_heads, dropout=dropout, norm=norm)
        source = (
            attention_sublayer(dim, num_heads, dropout=dropout, norm=norm)
            if cross_attention is None
            else cross_attention()
        )
        ffn = FeedForwardSublayer(dim, width, norm(dim), activation=activation, dropout=dropout)
        yield layer(self_attention, source, ffn)


_ROLES = {"q_lin": "query", "k_lin": "key", "v_lin": "value", "out_lin": "out_proj"}


def stack_rules(theirs: str, text: str, layers: str) -> tuple[Rule, ...]:
    """Key renamings of one published stack: its embeddings to ``text``, its layers to ``layers``."""
    return (
        Rename(f"{theirs}embeddings.weight", f"{text}.word.weight"),
        Rename(f"{theirs}position_embeddings.weight", f"{text}.position.weight"),
        Rename(f"{theirs}lang_embeddings.weight", f"{text}.language.weight"),
        Rename(f"{theirs}layer_norm_emb.{{leaf}}", f"{text}.norm.{{leaf}}"),
        Drop(f"{theirs}position_ids", because="a buffer that counts from 0"),
        *attention_rules(f"{theirs}attentions", f"{theirs}layer_norm1", f"{layers}.{{i}}.self_attention"),
        Rename(f"{theirs}ffns.{{i}}.lin1.{{leaf}}", f"{layers}.{{i}}.ffn.up_proj.{{leaf}}"),
        Rename(f"{theirs}ffns.{{i}}.lin2.{{leaf}}", f"{layers}.{{i}}.ffn.down_proj.{{leaf}}"),
        Rename(f"{theirs}layer_norm2.{{i}}.{{leaf}}", f"{layers}.{{i}}.ffn.norm.{{leaf}}"),
    )


def attention_rules(attentions: str, norms: str, ours: str) -> tuple[Rename, ...]:
    """Key renamings of one kind of attention sublayer in all layers of a stack."""
    return (
        *(
            Rename(f"{attentions}.{{i}}.{role}.{{leaf}}", f"{ours}.attention.{part}.{{leaf}}")
            for role, part in _ROLES.items()
        ),
        Rename(f"{norms}.{{i}}.{{leaf}}", f"{ours}.norm.{{leaf}}"),
    )


def output_rules(theirs: str, head: str) -> tuple[Rule, ...]:
    """Key renamings of an output layer, whose matrix may be the word table of its side."""
    return (
        Rename(f"{theirs}pred_layer.proj.bias", f"heads.{head}.bias"),
        Rename(f"{theirs}pred_layer.proj.weight", f"heads.{head}.word.weight"),
    )


def seq2seq_rules() -> tuple[Rule, ...]:
    """Key renamings of an encoder and a decoder, each with its output layer."""
    return (
        *stack_rules("encoder.", "encoder.source.embed.text", "encoder.source.layers"),
        *output_rules("encoder.", "masked-tokens"),
        *stack_rules("decoder.", "encoder.target.embed", "encoder.target.layers"),
        *attention_rules("decoder.encoder_attn", "decoder.layer_norm15", "encoder.target.layers.{i}.cross_attention"),
        *output_rules("decoder.", "next-tokens"),
    )


#: The word tables that the output matrix of a head may be, that of an encoder alone or of its side of two.
_WORDS = {
    "masked-tokens": ("encoder.embed.text.word.weight", "encoder.source.embed.text.word.weight"),
    "next-tokens": ("encoder.target.embed.word.weight",),
}


def untied_outputs(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """The heads of a checkpoint whose output matrix is another one than the words of their side."""
    found = {}
    for head, tables in _WORDS.items():
        output = tensors.get(f"heads.{head}.word.weight")
        word = next((tensors[table] for table in tables if table in tensors), None)
        if word is not None and output is not None and word.shape == output.shape and not torch.equal(word, output):
            found[head] = {"tied": False}
    return found


#: Sizes of the encoder inferred from the shapes of checkpoint tensors.
SEQ2SEQ_TABLES = {
    "dim": ("encoder.source.embed.text.word.weight", 1),
    "vocab_size": ("encoder.source.embed.text.word.weight", 0),
    "max_positions": ("encoder.source.embed.text.position.weight", 0),
    "num_languages": ("encoder.source.embed.text.language.weight", 0),
}

_BUILT = {"asm": (False,), "use_memory": (False,), "n_langs_decoder": (None,)}


def seq2seq_sizes(system: str, config: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """Sizes from the ``params`` of a checkpoint, nested or not.

    Args:
        system: name of the system, for error messages.
        config: published fields.
        fields: system-specific field names -> arguments of the builder.

    Raises:
        UserError: the configuration has an unsupported value.
    """
    check_fields(system, config, _BUILT)
    names = {"emb_dim": "dim", "n_heads": "num_heads", "n_words": "vocab_size", "dropout": "dropout", **fields}
    sizes = {ours: config[theirs] for theirs, ours in names.items() if theirs in config}
    if "attention_dropout" in config:
        sizes["attention_dropout"] = config["attention_dropout"]
    if "gelu_activation" in config:
        sizes["activation"] = "gelu" if config["gelu_activation"] else "relu"
    if "sinusoidal_embeddings" in config:
        sizes["positions"] = "sinusoidal" if config["sinusoidal_embeddings"] else "learned"
    return sizes
