"""XNLG: an encoder-decoder initialised from XLM for cross-lingual generation."""

from collections.abc import Mapping
from typing import Any

from mm_kptm.crosslingual.recipes.xlm import next_tokens, xlm
from mm_kptm.crosslingual.recipes.xlm_layout import (
    SEQ2SEQ_TABLES,
    seq2seq_rules,
    seq2seq_sizes,
    untied_outputs,
    xlm_decoder_layers,
    xlm_embedding,
)
from mm_kptm.models.seq2seq import Seq2Seq
from mm_kptm.nn.attention import set_attention_dropout
from mm_kptm.nn.decoder import Decoder
from mm_kptm.systems.norm_eps import takes_norm_eps
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop


@takes_norm_eps
def xnlg(
    *,
    dim: int = 1024,
    num_heads: int = 8,
    num_layers: int = 10,
    num_decoder_layers: int = 6,
    vocab_size: int = 95000,
    max_positions: int = 512,
    num_languages: int = 15,
    positions: str = "learned",
    activation: str = "gelu",
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> Seq2Seq:
    """The encoder-decoder of Chi et al. (2020, section 2); the defaults are the published second stage.

    XLM on both sides, each with separate embeddings; ten encoder layers from the first stage, six decoder layers.

    Raises:
        UserError: ``positions`` are neither ``learned`` nor ``sinusoidal``.
    """
    shared: dict[str, Any] = {
        "max_positions": max_positions,
        "num_languages": num_languages,
        "positions": positions,
        "dropout": dropout,
    }
    source = xlm(
        dim=dim, num_heads=num_heads, num_layers=num_layers, vocab_size=vocab_size, activation=activation, **shared
    )
    layers = xlm_decoder_layers(dim, num_heads, num_decoder_layers, activation=activation, dropout=dropout)
    model = Seq2Seq(source, Decoder(xlm_embedding(vocab_size, dim, **shared), layers))
    if attention_dropout is not None:
        set_attention_dropout(model, attention_dropout)
    return model


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes from the ``params`` of a checkpoint, nested or not.

    Raises:
        UserError: the configuration has an unsupported value.
    """
    params = config.get("params", config)
    sizes = seq2seq_sizes("xnlg", params, {"n_enc_layers": "num_layers", "n_layers": "num_decoder_layers"})
    if "n_langs" in params:
        sizes["num_languages"] = params["n_langs"]
    return sizes


XNLG = Recipe(
    name="xnlg",
    family="xnlg",
    paper="Chi et al. 2020, Cross-Lingual Natural Language Generation via Pre-Training, AAAI, arXiv:1909.10481",
    build=xnlg,
    model_types=("xlm",),
    reads=frozenset({"text", "languages", "target"}),
    heads={"next-tokens": next_tokens},
    objectives=("word-denoising", "next-tokens"),
    weights=(
        Drop("encoder.pred_layer.proj.{leaf}", because="the second stage predicts nothing from the encoder"),
        *seq2seq_rules(),
    ),
    read_config=read_config,
    infer_heads=untied_outputs,
    infer_from_shapes=SEQ2SEQ_TABLES,
    notes=(
        "languages are numbered in alphabetical order of all fifteen codes, as in the checkpoint of the first stage",
        "zero-shot fine-tuning trains self-attention, feed-forward sublayers and their norms of the encoder alone",
    ),
)
