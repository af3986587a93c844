"""Texts with mentions of entities, and a knowledge base that describes them in several languages (XLM-K).

Shapes: N descriptions, K triples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mm_kptm.batch import Inputs
from mm_kptm.crosslingual.corpora.tokenized_descriptions import (
    DESCRIPTION,
    FIRST,
    LANGUAGE,
    OBJECT,
    SUBJECT,
    Claims,
    ClaimTokenizer,
    DescriptionTokenizer,
    MentionTexts,
    MentionTokenizer,
    TextTokenizer,
    each_description,
)
from mm_kptm.crosslingual.objectives.entity_definition import DESCRIBED_MENTIONS, DESCRIBED_OBJECTS
from mm_kptm.data.packing import Packed, PackedTexts
from mm_kptm.data.token_store import Tokenize, Tokenized, stored, tokenized
from mm_kptm.data.tokenizers.batch import IDS
from mm_kptm.data.tokenizers.protocol import Specials, Tokenizer, framed
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import SplitFiles, check_mask_rate, fingerprints
from mm_kptm.objectives.mixture import Mixture
from mm_kptm.objectives.spec import TEXTS, Offers, find_objective
from mm_kptm.preprocessing.inputs import MARK, InputSource
from mm_kptm.preprocessing.pairs import TargetSource
from mm_kptm.tasks.pretraining import SourcesOfObjectives, heads_of
from mm_kptm.train.protocol import Source


@dataclass(frozen=True, kw_only=True)
class EntityDescriptions(SplitFiles):
    """Lines of JSON, each a text with mentions of entities, and descriptions of the entities in several languages."""

    name: Literal["entity-descriptions"]
    descriptions: Path  #: an entity, a language and a description a line, between tabs
    triples: Path | None = None  #: head, relation and tail a line, between tabs; entities of `descriptions`
    token_store: Path | None = None
    """A folder for the tokenized texts, built on first use, which all processes map; null: in memory of each."""
    mask_rate: float = 0.15  #: the share of tokens that is masked

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mask_rate(self.mask_rate)


@dataclass(frozen=True, eq=False)
class _Descriptions:
    """Files of the settings, each tokenized on first use."""

    data: EntityDescriptions
    tokenizer: Tokenizer

    def source(self, split: str, needs: Iterable[str]) -> Source[Inputs]:
        """What objectives with such needs read: mentions, triples, or the texts alone.

        Raises:
            UserError: a file cannot be read, nothing in it is described, or the token store is of other files.
        """
        data, texts = self.data, MentionTexts(self.data.files[split], self.data.descriptions)
        if DESCRIBED_MENTIONS in needs:
            tokenize = MentionTokenizer(self.tokenizer, data.max_length)
            found = self._tokenized(f"{split}-mentions", texts.mentions, tokenize, {split: data.files[split]})
            columns = {IDS: found.rows.columns[IDS], f"{MARK}mention": found.rows.columns[FIRST]}
            languages = found.of_sequences.get(LANGUAGE)  # a token store of an earlier version has none
            of_texts = {} if languages is None else {f"{MARK}language": languages}
            said = InputSource(PackedTexts(found.rows.offsets, columns, of_texts))
            return TargetSource(said, ChosenTexts(self.described, found.of_sequences[DESCRIPTION]))
        if DESCRIBED_OBJECTS in needs and data.triples is not None:
            claims = Claims(data.triples, data.descriptions)
            found = self._tokenized("triples", claims, ClaimTokenizer(self.tokenizer), {"triples": data.triples})
            subjects = TextsWithRelations(
                self.described, found.of_sequences[SUBJECT], found.rows, self.tokenizer.specials, data.max_length
            )
            return TargetSource(subjects, ChosenTexts(self.described, found.of_sequences[OBJECT]))
        tokenize_texts = TextTokenizer(self.tokenizer, data.max_length)
        found = self._tokenized(f"{split}-texts", texts.texts, tokenize_texts, {split: data.files[split]})
        return InputSource(PackedTexts(found.rows.offsets, found.rows.columns))

    @cached_property
    def described(self) -> InputSource:
        """The descriptions, in the order of their file."""
        tokenize = DescriptionTokenizer(self.tokenizer, self.data.max_length)
        found = self._tokenized("descriptions", partial(each_description, self.data.descriptions), tokenize, {})
        return InputSource(PackedTexts(found.rows.offsets, found.rows.columns))

    def _tokenized(
        self, name: str, items: Callable[[], Iterable[Any]], tokenize: Tokenize[Any], files: Mapping[str, Path]
    ) -> Tokenized:
        data = self.data
        if data.token_store is None:
            return tokenized(items(), tokenize)
        digests = fingerprints({"descriptions": data.descriptions, **files})
        source = {**data.tokenization, **digests, "max_length": data.max_length}
        return stored(data.token_store / name, items, tokenize, source=source)


@dataclass(frozen=True, eq=False)
class ChosenTexts:
    """Some texts of a source, which may come several times.

    Args:
        texts: the source.
        chosen: numbers of its texts.
    """

    texts: InputSource
    chosen: NDArray[np.generic]

    def __len__(self) -> int:
        return len(self.chosen)

    def length(self, index: int) -> int:
        """Tokens of a text."""
        return self.texts.length(int(self.chosen[index]))

    @property
    def lengths(self) -> NDArray[np.integer]:
        """Tokens of every text, [K]."""
        return self.texts.lengths[self.chosen]

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The chosen texts of the given indices."""
        return self.texts.batch(self.chosen[np.asarray(indices, np.int64)].tolist(), generator)


