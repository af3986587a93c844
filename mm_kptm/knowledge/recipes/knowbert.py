"""KnowBERT: BERT with knowledge attention and recontextualisation (KAR) from Wikipedia and WordNet."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.knowledge.fusion.kar import RecontextualisedStream
from mm_kptm.knowledge.fusion.knowledge_bases import Sizes, recontextualise
from mm_kptm.nn.init import bert_init
from mm_kptm.recipes.bert import (
    BERT_FIELDS,
    bert,
    embedding_rules,
    layer_rules,
    masked_tokens,
    pair_classes,
    vocabulary_rules,
)
from mm_kptm.systems.norm_eps import BERT_EPS
from mm_kptm.systems.published_fields import STANDARD, check_fields
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import OneOf, Rename, Rule, Same

#: Sizes of the released models; those of tables are read from the loaded checkpoint.
WIKI: dict[str, Any] = {"num_entities": 470_000, "entity_dim": 300}
WORDNET: dict[str, Any] = {
    "num_entities": 117_663,
    "entity_dim": 200,
    "raw_dim": 2248,
    "null": "none",
    "decision": "softmax",
}
_RELEASED = {"wiki": WIKI, "wordnet": WORDNET}
_DEPTH = 12  # of the released encoders, whose layers 9 and 10 the KARs follow


def knowbert(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 30522,
    max_positions: int = 512,
    num_segments: int = 2,
    activation: str = "gelu",
    dropout: float = 0.1,
    bases: Mapping[str, Sizes] | None = None,
) -> RecontextualisedStream:
    """Encoder of Peters et al. (2019, figure 1); the defaults are the released model with both knowledge bases.

    ``bases`` are knowledge bases by name with their sizes
    (:class:`~mm_kptm.knowledge.fusion.knowledge_bases.Base`); ``wiki`` and ``wordnet`` default to the released sizes.
    By default a KAR follows layer 9 of 12, WordNet's beside Wikipedia's layer 10, in that proportion for other depths.
    """
    encoder = bert(
        dim=dim,
        num_heads=num_heads,
        num_layers=num_layers,
        ffn_dim=ffn_dim,
        vocab_size=vocab_size,
        max_positions=max_positions,
        num_segments=num_segments,
        activation=activation,
        dropout=dropout,
    )
    chosen: Mapping[str, Sizes] = {"wiki": {}, "wordnet": {}} if bases is None else bases
    layers = {name: 10 if name == "wordnet" and "wiki" in chosen else 9 for name in chosen}
    sized = {
        name: {"layer": layers[name] * num_layers // _DEPTH, **_RELEASED.get(name, {}), **sizes}
        for name, sizes in chosen.items()
    }
    return recontextualise(encoder, sized, dropout=dropout)


def _states_beside(encoder: RecontextualisedStream, states: int, num_classes: int, dropout: float) -> nn.Sequential:
    parts: list[tuple[str, nn.Module]] = [
        ("drop", nn.Dropout(dropout)),
        ("out", nn.Linear(states * encoder.dim, num_classes)),
    ]
    head = nn.Sequential(OrderedDict(parts))
    bert_init(head)
    return head


def marked_relation(encoder: RecontextualisedStream, *, num_classes: int = 42, dropout: float = 0.1) -> nn.Sequential:
    """Linear layer on the marker states of subject and object, concatenated (section 4.3)."""
    return _states_beside(encoder, 2, num_classes, dropout)


def marked_typing(encoder: RecontextualisedStream, *, num_classes: int = 9, dropout: float = 0.1) -> nn.Sequential:
    """Linear layer on the marker state of the mention; a type is predicted if its score is positive (section 4.3)."""
    return _states_beside(encoder, 1, num_classes, dropout)


def word_in_context(encoder: RecontextualisedStream, *, num_classes: int = 2, dropout: float = 0.1) -> nn.Sequential:
    """Linear layer on the pooled state and a word's states in two sentences: same sense or not (section 4.3)."""
    return _states_beside(encoder, 3, num_classes, dropout)


