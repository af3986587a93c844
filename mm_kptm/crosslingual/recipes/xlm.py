"""XLM: multilingual masked and translation language models, and the encoder-decoder initialised from them."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from mm_kptm.crosslingual.objectives.heads import BorrowedRows
from mm_kptm.crosslingual.recipes.xlm_layout import (
    SEQ2SEQ_TABLES,
    output_rules,
    seq2seq_rules,
    stack_rules,
    untied_outputs,
    xlm_decoder_layers,
    xlm_embedding,
)
from mm_kptm.models.seq2seq import Seq2Seq
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import TextOnly
from mm_kptm.nn.attention import set_attention_dropout
from mm_kptm.nn.decoder import Decoder
from mm_kptm.nn.heads import TiedVocabulary
from mm_kptm.nn.sublayers import bert_layer
from mm_kptm.nn.submodules import submodule
from mm_kptm.recipes.bert import answer_spans, class_counts
from mm_kptm.systems.labels import head_of_class
from mm_kptm.systems.published_fields import STANDARD, check_fields
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Copies, Rename, Rule
from mm_kptm.systems.text_format import BERT_FORMAT, TextFormat
from mm_kptm.systems.transformers_form import XLM_FORM


def xlm(
    *,
    dim: int = 1024,
    num_heads: int = 8,
    num_layers: int = 12,
    ffn_dim: int | None = None,
    vocab_size: int = 95000,
    max_positions: int = 512,
    num_languages: int = 15,
    positions: str = "learned",
    activation: str = "gelu",
    norm_eps: float = 1e-12,
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> SingleStream:
    """The encoder of Conneau and Lample (2019, section 3); the defaults are the model of 15 languages.

    No segments, a language embedding for every token (none with ``num_languages`` 0), and a feed-forward width of 4 x
    ``dim`` by default. There is no pooler: the pooled state is the first state.

    Raises:
        UserError: ``positions`` are neither ``learned`` nor ``sinusoidal``.
    """
    norm = partial(nn.LayerNorm, eps=norm_eps)
    text = xlm_embedding(
        vocab_size,
        dim,
        max_positions=max_positions,
        num_languages=num_languages,
        positions=positions,
        norm=norm(dim),
        dropout=dropout,
    )
    layers = [
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout, norm=norm)
        for _ in range(num_layers)
    ]
    encoder = SingleStream(TextOnly(text), layers, nn.Identity(), dim=dim)
    set_attention_dropout(encoder, attention_dropout)
    return encoder


def xlm_mt(
    *,
    dim: int = 1024,
    num_heads: int = 8,
    num_layers: int = 6,
    ffn_dim: int | None = None,
    vocab_size: int = 64139,
    max_positions: int = 512,
    num_languages: int = 2,
    positions: str = "learned",
    activation: str = "gelu",
    norm_eps: float = 1e-12,
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> Seq2Seq:
    """XLM encoder-decoder (Conneau and Lample 2019, section 4.2); the defaults are English-French.

    Raises:
        UserError: as :func:`xlm`.
    """
    source = xlm(
        dim=dim,
        num_heads=num_heads,
        num_layers=num_layers,
        ffn_dim=ffn_dim,
        vocab_size=vocab_size,
        max_positions=max_positions,
        num_languages=num_languages,
        positions=positions,
        activation=activation,
        norm_eps=norm_eps,
        dropout=dropout,
    )
    norm = partial(nn.LayerNorm, eps=norm_eps)
    text = xlm_embedding(
        vocab_size,
        dim,
        max_positions=max_positions,
        num_languages=num_languages,
        positions=positions,
        norm=norm(dim),
        dropout=dropout,
    )
    layers = xlm_decoder_layers(
        dim, num_heads, num_layers, ffn_dim=ffn_dim, activation=activation, dropout=dropout, norm=norm
    )
    model = Seq2Seq(source, Decoder(text, layers))
    set_attention_dropout(model, attention_dropout)
    return model


def masked_tokens(encoder: SingleStream | Seq2Seq, *, tied: bool = True) -> TiedVocabulary:
    """The word embeddings as output matrix, with a bias and nothing before it (Conneau and Lample 2019, 3.3).

    Where it is not ``tied``, the output matrix is another one of the same shape.
    """
    word = _words(encoder)
    return TiedVocabulary(nn.Identity(), word if tied else nn.Embedding(*word.weight.shape))


def next_tokens(encoder: Seq2Seq, *, tied: bool = True) -> TiedVocabulary:
    """The word embeddings of the decoder as output matrix with a bias (section 4.2), or another one as above."""
    word = submodule(encoder, "target.embed.word", nn.Embedding)
    return TiedVocabulary(nn.Identity(), word if tied else nn.Embedding(*word.weight.shape))


def parallel_pairs(encoder: SingleStream) -> BorrowedRows:
    """Parallel-sentence classifier with rows 8 and 9 of the word table; in the released code only."""
    return BorrowedRows(_words(encoder), weight=8, bias=9)


def classes(encoder: SingleStream, *, num_classes: int = 3, dropout: float = 0.0) -> nn.Sequential:
    """Linear on the first state; XNLI has contradiction 0, neutral 1, entailment 2 (section 4.1)."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(encoder.dim, num_classes))


