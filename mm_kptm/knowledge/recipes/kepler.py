"""KEPLER: RoBERTa trained on texts and on triples with entity descriptions."""

from collections import OrderedDict

from torch import nn

from mm_kptm.knowledge.embedding.transe import TransEScore
from mm_kptm.knowledge.injection.marker_tokens import MARKINGS
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.heads import Pooler
from mm_kptm.nn.init import bert_init
from mm_kptm.recipes.roberta import (
    HUGGING_FACE_HEAD_RULES,
    ROBERTA_FIELDS,
    ROBERTA_NOTES,
    ROBERTA_TABLES,
    SIDE,
    classes,
    dense_tanh_linear,
    fairseq_head_rules,
    fairseq_rules,
    fairseq_sizes,
    hugging_face_rules,
    masked_tokens,
    roberta,
)
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename
from mm_kptm.systems.text_format import TextFormat


def knowledge_embedding(encoder: SingleStream, *, num_relations: int = 822, margin: float = 4.0) -> TransEScore:
    """TransE over the first states of descriptions (Wang et al. 2021, section 3.2); the defaults are Wikidata5M's."""
    return TransEScore(encoder.dim, num_relations, margin=margin)


def marked_relation(encoder: SingleStream, *, num_classes: int = 42, dropout: float = 0.0) -> nn.Sequential:
    """Dense, tanh, linear on the marker states of head and tail, concatenated, [B, 2 D] (section 5.1)."""
    return dense_tanh_linear(2 * encoder.dim, num_classes, dropout=dropout)


def marked_typing(encoder: SingleStream, *, num_classes: int = 9) -> nn.Sequential:
    """Typing head: two dense and tanh layers, then one score per type without bias, on the mention's first marker."""
    parts: list[tuple[str, nn.Module]] = [
        ("first", Pooler(encoder.dim)),
        ("second", Pooler(encoder.dim)),
        ("out", nn.Linear(encoder.dim, num_classes, bias=False)),
    ]
    head = nn.Sequential(OrderedDict(parts))
    bert_init(head)
    return head


KEPLER = Recipe(
    name="kepler-base",
    family="kepler",
    paper="Wang et al. 2021, KEPLER: A Unified Model for Knowledge Embedding and Pre-trained Language Representation, "
    "TACL, arXiv:1911.06136",
    build=roberta,
    reads=frozenset({"text"}),
    heads={
        "masked-tokens": masked_tokens,
        "knowledge-embedding": knowledge_embedding,
        "marked-relation": marked_relation,
        "marked-typing": marked_typing,
        "classifier": classes,
    },
    objectives=("masked-tokens", "knowledge-embedding"),
    text=TextFormat(markers=MARKINGS["kepler"]),
    weights=(
        *fairseq_rules(f"{SIDE}.sentence_encoder", "encoder"),
        *fairseq_head_rules(SIDE),
        # published as gamma, which is what old norms called their weight: keys are read with that spelled plainly
        Rename("ke_heads.wikiData.weight", "heads.knowledge-embedding.margin"),
        Rename("ke_heads.wikiData.relation_emb.weight", "heads.knowledge-embedding.relation.weight"),
        Drop("ke_heads.{name}.emb_range", because="says how widely fresh relation vectors were spread"),
        Drop("ke_heads.{name}.weight", because="of a second graph that was trained beside Wikidata5M"),
        Drop("ke_heads.{name}.relation_emb.weight", because="of a second graph that was trained beside Wikidata5M"),
        Rename("classification_heads.tacred.dense.{leaf}", "heads.marked-relation.pool.dense.{leaf}"),
        Rename("classification_heads.tacred.out_proj.{leaf}", "heads.marked-relation.out.{leaf}"),
        Rename("classification_heads.{name}.dense.{leaf}", "heads.classifier.pool.dense.{leaf}"),
        Rename("classification_heads.{name}.out_proj.{leaf}", "heads.classifier.out.{leaf}"),
        *hugging_face_rules("[roberta.]", "encoder"),
        *HUGGING_FACE_HEAD_RULES,
        Rename("typing.dense0.{leaf}", "heads.marked-typing.first.dense.{leaf}"),
        Rename("typing.dense.{leaf}", "heads.marked-typing.second.dense.{leaf}"),
        Rename("typing.out_proj.{leaf}", "heads.marked-typing.out.{leaf}"),
    ),
    config_keys=ROBERTA_FIELDS,
    read_config=fairseq_sizes,
    infer_from_shapes=ROBERTA_TABLES,
    notes=(
        *ROBERTA_NOTES,
        "the released code encodes heads and tails twice and every negative anew; here every distinct text of a batch "
        "is encoded once, with the same scores",
        "where relations are conditioned on, the table is still added, as in the released code",
        "the margin is 4, as in the released script; the default of the released code is 12",
        "negatives are drawn afresh for every batch; the released script writes one set to disk per epoch",
        "triples of a mixture are drawn with replacement; the released code goes through a shuffled file",
    ),
)
