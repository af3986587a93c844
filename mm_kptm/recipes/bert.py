"""BERT and multilingual BERT."""

from collections.abc import Mapping
from functools import partial

from torch import Tensor, nn

from mm_kptm.models.single import SingleStream
from mm_kptm.models.two_stream import TwoStream
from mm_kptm.nn.assembly import TextOnly
from mm_kptm.nn.attention import set_attention_dropout
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.heads import Pooler, TiedVocabulary, Transform
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.steps import Step
from mm_kptm.nn.sublayers import Activation, FeedForwardSublayer, NormBuilder, activation_named, bert_layer, bert_norm
from mm_kptm.nn.submodules import submodule
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, OneOf, Rename, Same
from mm_kptm.systems.transformers_form import BERT_FORM


def bert(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 30522,
    max_positions: int = 512,
    num_segments: int = 2,
    activation: str = "gelu",
    norm_eps: float = 1e-12,
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> SingleStream:
    """The encoder of Devlin et al. (2019, section 3); the defaults are BERT-base, uncased.

    ``attention_dropout`` is that of the states unless given.
    """
    norm = partial(nn.LayerNorm, eps=norm_eps)
    text = TextEmbedding(
        vocab_size, dim, max_positions=max_positions, num_segments=num_segments, norm=norm(dim), dropout=dropout
    )
    layers = (
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout, norm=norm)
        for _ in range(num_layers)
    )
    encoder = SingleStream(TextOnly(text), layers, Pooler(dim), dim=dim)
    bert_init(encoder)
    set_attention_dropout(encoder, attention_dropout)
    return encoder


def masked_tokens(encoder: SingleStream | TwoStream) -> TiedVocabulary:
    """Dense, the encoder's activation, norm, then the words as output matrix (Devlin et al. 2019, task 1)."""
    transform = Transform(encoder.dim, activation=activation_of(encoder), norm=norm_of(encoder))
    head = TiedVocabulary(transform, submodule(encoder, "embed.text.word", nn.Embedding))
    bert_init(head.transform)
    return head


def activation_of(encoder: nn.Module) -> Activation:
    """The activation of an encoder's feed-forward sublayers, of the text's where a second stream has others.

    The heads of its pretraining share it; they have GELU where the encoder has no such sublayer.
    """
    texts = (part.left for part in encoder.modules() if isinstance(part, Step) and hasattr(part, "left"))
    parts = (part for stream in (*texts, encoder) if isinstance(stream, nn.Module) for part in stream.modules())
    found = (part.activation for part in parts if isinstance(part, FeedForwardSublayer))
    return next(found, activation_named("gelu"))


def norm_of(encoder: nn.Module) -> NormBuilder:
    """Norms with the eps of an encoder's feed-forward sublayers, which the heads of its pretraining share."""
    norms = (part.norm for part in encoder.modules() if isinstance(part, FeedForwardSublayer))
    return next((partial(nn.LayerNorm, eps=norm.eps) for norm in norms if isinstance(norm, nn.LayerNorm)), bert_norm)


def pair_classes(encoder: SingleStream | TwoStream, *, num_classes: int = 2) -> nn.Linear:
    """Linear classifier on the pooled state; next-sentence prediction has 0 = is next, 1 = random (task 2)."""
    head = nn.Linear(encoder.dim, num_classes)
    bert_init(head)
    return head


def classes(encoder: SingleStream, *, num_classes: int = 2, dropout: float = 0.0) -> nn.Sequential:
    """Linear classifier on the pooled state of a text or a pair of texts (Devlin et al. 2019, section 4.1)."""
    return _linear(encoder.dim, num_classes, dropout)


def token_classes(encoder: SingleStream, *, num_classes: int = 7, dropout: float = 0.0) -> nn.Sequential:
    """Linear token classifier: part-of-speech tags, named entities (the default is PAN-X's seven tags)."""
    return _linear(encoder.dim, num_classes, dropout)


def answer_spans(encoder: SingleStream) -> nn.Linear:
    """Start and end logits of every token, [P, 2] (Devlin et al. 2019, section 4.2)."""
    head = nn.Linear(encoder.dim, 2)
    bert_init(head)
    return head


def _linear(dim: int, num_classes: int, dropout: float) -> nn.Sequential:
    head = nn.Sequential(nn.Dropout(dropout), nn.Linear(dim, num_classes))
    bert_init(head)
    return head


def layer_rules(theirs: str, ours: str) -> tuple[Rename, ...]:
    """Key renamings of one BERT layer from the prefix ``theirs`` to the prefix ``ours``."""
    return (
        Rename(f"{theirs}.attention.self.{{role}}.{{leaf}}", f"{ours}.self_attention.attention.{{role}}.{{leaf}}"),
        Rename(f"{theirs}.attention.output.dense.{{leaf}}", f"{ours}.self_attention.attention.out_proj.{{leaf}}"),
        Rename(f"{theirs}.attention.output.LayerNorm.{{leaf}}", f"{ours}.self_attention.norm.{{leaf}}"),
        Rename(f"{theirs}.intermediate.dense.{{leaf}}", f"{ours}.ffn.up_proj.{{leaf}}"),
        Rename(f"{theirs}.output.dense.{{leaf}}", f"{ours}.ffn.down_proj.{{leaf}}"),
        Rename(f"{theirs}.output.LayerNorm.{{leaf}}", f"{ours}.ffn.norm.{{leaf}}"),
    )


