"""Texts with two marked mentions and their relation as pretraining data (K-Adapter's factual adapter)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from mm_kptm.data.formats.jsonl import read_relation
from mm_kptm.data.formats.mentions import RelatedMentions
from mm_kptm.data.packing import Packed
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import SplitFiles
from mm_kptm.errors import UserError
from mm_kptm.knowledge.injection.marker_tokens import MARKINGS, marker_tokenizer, with_markers
from mm_kptm.knowledge.injection.mention_markers import Annotated
from mm_kptm.knowledge.objectives.mention_classification import MARKED_PAIRS, MarkedRelation
from mm_kptm.objectives.mixture import Mixture, Objectives
from mm_kptm.objectives.spec import TEXTS, Offers
from mm_kptm.preprocessing.inputs import MARK, InputSource
from mm_kptm.preprocessing.text import TextEncoding, TextExample
from mm_kptm.systems.text_format import MarkerTokens
from mm_kptm.tasks.pretraining import ObjectiveSource, heads_of


@dataclass(frozen=True, kw_only=True)
class MarkedRelations(SplitFiles):
    """Lines of JSON, each a text, its head and tail and their relation, as own data of relation classification."""

    name: Literal["marked-relations"]
    max_length: int = 64  #: pieces of a text that are read, special ones included
    markers: Literal["k-adapter", "kepler"] = "k-adapter"  #: what stands around head and tail
    mask_rate: float = 0.15  #: the share of tokens that is masked, where an objective masks some


def pretraining(data: MarkedRelations, request: DataRequest) -> PreparedData:
    """Texts in the order of the file, but for those that do not say their relation.

    Raises:
        UserError: training names fewer than two relations.
    """
    marks = MARKINGS[data.markers]["relation-classification"]
    tokenizer = data.tokenizer()
    encoding = TextEncoding(marker_tokenizer(tokenizer, marks), data.max_length, data.languages, markers=marks)
    relations = tuple(sorted({one.relation for one in read_relation(data.train) if one.relation is not None}))
    if len(relations) < 2:
        raise UserError(f"{data.train} names {len(relations)} relations; there must be at least two")
    offers = Offers(data.name, {TEXTS: None, MARKED_PAIRS: lambda: relations})
    objectives = request.built_objectives(offers, tokenizer, data.mask_rate)

    def source(split: str) -> ObjectiveSource:
        return ObjectiveSource(_texts(data.files[split], relations, encoding, marks), Objectives(objectives))

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: Mixture(system, objectives, request.objectives),
        sizes={"vocab_size": len(tokenizer)},
        heads=heads_of(objectives),
        fingerprints=data.fingerprints,
    )


def _texts(path: Path, relations: tuple[str, ...], encoding: TextEncoding, marks: MarkerTokens) -> InputSource:
    examples = [one for one in read_relation(path) if one.relation is not None]
    if strange := sorted({str(one.relation) for one in examples} - set(relations)):
        raise UserError(f"{path} has the relation {strange[0]!r}, which training has not: {', '.join(relations)}")
    texts = [_annotated(one) for one in examples]
    said = [TextExample(one.id, (text.text,), one.language) for one, text in zip(examples, texts, strict=True)]
    shown = encoding.mentions(texts, said)
    assert isinstance(shown, InputSource)  # there are markers, and no vectors of entities
    classes = np.array([relations.index(str(one.relation)) for one in examples], dtype=np.int64)
    column = {f"{MARK}{MarkedRelation.name}": np.repeat(classes, shown.texts.lengths)}
    return InputSource(Packed(shown.texts.offsets, {**shown.texts.columns, **column}))


def _annotated(one: RelatedMentions) -> Annotated:
    return Annotated(with_markers(one.text, one.head[:2], one.tail[:2]), ())


PRETRAINING_SUPPLY = TaskDataset(None, MarkedRelations, pretraining)
