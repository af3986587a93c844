"""From what readers of text found to sources: pairs of sentences, typed mentions, related mentions, translations.

Mentions are marked as ERNIE of Tsinghua has it (:mod:`mm_kptm.knowledge.annotations`), whatever the encoder.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch

from mm_kptm.batch import Inputs
from mm_kptm.data.packed import Packed
from mm_kptm.data.readers_mentions import RelatedMentions, Span, TypedMention
from mm_kptm.data.readers_own import Translated
from mm_kptm.data.readers_pairs import Pair
from mm_kptm.data.tokenizer import Tokenizer, framed
from mm_kptm.errors import UserError
from mm_kptm.knowledge.annotations import (
    Annotated,
    Annotator,
    confident,
    mark_linked_pair,
    mark_pair,
    mark_target,
)
from mm_kptm.knowledge.grid import EntityTable, Mention
from mm_kptm.tasks.inputs import TextsOfPictures
from mm_kptm.tasks.labels import SEPARATOR, LabelledSource
from mm_kptm.tasks.sentences import Meaning, TranslationSource
from mm_kptm.tasks.vqa import About
from mm_kptm.train.protocol import Source


@dataclass(frozen=True, eq=False)
class LinkedTexts:
    """Texts whose tokens carry the vectors of entities.

    Args:
        texts: the texts.
        grid: column ``entities``, the number of the entity at every token, -1 where there is none.
        table: the vectors.
    """

    texts: TextsOfPictures
    grid: Packed
    table: EntityTable

    def __len__(self) -> int:
        return len(self.texts)

    def length(self, index: int) -> int:
        """Tokens of a text."""
        return self.texts.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The given texts with their entities."""
        columns, _ = self.grid.take(indices)
        entities = self.table.entities([columns["entities"].tolist()])
        return replace(self.texts.batch(indices, generator), entities=entities)


@dataclass(frozen=True)
class Reading:
    """How text becomes ids, and which entities are linked in it."""

    tokenizer: Tokenizer
    longest: int
    languages: tuple[str, ...] = ()
    table: EntityTable | None = None
    threshold: float = 0.3  #: links that the linker is less sure of are left out

    def pack(self, framings: Sequence[tuple[list[int], list[int]]], spoken: Iterable[str]) -> Packed:
        """Ids and segments of every text, with its language where the encoder reads them."""
        ids, segments = [ids for ids, _ in framings], [segments for _, segments in framings]
        positions = [range(len(one)) for one in ids]
        columns: dict[str, Sequence[Sequence[int]]] = {"ids": ids, "positions": positions, "segments": segments}
        if self.languages:
            columns["languages"] = [
                [self._language(language)] * len(one) for language, one in zip(spoken, ids, strict=True)
            ]
        return Packed.of(**columns)

    def _language(self, language: str) -> int:
        if language not in self.languages:
            raise UserError(
                f"an example is in {language!r}, but data.languages has {', '.join(self.languages)}; name it there"
            )
        return self.languages.index(language)

    def mentions(self, marked: Sequence[Annotated], spoken: Iterable[str]) -> Source[Inputs]:
        """Marked texts, cut at the longest allowed."""
        numbers = {} if self.table is None else self.table.numbers
        annotate = Annotator(self.tokenizer, numbers, max_length=self.longest)
        rows = [annotate(replace(one, target=None)) for one in marked]
        kept = [row for row in rows if row is not None]
        texts = TextsOfPictures(self.pack([(list(row.ids), [0] * len(row.ids)) for row in kept], spoken))
        if self.table is None:
            return texts
        return LinkedTexts(texts, Packed.of(entities=[row.entities for row in kept]), self.table)


def pairs(examples: Sequence[Pair], labels: Sequence[str], reading: Reading) -> LabelledSource:
    """Premise and hypothesis in a row; the longer one gives way where both are too long."""
    specials, room = reading.tokenizer.specials, reading.longest - 3
    framings = []
    for one in examples:
        parts = [reading.tokenizer.encode(text, one.language).ids for text in (one.premise, one.hypothesis)]
        framings.append(framed(specials, *shortened(*parts, room=room)))
    about = [
        About(one.id, one.language, one.language, one.group, "" if one.label is None else one.label) for one in examples
    ]
    texts = TextsOfPictures(reading.pack(framings, [one.language for one in examples]))
    return labelled(texts, labels, [() if one.label is None else (one.label,) for one in examples], about)


