"""MASS: an XLM encoder-decoder that generates the masked span of a text."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from mm_kptm.batch import Inputs
from mm_kptm.crosslingual.modules.language_decoder import LanguageDecoder, LanguageDecoderLayer, PerLanguageAttention
from mm_kptm.crosslingual.recipes.xlm import masked_tokens, next_tokens, xlm
from mm_kptm.crosslingual.recipes.xlm_layout import (
    SEQ2SEQ_TABLES,
    seq2seq_rules,
    seq2seq_sizes,
    untied_outputs,
    xlm_decoder_layers,
    xlm_embedding,
)
from mm_kptm.models.seq2seq import Seq2Seq
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import required_text
from mm_kptm.nn.attention import set_attention_dropout
from mm_kptm.nn.decoder import Decoder
from mm_kptm.nn.steps import Stream
from mm_kptm.nn.sublayers import AttentionSublayer, bert_norm
from mm_kptm.nn.visibility import Open
from mm_kptm.systems.norm_eps import takes_norm_eps
from mm_kptm.systems.published_fields import check_fields
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Rename


class MaskBlindSeq2Seq(Seq2Seq):
    """Encoder-decoder whose decoder does not attend to mask tokens of the source (Song et al. 2019, released code)."""

    def __init__(self, source: SingleStream, target: Decoder, *, mask_id: int) -> None:
        super().__init__(source, target)
        self.mask_id = mask_id

    def read(self, inputs: Inputs) -> Stream:
        """The final states of the source, with mask tokens masked from the decoder."""
        stream = super().read(inputs)
        seen = required_text(inputs).ids != self.mask_id
        return stream._replace(attention=replace(stream.attention, mask=Open(seen)))

    def hidden_states(self, inputs: Inputs) -> Iterator[Stream]:
        """The source at every depth, then the target at every depth."""
        yield from self.source.hidden_states(inputs)
        if inputs.target is not None:
            yield from self.target.hidden_states(inputs.target, self.read(inputs))


@takes_norm_eps
def mass(
    *,
    dim: int = 1024,
    num_heads: int = 8,
    num_layers: int = 6,
    num_decoder_layers: int | None = None,
    vocab_size: int = 60000,
    max_positions: int = 512,
    num_languages: int = 2,
    positions: str = "learned",
    activation: str = "gelu",
    dropout: float = 0.1,
    attention_dropout: float | None = None,
    mask_id: int = 5,
) -> MaskBlindSeq2Seq:
    """The encoder-decoder of Song et al. (2019, section 4.1); the defaults are the unsupervised translation model.

    XLM on both sides; the decoder's attention to the source ends in one projection per language (0 languages: one
    for all, and tokens have no language embedding). The decoder has the depth of the encoder by default.

    Raises:
        UserError: ``positions`` are neither ``learned`` nor ``sinusoidal``.
    """
    source = xlm(
        dim=dim,
        num_heads=num_heads,
        num_layers=num_layers,
        vocab_size=vocab_size,
        max_positions=max_positions,
        num_languages=num_languages,
        positions=positions,
        activation=activation,
        dropout=dropout,
    )

    def cross_attention() -> AttentionSublayer:
        attention = PerLanguageAttention(dim, num_heads, num_languages, dropout=dropout)
        return AttentionSublayer(attention, bert_norm(dim), dropout=dropout)

    text = xlm_embedding(
        vocab_size,
        dim,
        max_positions=max_positions,
        num_languages=num_languages,
        positions=positions,
        dropout=dropout,
    )
    depth = num_layers if num_decoder_layers is None else num_decoder_layers
    rates: dict[str, Any] = {"activation": activation, "dropout": dropout}
    if num_languages:
        layers = xlm_decoder_layers(
            dim, num_heads, depth, cross_attention=cross_attention, layer=LanguageDecoderLayer, **rates
        )
        target: Decoder = LanguageDecoder(text, layers)
    else:
        target = Decoder(text, xlm_decoder_layers(dim, num_heads, depth, **rates))
    model = MaskBlindSeq2Seq(source, target, mask_id=mask_id)
    if attention_dropout is not None:
        set_attention_dropout(model, attention_dropout)
    return model


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes from the ``params`` of a checkpoint, nested or not.

    Raises:
        UserError: the configuration has an unsupported value.
    """
    params = config.get("params", config)
    check_fields("mass", params, {"attention_setting": ("v1",)})
    fields = {"n_layers": "num_layers", "n_dec_layers": "num_decoder_layers", "mask_index": "mask_id"}
    sizes = seq2seq_sizes("mass", params, fields)
    if sizes.get("num_decoder_layers", 0) < 0:  # the released code's way to say that both sides are equally deep
        del sizes["num_decoder_layers"]
    if "n_langs" in params:
        sizes["num_languages"] = 0 if params.get("english_only", False) else params["n_langs"]
    return sizes


MASS = Recipe(
    name="mass-unsup-nmt",
    family="mass",
    paper="Song et al. 2019, MASS: Masked Sequence to Sequence Pre-training for Language Generation, ICML, "
    "arXiv:1905.02450",
    build=mass,
    model_types=("xlm",),
    reads=frozenset({"text", "languages", "target"}),
    heads={"masked-tokens": masked_tokens, "next-tokens": next_tokens},
    objectives=("masked-span-generation", "next-tokens"),
    weights=(
        Rename(
            "decoder.encoder_attn.{i}.out_lin.{language}.{leaf}",
            "encoder.target.layers.{i}.cross_attention.attention.out_proj.linears.{language}.{leaf}",
        ),
        *seq2seq_rules(),
    ),
    read_config=read_config,
    infer_heads=untied_outputs,
    infer_from_shapes=SEQ2SEQ_TABLES,
    notes=(
        "the released code takes one projection for a whole batch, that of its largest language; here every token "
        "takes that of its own, the same for batches in one language",
        "the number of hidden tokens follows from the length of each text; the released code takes that of the longest "
        "of a batch",
    ),
)