def embedding_rules(theirs: str, ours: str) -> tuple[Rename, ...]:
    """Key renamings of BERT's text embeddings from the prefix ``theirs`` to the prefix ``ours``."""
    return (
        Rename(f"{theirs}.word_embeddings.weight", f"{ours}.word.weight"),
        Rename(f"{theirs}.position_embeddings.weight", f"{ours}.position.weight"),
        Rename(f"{theirs}.token_type_embeddings.weight", f"{ours}.segment.weight"),
        Rename(f"{theirs}.LayerNorm.{{leaf}}", f"{ours}.norm.{{leaf}}"),
    )


def vocabulary_rules(word: str, theirs: str = "cls") -> tuple[Rename | Same, ...]:
    """Key renamings of BERT's masked-token head under ``theirs``, tied to the published word table ``word``."""
    return (
        Rename(f"{theirs}.predictions.bias", "heads.masked-tokens.bias"),
        Rename(f"{theirs}.predictions.transform.dense.{{leaf}}", "heads.masked-tokens.transform.dense.{leaf}"),
        Rename(f"{theirs}.predictions.transform.LayerNorm.{{leaf}}", "heads.masked-tokens.transform.norm.{leaf}"),
        Same(f"{theirs}.predictions.decoder.weight", as_=word),
        Same(f"{theirs}.predictions.decoder.bias", as_=f"{theirs}.predictions.bias"),
    )


#: Key renamings of Hugging Face's fine-tuned heads; sequences and tokens are classified under one name.
FINE_TUNED_RULES: tuple[Rename | OneOf, ...] = (
    OneOf("classifier.{leaf}", ("heads.classifier.1.{leaf}", "heads.token-classifier.1.{leaf}")),
    Rename("qa_outputs.{leaf}", "heads.answer-spans.{leaf}"),
)


def class_counts(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, int]]:
    """The number of classes of every classifier in a translated checkpoint."""
    last = {
        "classifier": ("heads.classifier.1.bias", "heads.classifier.out.bias"),
        "token-classifier": ("heads.token-classifier.1.bias",),
    }
    return {
        head: {"num_classes": len(tensors[name])} for head, names in last.items() for name in names if name in tensors
    }


#: Sizes of a BERT-like encoder, by the fields of a published ``config.json``.
BERT_FIELDS = {
    "hidden_size": "dim",
    "num_attention_heads": "num_heads",
    "num_hidden_layers": "num_layers",
    "intermediate_size": "ffn_dim",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "max_positions",
    "type_vocab_size": "num_segments",
    "hidden_act": "activation",
    "hidden_dropout_prob": "dropout",
    "layer_norm_eps": "norm_eps",
}

#: The same of encoders that take an eps and a dropout of attention weights of their own.
NORM_AND_ATTENTION = {"layer_norm_eps": "norm_eps", "attention_probs_dropout_prob": "attention_dropout"}

_PAPER = "Devlin et al. 2019, BERT: Pre-training of Deep Bidirectional Transformers, NAACL, arXiv:1810.04805"

BERT_BASE = Recipe(
    name="bert-base",
    family="bert",
    paper=_PAPER,
    build=bert,
    reads=frozenset({"text"}),
    heads={
        "masked-tokens": masked_tokens,
        "next-sentence": pair_classes,
        "classifier": classes,
        "token-classifier": token_classes,
        "answer-spans": answer_spans,
    },
    objectives=("masked-tokens", "next-sentence"),
    weights=(
        *embedding_rules("[bert.]embeddings", "encoder.embed.text"),
        Drop("[bert.]embeddings.position_ids", because="a buffer that counts from 0"),
        *layer_rules("[bert.]encoder.layer.{i}", "encoder.layers.{i}"),
        Rename("[bert.]pooler.dense.{leaf}", "encoder.pooler.dense.{leaf}"),
        *vocabulary_rules("bert.embeddings.word_embeddings.weight"),
        Rename("cls.seq_relationship.{leaf}", "heads.next-sentence.{leaf}"),
        *FINE_TUNED_RULES,
    ),
    infer_heads=class_counts,
    config_keys=BERT_FIELDS | NORM_AND_ATTENTION,
    model_types=("bert",),
    transformers=BERT_FORM,
)

BERT_LARGE = Recipe(
    **{
        **vars(BERT_BASE),
        "name": "bert-large",
        "sizes": {"dim": 1024, "num_heads": 16, "num_layers": 24, "ffn_dim": 4096},
    }
)

MBERT = Recipe(**{**vars(BERT_BASE), "name": "mbert-base", "family": "mbert", "sizes": {"vocab_size": 119547}})
