"""mBART and mBART-50: multilingual denoising encoder-decoders."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from mm_kptm.crosslingual.recipes.fairseq_layout import stack_rules
from mm_kptm.models.normed import NormedSingleStream
from mm_kptm.models.seq2seq import Seq2Seq
from mm_kptm.nn.assembly import TextOnly
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.prenorm import NormedDecoder, prenorm_decoder_layer, prenorm_layer
from mm_kptm.nn.scaled import ScaledEmbedding, TiedProjection
from mm_kptm.nn.submodules import submodule
from mm_kptm.systems.published_fields import check_fields
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Copies, Rename, Rule, Same
from mm_kptm.systems.text_format import TextFormat


def mbart(
    *,
    dim: int = 1024,
    num_heads: int = 16,
    num_layers: int = 12,
    ffn_dim: int = 4096,
    decoder_heads: int | None = None,
    decoder_layers: int | None = None,
    decoder_ffn_dim: int | None = None,
    vocab_size: int = 250027,
    max_positions: int = 1026,
    scale_embedding: bool = True,
    activation: str = "gelu",
    norm_eps: float = 1e-5,
    dropout: float = 0.1,
    attention_dropout: float = 0.0,
    output_bias: bool = False,
) -> Seq2Seq:
    """The encoder-decoder of Liu et al. (2020, section 2.2); the defaults are the model of 25 languages.

    Pre-norm layers, a norm after the embeddings and another after each stack. Encoder, decoder and output share one
    word table, which is multiplied by the root of ``dim`` at lookup. ``max_positions`` includes two unused rows. The
    decoder's sizes default to the encoder's. ``output_bias`` is the constant bias of the output matrix in Hugging
    Face's files.
    """
    norm = partial(nn.LayerNorm, eps=norm_eps)
    word = ScaledEmbedding(vocab_size, dim, dim**0.5 if scale_embedding else 1.0)

    def embedding() -> TextEmbedding:
        text = TextEmbedding(
            vocab_size,
            dim,
            max_positions=max_positions,
            num_segments=0,
            position_offset=2,
            norm=norm(dim),
            dropout=dropout,
        )
        text.word = word
        return text

    rates: dict[str, Any] = {"activation": activation, "dropout": dropout, "attention_dropout": attention_dropout}
    source = NormedSingleStream(
        TextOnly(embedding()),
        (prenorm_layer(dim, num_heads, ffn_dim, norm, **rates) for _ in range(num_layers)),
        nn.Identity(),
        dim=dim,
        norm=norm(dim),
    )
    heads = num_heads if decoder_heads is None else decoder_heads
    width = ffn_dim if decoder_ffn_dim is None else decoder_ffn_dim
    depth = num_layers if decoder_layers is None else decoder_layers
    layers = (prenorm_decoder_layer(dim, heads, width, norm, **rates) for _ in range(depth))
    model = Seq2Seq(source, NormedDecoder(embedding(), layers, norm(dim)))
    model.output_bias = output_bias  # type: ignore[assignment]  # a bool beside modules
    bert_init(model)
    return model


def next_tokens(encoder: Seq2Seq) -> TiedProjection:
    """The word table as output matrix, with a constant bias where the published file has one."""
    word = submodule(encoder, "target.embed.word", nn.Embedding)
    return TiedProjection(word, bias=bool(encoder.output_bias))


_WORD = "encoder.source.embed.text.word.weight"
#: The word table is the output matrix too, so a file that has it fills the head.
_WORD_AND_HEAD = (_WORD, "heads.next-tokens.word.weight")


_WEIGHTS: tuple[Rule, ...] = (
    Copies("model.shared.weight", _WORD_AND_HEAD),
    Same("model.encoder.embed_tokens.weight", as_="model.shared.weight"),
    Same("model.decoder.embed_tokens.weight", as_="model.shared.weight"),
    Same("lm_head.weight", as_="model.shared.weight"),
    Rename("final_logits_bias", "heads.next-tokens.bias"),
    Copies("encoder.embed_tokens.weight", _WORD_AND_HEAD),
    Same("shared.weight", as_="encoder.embed_tokens.weight"),
    Same("decoder.embed_tokens.weight", as_="encoder.embed_tokens.weight"),
    Same("decoder.output_projection.weight", as_="encoder.embed_tokens.weight"),
    *stack_rules("[model.]encoder", "encoder.source.embed.text", "encoder.source"),
    *stack_rules("[model.]decoder", "encoder.target.embed", "encoder.target"),
)

#: Supported values of configuration fields in both layouts.
_BUILT = {
    "is_decoder": (False,),
    "is_encoder_decoder": (True,),
    "layer_norm_eps": (1e-5,),
    "position_embedding_type": ("absolute",),
    "encoder_normalize_before": (True,),
    "decoder_normalize_before": (True,),
    "normalize_before": (True,),
    "layernorm_embedding": (True,),
    "normalize_embedding": (True,),
    "add_final_layer_norm": (True,),
    "encoder_learned_pos": (True,),
    "decoder_learned_pos": (True,),
    "static_position_embeddings": (False,),
    "no_token_positional_embeddings": (False,),
    "share_all_embeddings": (True,),
    "tie_word_embeddings": (True,),
    "adaptive_softmax_cutoff": (None,),
    "adaptive_input": (False,),
    "no_cross_attention": (False,),
    "cross_self_attention": (False,),
    "layer_wise_attention": (False,),
    "activation_dropout": (0, 0.0),
    "relu_dropout": (0, 0.0),
    "encoder_layerdrop": (0, 0.0),
    "decoder_layerdrop": (0, 0.0),
    "encoder_layers_to_keep": (None,),
    "decoder_layers_to_keep": (None,),
}

_FIELDS = {
    "d_model": "dim",
    "encoder_embed_dim": "dim",
    "encoder_attention_heads": "num_heads",
    "encoder_layers": "num_layers",
    "encoder_ffn_dim": "ffn_dim",
    "encoder_ffn_embed_dim": "ffn_dim",
    "decoder_attention_heads": "decoder_heads",
    "decoder_layers": "decoder_layers",
    "decoder_ffn_dim": "decoder_ffn_dim",
    "decoder_ffn_embed_dim": "decoder_ffn_dim",
    "vocab_size": "vocab_size",
    "activation_function": "activation",
    "activation_fn": "activation",
    "scale_embedding": "scale_embedding",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
}


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes from a Hugging Face configuration or fairseq's arguments, nested under ``args`` or not.

    Raises:
        UserError: the configuration has an unsupported value.
    """
    config = {**config, **config.get("args", {})}
    width = config.get("encoder_embed_dim")
    same = {"decoder_embed_dim": (width,), "decoder_input_dim": (width,), "decoder_output_dim": (width,)}
    check_fields("mbart", config, _BUILT if width is None else {**_BUILT, **same})
    sizes = {ours: config[theirs] for theirs, ours in _FIELDS.items() if theirs in config}
    if "no_scale_embedding" in config:
        sizes["scale_embedding"] = not config["no_scale_embedding"]
    return sizes


