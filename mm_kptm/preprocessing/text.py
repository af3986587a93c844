"""Text encoding: token ids with special tokens, and linked entities or injected facts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from mm_kptm.batch import Inputs
from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Pieces, Tokenizer
from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.entity_table import EntityTable
from mm_kptm.knowledge.injection.fact_injector import FactInjector, Needed, TokenSequence, build_trees
from mm_kptm.knowledge.injection.graph_names import EntityMention
from mm_kptm.knowledge.injection.marker_tokens import READ, mention_numbers
from mm_kptm.knowledge.injection.mention_markers import Annotated, Annotator
from mm_kptm.preprocessing.inputs import MARK, InputSource
from mm_kptm.systems.text_format import BERT_FORMAT, BERT_TEMPLATE, MarkerTokens, SequenceTemplate, TextFormat
from mm_kptm.train.protocol import Source

TruncatedParts = Sequence[tuple[Pieces, int]]  #: tokens of every part of a text, and how many are kept
AT_ONCE = 4096  #: texts whose pieces are held together before they are packed


@dataclass(frozen=True, slots=True)
class TextExample:
    """Text example of one or two parts."""

    id: str
    parts: tuple[str, ...]
    language: str
    needed: Needed | None = None  #: predicate of the facts that it needs, if known


@dataclass(frozen=True, eq=False)
class LinkedTexts:
    """Texts with linked entity vectors.

    Args:
        texts: the texts.
        grid: column ``entities``, entity id of every token, -1 where there is none.
        table: entity vectors.
    """

    texts: InputSource
    grid: Packed
    table: EntityTable

    def __len__(self) -> int:
        return len(self.texts)

    def length(self, index: int) -> int:
        """Number of tokens of a text."""
        return self.texts.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """Collate texts with their entities."""
        columns, _ = self.grid.take(indices)
        entities = self.table.entities([columns["entities"].tolist()])
        return self.texts.batch(indices, generator).with_streams(entities=entities)


@dataclass(frozen=True)
class TextEncoding:
    """Encodes texts: token ids, linked entities and injected facts."""

    tokenizer: Tokenizer
    max_length: int
    languages: tuple[str, ...] = ()
    table: EntityTable | None = None
    markers: MarkerTokens | None = None  #: mention markers; the tokenizer is then a PlaceholderTokenizer
    threshold: float = 0.3  #: links with a lower confidence are left out
    injector: FactInjector | None = None
    facts: str = "none"  #: which facts are injected: none, true, random, swapped or oracle
    visible_matrix: bool = True  #: whether a fact is seen by its name alone
    template: SequenceTemplate = BERT_TEMPLATE
    format: TextFormat = BERT_FORMAT  #: how texts about images are laid out
    shapes: list[tuple[str, ...]] | None = None  #: collects the relations of the facts at each text, where asked for

    def pack(
        self,
        framings: Sequence[tuple[list[int], list[int]]],
        spoken: Iterable[str],
        *,
        positions: Sequence[Sequence[int]] | None = None,
    ) -> Packed:
        """Pack ids and segments of texts, with their languages if the encoder has language embeddings.

        Args:
            framings: ids and segments of each text.
            spoken: its language.
            positions: of its tokens; they count from 0 unless given.
        """
        ids, segments = [ids for ids, _ in framings], [segments for _, segments in framings]
        counted = [range(len(one)) for one in ids] if positions is None else positions
        packed = Packed.of(ids=ids, positions=counted, segments=segments)
        return self._with_languages(packed, [*spoken])

    def cut(self, text: TextExample) -> list[tuple[Pieces, int]]:
        """Tokenize every part, and truncate: of two parts the longer one is shortened."""
        pieces = [self.tokenizer.encode(part, text.language) for part in text.parts]
        max_pieces = self.template.max_pieces(self.max_length, len(pieces), self.tokenizer.specials)
        if len(pieces) == 1:
            return [(pieces[0], min(len(pieces[0].ids), max_pieces))]
        kept = shortened(*(part.ids for part in pieces), room=max_pieces)
        return [(part, len(ids)) for part, ids in zip(pieces, kept, strict=True)]

    def texts(self, texts: Sequence[TextExample], cuts: Sequence[TruncatedParts] | None = None) -> InputSource:
        """Encode texts, with injected facts.

        Args:
            texts: the texts.
            cuts: results of :meth:`cut`, where the caller has them already.
        """
        starts = range(0, max(len(texts), 1), AT_ONCE)
        blocks = [
            self._block(texts[first : first + AT_ONCE], None if cuts is None else cuts[first : first + AT_ONCE])
            for first in starts
        ]
        return InputSource(blocks[0] if len(blocks) == 1 else Packed.joined(*blocks))

    def _block(self, texts: Sequence[TextExample], cuts: Sequence[TruncatedParts] | None) -> Packed:
        """Some of the texts, packed: what is kept of them, without their pieces."""
        cuts = [self.cut(text) for text in texts] if cuts is None else cuts
        mentions = self._mentions(texts)
        trunks = [
            self.template.around(self._sequences(text, parts, found), self.tokenizer.specials)
            for text, parts, found in zip(texts, cuts, mentions, strict=True)
        ]
        packed = build_trees(trunks, max_length=self.max_length, visible_matrix=self.visible_matrix)
        if self.injector is None:
            packed = Packed(packed.offsets, {name: packed.columns[name] for name in ("ids", "positions")})
        packed = Packed(packed.offsets, {**packed.columns, "segments": self._segments(packed)})
        return self._with_languages(packed, [text.language for text in texts], [text.id for text in texts])

    def mentions(self, marked: Sequence[Annotated], said: Sequence[TextExample]) -> Source[Inputs]:
        """Encode texts with linked entities, or with marker tokens and injected facts.

        Args:
            marked: texts with text markers and their linked entities.
            said: the same texts.
        """
        if self.markers is not None:
            return self._marked(said, self.markers)
        if self.table is None:
            return self.texts(said)
        annotate = Annotator(self.tokenizer, self.table.numbers, max_length=self.max_length)
        rows = [annotate(replace(one, target=None)) for one in marked]
        kept = [row for row in rows if row is not None]
        texts = self.pack([(list(row.ids), [0] * len(row.ids)) for row in kept], [one.language for one in said])
        return LinkedTexts(InputSource(texts), Packed.of(entities=[row.entities for row in kept]), self.table)

    def outside_facts(self, texts: Packed) -> NDArray[np.bool_]:
        """Mask of the tokens outside facts, [T]."""
        branches = texts.columns.get("branches")
        return np.ones(texts.offsets[-1], dtype=bool) if branches is None else branches == 0

    def _marked(self, texts: Sequence[TextExample], marks: MarkerTokens) -> InputSource:
        """Encode texts with labels at the tokens whose hidden states are read."""
        cuts = [self.cut(text) for text in texts]
        encoded = self.texts(texts, cuts)
        read: list[int] = []
        for ((pieces, kept),) in cuts:
            read += self.template.in_place(mention_numbers(pieces.texts, marks)[:kept], 0, self.tokenizer.specials)
        column = np.zeros(encoded.texts.offsets[-1], dtype=np.int64)
        column[self.outside_facts(encoded.texts)] = read
        return replace(encoded, texts=Packed(encoded.texts.offsets, {**encoded.texts.columns, f"{MARK}{READ}": column}))

    def _mentions(self, texts: Sequence[TextExample]) -> list[list[list[EntityMention]]]:
        """The mentions in every part of every text; none are looked for where no facts are injected."""
        found: list[list[list[EntityMention]]] = [[[] for _ in text.parts] for text in texts]
        if (injector := self.injector) is None:
            return found
        places: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for place, text in enumerate(texts):
            places[text.language] += [(place, number) for number in range(len(text.parts))]
        for language, spots in places.items():
            parts = [texts[place].parts[number] for place, number in spots]
            for (place, number), mentions in zip(spots, injector.mentions(parts, language), strict=True):
                found[place][number] = mentions
        if self.shapes is not None:
            entities = ([one.entity for part in parts for one in part] for parts in found)
            self.shapes.extend(map(injector.relations, entities))
        return found

    def _sequences(
        self, text: TextExample, parts: TruncatedParts, mentions: Sequence[Sequence[EntityMention]]
    ) -> list[TokenSequence]:
        trunks: list[TokenSequence] = []
        for number, (part, (pieces, kept)) in enumerate(zip(text.parts, parts, strict=True)):
            if self.injector is None:
                trunks.append([*pieces.ids[:kept]])
                continue
            example = f"{text.id}-{number}"
            trunk = self.injector.inject(
                part,
                pieces,
                self.tokenizer,
                arm=self.facts,
                example=example,
                needed=text.needed,
                max_pieces=kept,
                mentions=mentions[number],
                language=text.language,
            )
            trunks.append(trunk)
        return trunks

    def _segments(self, texts: Packed) -> NDArray[np.int16]:
        """Part number of every token, [SEP] included; facts have the segment of their position; all 0 for RoBERTa."""
        if self.tokenizer.specials.between > 1:
            return np.zeros(texts.offsets[-1], dtype=np.int16)
        closes = texts.columns["ids"] == self.tokenizer.specials.stop
        if "branches" in texts.columns:
            closes &= texts.columns["branches"] == 0
        before = np.concatenate([[0], closes.cumsum()])
        numbers = before[:-1] - np.repeat(before[texts.offsets[:-1]], texts.lengths) + self.template.first_segment
        return numbers.astype(np.int16)

    def _with_languages(self, texts: Packed, spoken: Sequence[str], examples: Sequence[str] = ()) -> Packed:
        if not self.languages:
            return texts
        numbers = np.array(
            [self._language(language, examples[at : at + 1]) for at, language in enumerate(spoken)], dtype=np.int64
        )
        return Packed(texts.offsets, {**texts.columns, "languages": np.repeat(numbers, texts.lengths)})

    def _language(self, language: str, examples: Sequence[str]) -> int:
        tags = [tag.lower() for tag in self.languages]
        if language.lower() not in tags:
            which = f"the example {examples[0]!r}" if examples else "an example"
            raise UserError(
                f"{which} is in {language!r}, but data.languages has {', '.join(self.languages)}; name it there"
            )
        return tags.index(language.lower())


def shortened(one: Sequence[int], other: Sequence[int], *, room: int) -> tuple[Sequence[int], Sequence[int]]:
    """Truncate two parts to ``room`` tokens: drop tokens from the longer one, from the second if they are equal.

    >>> shortened((1, 2, 3, 4), (5, 6), room=4)
    ((1, 2), (5, 6))
    """
    first, second = len(one), len(other)
    while first + second > room:
        first, second = (first - 1, second) if first > second else (first, second - 1)
    return one[:first], other[:second]
