"""Texts with linked entities as data of pretraining: some entities are replaced by others of their type (WKLM)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mm_kptm.data.sampler import seed_of
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.datasets.protocol import Prepared, Request, Supply
from mm_kptm.datasets.settings import SplitFiles, hashes
from mm_kptm.errors import UserError
from mm_kptm.knowledge.objectives.entity_replacement import EntityReplacement, packed
from mm_kptm.knowledge.objectives.entity_replacement_data import Replacer, read_mentioned, read_typed_entities
from mm_kptm.objectives.mixture import Mixture, Objectives
from mm_kptm.objectives.tokens import Bernoulli, Masking
from mm_kptm.preprocessing.inputs import TextsOfPictures
from mm_kptm.tasks.pretraining import PuzzleSource, heads_of, objectives_named


@dataclass(frozen=True, kw_only=True)
class MentionedTexts(SplitFiles):
    """Lines of JSON, each a text with its mentions, and a table of entities with their types and names."""

    name: Literal["mentioned-texts"]
    entities: Path  #: an entity, its type and its names a line, between tabs
    longest: int = 512  #: pieces of a text that are read, special ones included
    versions: int = 10  #: of every text, each with other entities replaced
    replaced: float = 0.5  #: the chance of a mention beside which none is replaced
    hidden: float = 0.05  #: the share of tokens outside mentions that are hidden
    seed: int = 0  #: same seed, same versions

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.versions < 1:
            raise UserError(f"data.versions is {self.versions} but must be at least 1")
        if not 0 < self.hidden < 1:
            raise UserError(f"data.hidden is {self.hidden} but must be a share of the tokens, above 0 and below 1")


def pretraining(data: MentionedTexts, request: Request) -> Prepared:
    """Versions of every text, in the order of the file."""
    tokenizer = data.tokenizer()
    replacer = Replacer(read_typed_entities(data.entities), rate=data.replaced)
    objectives = objectives_named(
        request.objectives,
        tokenizer.specials,
        len(tokenizer),
        hidden=data.hidden,
        more={EntityReplacement.name: entity_replacement},
    )

    def source(split: str) -> PuzzleSource:
        # a text has the same versions whatever stands before it
        texts = [
            version
            for number, text in enumerate(read_mentioned(data.files[split]))
            for version in replacer.versions(text, data.versions, random.Random(seed_of(data.seed, number)))
        ]
        return PuzzleSource(TextsOfPictures(packed(texts, tokenizer, max_length=data.longest)), Objectives(objectives))

    return Prepared(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: Mixture(system, objectives, request.objectives),
        sizes={"vocab_size": len(tokenizer)},
        heads=heads_of(objectives),
        hashes={**data.hashes, **hashes({"entities": data.entities})},
    )


def entity_replacement(specials: Specials, vocab_size: int, hidden: float) -> EntityReplacement:
    """With every token outside mentions hidden by itself."""
    masking = Masking(specials.mask, (0, vocab_size), specials.never_hidden, choice=Bernoulli(hidden))
    return EntityReplacement(masking)


PRETRAINING_SUPPLY = Supply(None, MentionedTexts, pretraining)