@dataclass(frozen=True, eq=False)
class TextsWithRelations:
    """Descriptions of subjects, each with the name of a relation as its second part.

    Args:
        described: all descriptions, between special tokens.
        subjects: the description of every triple's subject, [K].
        relations: pieces of every triple's relation.
        specials: of the tokenizer.
        max_length: tokens of both parts, special ones included; the description is cut.
    """

    described: InputSource
    subjects: NDArray[np.generic]
    relations: Packed
    specials: Specials
    max_length: int

    def __len__(self) -> int:
        return len(self.subjects)

    def length(self, index: int) -> int:
        """Tokens of both parts."""
        return int(self.lengths[index])

    @cached_property
    def lengths(self) -> NDArray[np.integer]:
        """Tokens of both parts of every triple, [K]."""
        texts, relations = self.described.lengths[self.subjects] - self.specials.around(1), self.relations.lengths
        whole = np.minimum(texts, self._room(relations)) + relations + self.specials.around(2)
        return np.minimum(whole, self.max_length)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The descriptions of the given triples' subjects with their relations."""
        ids = [self._ids(index) for index in indices]
        packed = Packed.of(ids=ids, positions=[range(len(one)) for one in ids])
        return InputSource(packed).batch(range(len(ids)), generator)

    def _room(self, relations: NDArray[np.integer]) -> NDArray[np.integer]:
        """Pieces of a description that fit beside relations of so many."""
        return np.maximum(self.max_length - self.specials.around(2) - relations, 1)

    def _ids(self, index: int) -> list[int]:
        subject, relation = (
            packed.columns[IDS][slice(*packed.offsets[number : number + 2])].tolist()
            for packed, number in ((self.described.texts, int(self.subjects[index])), (self.relations, index))
        )
        text = subject[int(self.specials.opens) : -1][: int(self._room(np.array(len(relation))))]
        return framed(self.specials, text, relation)[0][: self.max_length]


def pretraining(data: EntityDescriptions, request: DataRequest) -> PreparedData:
    """Every objective reads the form it needs: mentions, triples, or the texts alone."""
    tokenizer = data.tokenizer()
    offers = Offers(
        data.name,
        dict.fromkeys((TEXTS, DESCRIBED_MENTIONS, *(() if data.triples is None else (DESCRIBED_OBJECTS,)))),
        {DESCRIBED_OBJECTS: "name a file of triples as data.triples"},
    )
    objectives = request.built_objectives(offers, tokenizer, data.mask_rate)
    found = _Descriptions(data, tokenizer)

    def source(split: str) -> SourcesOfObjectives:
        needs = {name: find_objective(name).needs for name in objectives}
        return SourcesOfObjectives({name: found.source(split, of) for name, of in needs.items()}, objectives)

    files = {"descriptions": data.descriptions, **({} if data.triples is None else {"triples": data.triples})}
    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: Mixture(system, objectives, request.objectives),
        sizes={"vocab_size": len(tokenizer)},
        heads=heads_of(objectives),
        fingerprints={**data.fingerprints, **fingerprints(files)},
    )


PRETRAINING_SUPPLY = TaskDataset(None, EntityDescriptions, pretraining)
