"""SentiLARE: RoBERTa with part-of-speech and polarity labels as inputs and targets."""

from collections.abc import Callable
from functools import partial

from torch import nn

from mm_kptm.knowledge.fusion.label_embedding import SentimentEmbedding
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.heads import TiedVocabulary, Transform
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import bert_layer
from mm_kptm.nn.submodules import submodule
from mm_kptm.recipes.bert import activation_of
from mm_kptm.recipes.roberta import (
    HUGGING_FACE_HEAD_RULES,
    ROBERTA_FIELDS,
    ROBERTA_NOTES,
    ROBERTA_TABLES,
    classes,
    hugging_face_rules,
    masked_tokens,
    norm_of,
    text_stream,
)
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Rename, Rule, Same


def sentilare(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 50265,
    max_positions: int = 514,
    num_segments: int = 1,
    position_offset: int = 2,
    activation: str = "gelu",
    norm_eps: float = 1e-5,
    dropout: float = 0.1,
) -> SingleStream:
    """Encoder of Ke et al. (2020); the defaults are the released base model's.

    RoBERTa that adds embeddings of each token's labels
    (:func:`~mm_kptm.knowledge.lexicons.sentiwordnet.felt_tokens`): part of speech and polarity of its word, and the
    grade of the text. The pooled state is the first hidden state.
    """
    norm = partial(nn.LayerNorm, eps=norm_eps)
    text = SentimentEmbedding(
        vocab_size,
        dim,
        max_positions=max_positions,
        num_segments=num_segments,
        position_offset=position_offset,
        norm=norm(dim),
        dropout=dropout,
    )
    layers = (
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout, norm=norm)
        for _ in range(num_layers)
    )
    return text_stream(text, layers, dim=dim)


def _label_head(name: str) -> Callable[..., nn.Module]:
    def head(encoder: SingleStream) -> TiedVocabulary:
        """Output layer over labels: dense, the encoder's activation, norm, tied label embeddings."""
        transform = Transform(encoder.dim, activation=activation_of(encoder), norm=norm_of(encoder))
        bert_init(transform)
        return TiedVocabulary(transform, submodule(encoder, f"embed.text.marks.{name}", nn.Embedding))

    return head


#: Labels of a token: our name, names in the released embeddings and heads, and the name of our head.
_LABELS = (
    ("part", "pos_tag", "pos", "part-of-speech"),
    ("polarity", "senti", "senti", "word-polarity"),
    ("grade", "polarity", "pola", "grade"),
)


def _label_rules() -> tuple[Rule, ...]:
    rules: list[Rule] = []
    for name, table, head, ours in _LABELS:
        published = f"roberta.embeddings.{table}_embeddings.weight"
        rules += [
            Rename(published, f"encoder.embed.text.marks.{name}.weight"),
            Rename(f"{head}_head.bias", f"heads.{ours}.bias"),
            Rename(f"{head}_head.dense.{{leaf}}", f"heads.{ours}.transform.dense.{{leaf}}"),
            Rename(f"{head}_head.layer_norm.{{leaf}}", f"heads.{ours}.transform.norm.{{leaf}}"),
            Same(f"{head}_head.decoder.weight", as_=published),
        ]
    return tuple(rules)


SENTILARE = Recipe(
    name="sentilare-base",
    family="sentilare",
    paper="Ke et al. 2020, SentiLARE: Sentiment-Aware Language Representation Learning with Linguistic Knowledge, "
    "EMNLP, arXiv:1911.02493",
    build=sentilare,
    reads=frozenset({"text"}),
    heads={
        "masked-tokens": masked_tokens,
        **{ours: _label_head(name) for name, _, _, ours in _LABELS},
        "classifier": classes,
    },
    objectives=("label-aware-words",),
    pretraining_heads=("masked-tokens", *(ours for *_, ours in _LABELS)),
    weights=(
        *hugging_face_rules("roberta.", "encoder"),
        *HUGGING_FACE_HEAD_RULES,
        *_label_rules(),
        Rename("classifier.dense.{leaf}", "heads.classifier.pool.dense.{leaf}"),
        Rename("classifier.out_proj.{leaf}", "heads.classifier.out.{leaf}"),
    ),
    config_keys=ROBERTA_FIELDS,
    infer_from_shapes=ROBERTA_TABLES,
    notes=(
        *ROBERTA_NOTES,
        "names and wiring follow the released code, but were not compared with its outputs",
        "words with a polarity are masked at 30 %, others at 15 %, as in the released code",
        "the released code replaces a tenth of the masked words by words of other texts, ours by random pieces",
        "a text's grade is predicted for a fifth of the texts and an input for the others, as in the released code",
        "a kind of label that a batch lacks adds nothing to the loss, which is NaN in the released code",
        "tags and lemmas come with the words, and so does what compares a text with glosses: no tagger, lemmatiser or "
        "encoder of sentences is part of the suite",
    ),
)
