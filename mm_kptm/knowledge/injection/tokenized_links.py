"""Texts with linked entities, tokenized: an entity of a table stands at the first token of its mention.

Columns of rows are ``ids`` and ``entities``, the entity's number or :data:`NOTHING`; the column of sequences is
``links``, how many of their mentions have a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mm_kptm.data.packing import Packed
from mm_kptm.data.token_store import Tokenized
from mm_kptm.data.tokenizers.batch import IDS
from mm_kptm.data.tokenizers.protocol import Tokenizer, framed
from mm_kptm.knowledge.graph.openke import NOTHING, read_entity_ids
from mm_kptm.knowledge.injection.entity_grid import Mention, first_pieces
from mm_kptm.knowledge.linking.linked_texts import LinkedText

ENTITIES, LINKS = "entities", "links"


@dataclass(frozen=True)
class LinkTokenizer:
    """Tokenizes linked texts between special tokens.

    Args:
        tokenizer: the tokenizer.
        max_length: tokens of a text, special ones included.
        entity_ids: a file of the numbers of entities, ``entity2id.txt``.
    """

    tokenizer: Tokenizer
    max_length: int
    entity_ids: Path

    def __call__(self, items: Sequence[LinkedText]) -> Tokenized:
        """The texts.

        Raises:
            UserError: the numbers of entities cannot be read.
        """
        specials = self.tokenizer.specials
        room = self.max_length - specials.around(1)
        texts, grid = [], []
        for text in items:
            pieces = self.tokenizer.encode(text.text)
            mentions = [Mention(link.entity, link.start, link.end) for link in text.mentions if link.entity]
            placed = first_pieces(text.text, pieces, mentions)[:room]
            numbers = [NOTHING if name is None else self._numbers.get(name, NOTHING) for name in placed]
            texts.append(framed(specials, pieces.ids[:room])[0])
            grid.append([*[NOTHING] * specials.opens, *numbers, NOTHING])
        links = np.array([sum(number != NOTHING for number in one) for one in grid], np.int64)
        return Tokenized(Packed.of(**{IDS: texts, ENTITIES: grid}), {LINKS: links})

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        return read_entity_ids(self.entity_ids)