def shortened(one: Sequence[int], other: Sequence[int], *, room: int) -> tuple[Sequence[int], Sequence[int]]:
    """Both parts, pieces dropped from the end of the longer one until they fit; of equal ones the second gives way.

    >>> shortened((1, 2, 3, 4), (5, 6), room=4)
    ((1, 2), (5, 6))
    """
    first, second = len(one), len(other)
    while first + second > room:
        first, second = (first - 1, second) if first > second else (first, second - 1)
    return one[:first], other[:second]


def typed(examples: Sequence[TypedMention], labels: Sequence[str], reading: Reading) -> LabelledSource:
    """Texts whose mention is marked; the types in the order of the labels."""
    marked = [
        mark_target(one.text, one.mention.start, one.mention.end, _linked(one.links, reading.threshold))
        for one in examples
    ]
    held = [() if one.types is None else tuple(dict.fromkeys(one.types)) for one in examples]
    order = {label: place for place, label in enumerate(labels)}
    ordered = [SEPARATOR.join(sorted(types, key=lambda type_: (order.get(type_, -1), type_))) for types in held]
    about = [
        About(one.id, "mention", one.language, one.id, target) for one, target in zip(examples, ordered, strict=True)
    ]
    return labelled(reading.mentions(marked, [one.language for one in examples]), labels, held, about)


def related(examples: Sequence[RelatedMentions], labels: Sequence[str], reading: Reading) -> LabelledSource:
    """Texts whose head and tail are marked; entities are what was linked, or head and tail where nothing else was."""
    marked = []
    for one in examples:
        head, tail = (_mention(end) for end in (one.head, one.tail))
        if one.links in ((one.head, one.tail), ()):
            marked.append(mark_linked_pair(one.text, head, tail))
        else:
            marked.append(mark_pair(one.text, head, tail, _linked(one.links, reading.threshold)))
    about = [About(one.id, one.relation or "", one.language, one.id, one.relation or "") for one in examples]
    held = [() if one.relation is None else (one.relation,) for one in examples]
    return labelled(reading.mentions(marked, [one.language for one in examples]), labels, held, about)


def translated(examples: Sequence[Translated], reading: Reading) -> TranslationSource:
    """Every example in every two of its languages, each two once, in alphabetical order."""
    by_pair: dict[tuple[str, str], list[Translated]] = defaultdict(list)
    for one in examples:
        for pair in combinations(sorted(one.sentences), 2):
            by_pair[pair[0], pair[1]].append(one)
    chosen = [(one, pair) for pair in sorted(by_pair) for one in by_pair[pair]]
    sides = []
    for side in (0, 1):
        said = [(one.sentences[pair[side]], pair[side]) for one, pair in chosen]
        room = reading.longest - 2
        framings = [
            framed(reading.tokenizer.specials, reading.tokenizer.encode(text, language).ids[:room])
            for text, language in said
        ]
        sides.append(reading.pack(framings, [language for _, language in said]))
    left, right = sides
    return TranslationSource(left, right, tuple(Meaning(one.id, "sentence", pair) for one, pair in chosen))


def labelled(
    shown: Source[Inputs], labels: Sequence[str], held: Sequence[Sequence[str]], about: Sequence[About]
) -> LabelledSource:
    """Labels that training never saw cannot be given; they stay in what is expected."""
    places = {label: place for place, label in enumerate(labels)}
    truth = Packed.of(labels=[[places[label] for label in one if label in places] for one in held])
    return LabelledSource(shown, tuple(labels), truth, tuple(about))


def _mention(span: Span) -> Mention:
    return Mention(span.entity, span.start, span.end, span.score)


def _linked(links: Sequence[Span], threshold: float) -> tuple[Mention, ...]:
    return confident(map(_mention, links), threshold)