def _bert_rules(theirs: str) -> tuple[Rule, ...]:
    """Key rules of the encoder and its pretraining heads, which an archive stores three times."""
    inner, cls, again = f"{theirs}pretrained_bert.bert", f"{theirs}pretrained_bert.cls", f"{theirs}pretraining_heads"
    head = "predictions.transform"
    return (
        *embedding_rules(f"{inner}.embeddings", "encoder.embed.text"),
        *layer_rules(f"{inner}.encoder.layer.{{i}}", "encoder.layers.{i}"),
        Rename(f"{inner}.pooler.dense.{{leaf}}", "encoder.pooler.dense.{leaf}"),
        *vocabulary_rules(f"{inner}.embeddings.word_embeddings.weight", cls),
        Rename(f"{cls}.seq_relationship.{{leaf}}", "heads.next-sentence.{leaf}"),
        Same(f"{again}.predictions.bias", as_=f"{cls}.predictions.bias"),
        Same(f"{again}.{head}.dense.{{leaf}}", as_=f"{cls}.{head}.dense.{{leaf}}"),
        Same(f"{again}.{head}.LayerNorm.{{leaf}}", as_=f"{cls}.{head}.LayerNorm.{{leaf}}"),
        Same(f"{again}.predictions.decoder.weight", as_=f"{cls}.predictions.decoder.weight"),
        Same(f"{again}.seq_relationship.{{leaf}}", as_=f"{cls}.seq_relationship.{{leaf}}"),
        Same(f"{theirs}pooler.dense.{{leaf}}", as_=f"{inner}.pooler.dense.{{leaf}}"),
    )


def _base_rules(theirs: str) -> tuple[Rule, ...]:
    """Key rules of every knowledge base, whatever its name."""
    kar, linker = f"{theirs}{{base}}_soldered_kg", f"{theirs}{{base}}_soldered_kg.entity_linker.disambiguator"
    table, score = f"{linker}.entity_embeddings", f"{linker}.dot_attention_with_prior"
    ours = "encoder.kars.{base}"
    places = {
        f"{linker}.bert_to_kg_projector": "linker.down_proj",
        f"{linker}.span_extractor._global_attention": "linker.pool.score",
        f"{linker}.projected_span_layer_norm": "linker.span_norm",
        f"{linker}.kg_layer_norm": "linker.entity_norm",
        f"{score}.out_layer_1": "linker.score.up_proj",
        f"{score}.out_layer_2": "linker.score.down_proj",
        f"{table}.proj_feed_forward": "linker.table.map",
        f"{kar}.weighted_entity_layer_norm": "told_norm",
        f"{kar}.kg_to_bert_projection": "up_proj",
        f"{kar}.output_layer_norm": "norm",
    }
    return (
        *(Rename(f"{part}.{{leaf}}", f"{ours}.{place}.{{leaf}}") for part, place in places.items()),
        *layer_rules(f"{linker}.span_encoder.layer.{{i}}", f"{ours}.linker.layers.{{i}}"),
        Rename(
            f"{kar}.span_attention_layer.attention.attention.{{role}}.{{leaf}}",
            f"{ours}.read.self_attention.attention.{{role}}.{{leaf}}",
        ),
        *layer_rules(f"{kar}.span_attention_layer", f"{ours}.read"),
        Rename(f"{table}.weight", f"{ours}.linker.table.vectors"),
        Rename(f"{table}.entity_embeddings.weight", f"{ours}.linker.table.vectors"),
        Rename(f"{table}.entity_id_to_pos_index", f"{ours}.linker.table.classes"),
        Rename(f"{table}.pos_embeddings.weight", f"{ours}.linker.table.class_vectors.weight"),
        # where the null is learned, the scorer has a copy of the same vector
        Rename(f"{table}.null_embedding", f"{ours}.linker.table.null"),
        Rename(f"{score}.null_embedding", f"{ours}.linker.table.null"),
    )