def infer_sizes(tensors: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a checkpoint has an output bias."""
    return {"output_bias": "heads.next-tokens.bias" in tensors}


MBART_CC25 = Recipe(
    name="mbart-large-cc25",
    family="mbart",
    paper="Liu et al. 2020, Multilingual Denoising Pre-training for Neural Machine Translation, TACL, arXiv:2001.08210",
    build=mbart,
    model_types=("mbart",),
    reads=frozenset({"text", "target"}),
    heads={"next-tokens": next_tokens},
    objectives=("denoising", "next-tokens"),
    weights=_WEIGHTS,
    fixed_fields={},  # read_config refuses by itself
    read_config=read_config,
    infer_from_shapes={"vocab_size": (_WORD, 0), "max_positions": ("encoder.source.embed.text.position.weight", 0)},
    infer_sizes=infer_sizes,
    text=TextFormat(language_codes="last"),
    notes=(
        "fairseq counts positions over real tokens, Hugging Face over columns: they differ where padding stands in "
        "front; ragged tokens have the former, and padded ones take it from counted_positions",
        "a source is X </s> [language]; the decoder reads [language] Y </s> and predicts Y </s> [language]",
    ),
)

MBART_50 = Recipe(
    **{
        **vars(MBART_CC25),
        "name": "mbart-large-50",
        "family": "mbart-50",
        "paper": "Tang et al. 2021, Multilingual Translation from Denoising Pre-Training, Findings of ACL, "
        "arXiv:2008.00401",
        "sizes": {"vocab_size": 250054},
        "text": TextFormat(language_codes="first"),
        "notes": (
            MBART_CC25.notes[0],
            "a source is [language] X </s>; the decoder begins with </s>, then [language] Y </s>",
        ),
    }
)