def token_classes(encoder: SingleStream, *, num_classes: int = 7, dropout: float = 0.0) -> nn.Sequential:
    """Linear on every state; the default is PAN-X's seven tags."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(encoder.dim, num_classes))


def _words(encoder: SingleStream | Seq2Seq) -> nn.Embedding:
    source = encoder.source if isinstance(encoder, Seq2Seq) else encoder
    return submodule(source, "embed.text.word", nn.Embedding)


#: What a configuration may ask for; absent fields ask for nothing.
BUILT = {
    **{name: values for name, values in STANDARD.items() if name not in ("layer_norm_eps", "tie_word_embeddings")},
    "use_memory": (False,),
}

#: What Hugging Face's classifier may say of the vector that it reads: the first state, through one linear layer.
_SUMMARY = {
    "summary_type": ("first",),
    "summary_use_proj": (True,),
    "summary_activation": (None,),
    "summary_proj_to_labels": (True,),
}

_NAMES = {
    "emb_dim": "dim",
    "n_heads": "num_heads",
    "n_layers": "num_layers",
    "n_words": "vocab_size",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "max_positions",
    "layer_norm_eps": "norm_eps",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
}

#: The fields that :func:`read_config` reads; the output matrix shows whether it is tied.
FIELDS = frozenset(
    {*_NAMES, "gelu_activation", "sinusoidal_embeddings", "n_langs", "use_lang_emb", "tie_word_embeddings"}
)


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes from the ``params`` of a checkpoint, or from a configuration of Hugging Face with the same fields.

    Languages are embedded where there are several, unless ``use_lang_emb`` says no; older files lack that field.

    Raises:
        UserError: it asks for what the encoder has no part for.
    """
    params = config.get("params", config)
    check_fields("xlm", params, BUILT)
    if head_of_class(config) == "classifier":
        check_fields("xlm", params, _SUMMARY)
    sizes = {ours: params[theirs] for theirs, ours in _NAMES.items() if theirs in params}
    if "gelu_activation" in params:
        sizes["activation"] = "gelu" if params["gelu_activation"] else "relu"
    if "sinusoidal_embeddings" in params:
        sizes["positions"] = "sinusoidal" if params["sinusoidal_embeddings"] else "learned"
    if "n_langs" in params:
        embedded = params["n_langs"] > 1 and params.get("use_lang_emb", True)
        sizes["num_languages"] = params["n_langs"] if embedded else 0
    return sizes