def _sizes_in(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes in a published configuration: that of an archive (under ``model``), or its parts."""
    config = config.get("model", config)
    encoder = config.get("bert_config", {})
    check_fields("knowbert", encoder, {**STANDARD, "layer_norm_eps": (BERT_EPS,)})
    sizes = {ours: encoder[theirs] for theirs, ours in BERT_FIELDS.items() if theirs in encoder and ours != "norm_eps"}
    if "soldered_layers" in config:
        layers = config["soldered_layers"]
        sizes["bases"] = {name: _base_sizes(kg, layers[name]) for name, kg in config["soldered_kgs"].items()}
    return sizes


def _base_sizes(config: Mapping[str, Any], layer: int) -> dict[str, Any]:
    """Sizes of a knowledge base that only a configuration has; the widths are in the checkpoint."""
    linker = config.get("entity_linker", config)
    return {
        "layer": layer,
        "decision": linker.get("loss_type", "margin"),
        "threshold": linker.get("decode_threshold", 0.0),
        "margin": linker.get("margin", 0.2),
        "span_heads": linker["span_encoder_config"]["num_attention_heads"],
        "read_heads": config["span_attention_config"]["num_attention_heads"],
    }


def _sizes_from(tensors: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of the knowledge bases in a checkpoint: all but layers, heads and decision rules."""
    known = sizes.get("bases", {})
    names = {key.split(".")[2] for key in tensors if key.startswith("encoder.kars.")}
    if known and known.keys() != names:
        raise UserError(
            f"the configuration names the knowledge bases {' and '.join(sorted(known))} in soldered_kgs, but the "
            f"checkpoint holds {' and '.join(sorted(names)) or 'none'}; take the configuration that belongs to it"
        )
    return {"bases": {name: {**known.get(name, {}), **_base_shapes(tensors, name)} for name in sorted(names)}}


def _base_shapes(tensors: Mapping[str, Tensor], name: str) -> dict[str, Any]:
    kar = f"encoder.kars.{name}."
    own = {key.removeprefix(kar): tensor.shape for key, tensor in tensors.items() if key.startswith(kar)}
    synsets, has_null = "linker.table.map.weight" in own, "linker.table.null" in own
    rows = {
        "entity_dim": "linker.down_proj.weight",
        "num_entities": "linker.table.vectors",
        "span_ffn_dim": "linker.layers.0.ffn.up_proj.weight",
        "read_ffn_dim": "read.ffn.up_proj.weight",
    }
    sizes: dict[str, Any] = {size: own[key][0] for size, key in rows.items() if key in own}
    sizes["span_layers"] = sum(key.startswith("linker.layers.") and key.endswith("up_proj.weight") for key in own)
    sizes["null"] = "none" if not has_null else "learned" if synsets else "table"
    if synsets:
        sizes["raw_dim"] = own["linker.table.vectors"][1]
        sizes["class_dim"] = own.get("linker.table.class_vectors.weight", (0, 0))[1]
    else:
        sizes["raw_dim"] = 0
    return sizes


_SHARED: dict[str, Any] = {
    "family": "knowbert",
    "paper": "Peters et al. 2019, Knowledge Enhanced Contextual Word Representations, EMNLP, arXiv:1909.04164",
    "build": knowbert,
    "model_types": ("bert",),
    "reads": frozenset({"text", "candidates"}),
    "heads": {
        "masked-tokens": masked_tokens,
        "next-sentence": pair_classes,
        "marked-relation": marked_relation,
        "marked-typing": marked_typing,
        "word-in-context": word_in_context,
    },
    "objectives": ("masked-tokens", "next-sentence"),
    "weights": (
        *_bert_rules(""),
        *_bert_rules("model."),
        *_base_rules("[model.]"),
        OneOf(
            "classifier.{leaf}",
            tuple(f"heads.{head}.out.{{leaf}}" for head in ("marked-relation", "marked-typing", "word-in-context")),
        ),
    ),
    "read_config": _sizes_in,
    "infer_sizes": _sizes_from,
    "infer_from_shapes": {
        "dim": ("encoder.embed.text.word.weight", 1),
        "vocab_size": ("encoder.embed.text.word.weight", 0),
        "max_positions": ("encoder.embed.text.position.weight", 0),
        "num_segments": ("encoder.embed.text.segment.weight", 0),
        "ffn_dim": ("encoder.layers.0.ffn.up_proj.weight", 0),
    },
    "notes": (
        "a span without an entity is mixed with the null vector as it is in the table, while candidates are normalised",
        "a text without mentions still gets a residual update: a blank span gives the biases of the norms",
        "the vectors of synset classes have as many rows as there are entities, though only nine are read",
        "where no candidate of a synset mention is gold, the first one counts as gold",
        "the released code initialises the projection back to the encoder with a pseudo-inverse once linkers are "
        "trained, which is ill-posed at the released sizes and off in the model with both bases; ours is random",
        "spans pool the rows of their tokens; padding inside a span, which the released code would pool, is no row",
    ),
}

KNOWBERT = Recipe(name="knowbert-wiki-wordnet", **_SHARED)

KNOWBERT_WIKI = Recipe(name="knowbert-wiki", sizes={"bases": {"wiki": {}}}, **_SHARED)

KNOWBERT_WORDNET = Recipe(name="knowbert-wordnet", sizes={"bases": {"wordnet": {}}}, **_SHARED)
