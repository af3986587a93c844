"""Linked texts as pretraining data, with entities replaced by others of their type (WKLM)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mm_kptm.data.sampler import seed_of
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import SplitFiles, check_mask_rate, fingerprints
from mm_kptm.errors import UserError
from mm_kptm.knowledge.objectives.entity_replacement import REPLACED_ENTITIES, packed
from mm_kptm.knowledge.objectives.entity_replacement_data import Replacer, read_mentioned, read_typed_entities
from mm_kptm.objectives.mixture import Mixture, Objectives
from mm_kptm.objectives.spec import TEXTS, Offers
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.tasks.pretraining import ObjectiveSource, heads_of


@dataclass(frozen=True, kw_only=True)
class MentionedTexts(SplitFiles):
    """Lines of JSON, each a text with its mentions, and a table of entities with their types and names."""

    name: Literal["linked-texts"]
    entities: Path  #: an entity, its type and its names a line, between tabs
    max_length: int = 512  #: pieces of a text that are read, special ones included
    versions: int = 10  #: of every text, each with other entities replaced
    replaced: float = 0.5  #: the chance of a mention beside which none is replaced
    mask_rate: float = 0.05  #: the share of tokens outside mentions that are masked
    seed: int = 0  #: same seed, same versions

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.versions < 1:
            raise UserError(f"data.versions is {self.versions} but must be at least 1")
        check_mask_rate(self.mask_rate)


def pretraining(data: MentionedTexts, request: DataRequest) -> PreparedData:
    """Versions of every text, in the order of the file."""
    tokenizer = data.tokenizer()
    replacer = Replacer(read_typed_entities(data.entities), rate=data.replaced)
    offers = Offers(data.name, {TEXTS: None, REPLACED_ENTITIES: None})
    objectives = request.built_objectives(offers, tokenizer, data.mask_rate)

    def source(split: str) -> ObjectiveSource:
        # a text has the same versions whatever stands before it
        texts = [
            version
            for number, text in enumerate(read_mentioned(data.files[split]))
            for version in replacer.versions(text, data.versions, random.Random(seed_of(data.seed, number)))
        ]
        return ObjectiveSource(
            InputSource(packed(texts, tokenizer, max_length=data.max_length)), Objectives(objectives)
        )

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: Mixture(system, objectives, request.objectives),
        sizes={"vocab_size": len(tokenizer)},
        heads=heads_of(objectives),
        fingerprints={**data.fingerprints, **fingerprints({"entities": data.entities})},
    )


PRETRAINING_SUPPLY = TaskDataset(None, MentionedTexts, pretraining)