def infer_heads(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """The classes of every head of a checkpoint, and whether its output matrix is another one than its words'."""
    return {**class_counts(tensors), **untied_outputs(tensors)}


def _start_rules() -> tuple[Rule, ...]:
    """Key renamings of a single XLM that initialises both sides: every tensor goes to source and target."""
    source = (
        *stack_rules("", "encoder.source.embed.text", "encoder.source.layers"),
        *output_rules("", "masked-tokens"),
    )
    target = (
        *stack_rules("", "encoder.target.embed", "encoder.target.layers"),
        *output_rules("", "next-tokens"),
    )
    return tuple(
        Copies(one.theirs, (one.ours, other.ours)) if isinstance(one, Rename) and isinstance(other, Rename) else one
        for one, other in zip(source, target, strict=True)
    )


_PAPER = "Conneau and Lample 2019, Cross-lingual Language Model Pretraining, NeurIPS, arXiv:1901.07291"
_NOTES = (
    "languages are numbered in alphabetical order of their codes, as in the params of the checkpoint",
    "positions have 512 rows whatever the longest text; a translation's positions begin at 0 again (TLM)",
    "the published models have no product-key memory and no adaptive softmax, and neither has this one",
)

#: The codes of the model of 15 languages, those of XNLI (Conneau and Lample 2019, section 4.1), by language id.
LANGUAGES = ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")

XLM_15 = Recipe(
    name="xlm-15",
    family="xlm",
    paper=_PAPER,
    build=xlm,
    model_types=("xlm",),
    reads=frozenset({"text", "languages"}),
    heads={
        "masked-tokens": masked_tokens,
        "parallel-pairs": parallel_pairs,
        "classifier": classes,
        "token-classifier": token_classes,
        "answer-spans": answer_spans,
    },
    objectives=("masked-tokens", "translation-language-modeling"),
    text=TextFormat(languages=LANGUAGES),
    weights=(
        *stack_rules("[transformer.]", "encoder.embed.text", "encoder.layers"),
        Rename("pred_layer.proj.bias", "heads.masked-tokens.bias"),
        Rename("pred_layer.proj.weight", "heads.masked-tokens.word.weight"),
        Rename("sequence_summary.summary.{leaf}", "heads.classifier.1.{leaf}"),
        Rename("classifier.{leaf}", "heads.token-classifier.1.{leaf}"),
        Rename("qa_outputs.{leaf}", "heads.answer-spans.{leaf}"),
    ),
    read_config=read_config,
    read_fields=FIELDS,
    fixed_fields=BUILT,
    infer_heads=infer_heads,
    transformers=XLM_FORM,
    infer_from_shapes={
        "dim": ("encoder.embed.text.word.weight", 1),
        "vocab_size": ("encoder.embed.text.word.weight", 0),
        "max_positions": ("encoder.embed.text.position.weight", 0),
        "num_languages": ("encoder.embed.text.language.weight", 0),
    },
    notes=_NOTES,
)

XLM_17 = Recipe(
    **{
        **vars(XLM_15),
        "name": "xlm-17",
        "reads": frozenset({"text"}),
        "objectives": ("masked-tokens",),
        "text": BERT_FORMAT,
        "sizes": {"dim": 1280, "num_heads": 16, "num_layers": 16, "vocab_size": 200000, "num_languages": 0},
    }
)

XLM_100 = Recipe(**{**vars(XLM_17), "name": "xlm-100"})

XLM_ENGLISH = Recipe(
    **{
        **vars(XLM_17),
        "name": "xlm-en",
        "sizes": {"dim": 2048, "num_heads": 16, "vocab_size": 30145, "num_languages": 0},
    }
)

XLM_MT = Recipe(
    name="xlm-mt",
    family="xlm_mt",
    paper=_PAPER,
    build=xlm_mt,
    model_types=("xlm",),
    reads=frozenset({"text", "languages", "target"}),
    heads={"masked-tokens": masked_tokens, "next-tokens": next_tokens},
    objectives=("word-denoising", "back-translation", "next-tokens"),
    weights=(
        *seq2seq_rules(),
        *_start_rules(),
    ),
    read_config=read_config,
    infer_heads=untied_outputs,
    infer_from_shapes=SEQ2SEQ_TABLES,
    notes=(
        *_NOTES,
        "a checkpoint of masked tokens is a start for both sides: load it with "
        "fresh=['encoder.target.layers.0.cross_attention.', ...], one for every layer, as only a decoder reads a "
        "source",
    ),
)
