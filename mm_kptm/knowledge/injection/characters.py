"""The tokenizer of the published K-BERT: every character of a word, letters too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS, Pieces, Specials
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import read_text
from mm_kptm.knowledge.graph.triple_store import ends_of
from mm_kptm.knowledge.injection.sentence_tree import Spelt
from mm_kptm.knowledge.linking.segmenter import TAGS

_BLANK, _TAG = -1, -2  # in place of an id: of what is dropped, and of what a tag may begin with
_BLANKS = tuple(filter(lambda code: chr(code).isspace(), range(0x3001)))  # Unicode has none beyond


class Characters:
    """Texts as their characters; case is kept, blanks are dropped, and a tag such as ``[CLS]`` is one token.

    Args:
        vocabulary: every token; its place is its id (the last place of one that is there twice).
        tags: what is never split, special tokens apart.
        name: says in messages where the vocabulary came from.

    Raises:
        UserError: a special token is missing.
    """

    def __init__(self, vocabulary: Sequence[str], *, tags: Iterable[str] = TAGS, name: str = "the vocabulary") -> None:
        self.vocabulary = tuple(vocabulary)
        self._ids = {token: place for place, token in enumerate(self.vocabulary)}
        if missing := [special for special in BERT_SPECIALS if special not in self._ids]:
            raise UserError(f"{name} has no {', '.join(missing)}; K-BERT's vocabulary holds {', '.join(BERT_SPECIALS)}")
        self.specials = Specials(*(self._ids[special] for special in BERT_SPECIALS))
        whole = (*BERT_SPECIALS, *tags)
        self._begins_tag = {ord(tag[0]) for tag in whole}
        self._token = re.compile("|".join([*map(re.escape, whole), r"\S"]))

    @classmethod
    def open(cls, path: str | Path) -> Characters:
        """From a ``vocab.txt``, one token a line; what follows a blank is passed over.

        Raises:
            UserError: the file is missing, or has no special tokens.
        """
        file = Path(path)
        if not file.is_file():
            raise UserError(f"a vocabulary was looked for in {file}, but there is no such file")
        lines = read_text(file, "a vocabulary of one token a line").removesuffix("\n").split("\n")
        return cls([(line.split() or [""])[0] for line in lines], name=str(file))

    def __len__(self) -> int:
        return len(self.vocabulary)

    def __call__(self, text: str) -> list[int]:
        """The ids of a text."""
        return [self._ids.get(token, self.specials.unknown) for token in self._token.findall(text)]

    def many(self, texts: Sequence[str]) -> Spelt:
        """The ids of many texts, their characters looked up all at once."""
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        characters = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
        ids = self._of_characters.take(characters, mode="clip")
        if not len(ids) or ids.min() >= 0:
            return Spelt(ids, lengths)
        ends = ends_of(lengths)
        for place in np.unique(ends.searchsorted(np.flatnonzero(ids == _TAG), "right") - 1).tolist():
            read = self(texts[place])  # never longer than the text
            ids[ends[place] : ends[place + 1]] = [*read, *[_BLANK] * (len(texts[place]) - len(read))]
        stays = ids != _BLANK
        return Spelt(ids[stays], np.diff(ends_of(stays)[ends]))

    @cached_property
    def _of_characters(self) -> NDArray[np.int32]:
        """An id for every character up to the last one that has its own, and the unknown one for all beyond."""
        own = {ord(token): place for token, place in self._ids.items() if len(token) == 1}
        own |= dict.fromkeys(_BLANKS, _BLANK) | dict.fromkeys(self._begins_tag, _TAG)
        ids = np.full(max(own) + 2, self.specials.unknown, np.int32)
        ids[list(own)] = list(own.values())
        return ids

    def encode(self, text: str, language: str | None = None) -> Pieces:
        """The characters of a text in any language."""
        found = list(self._token.finditer(text))
        tokens = tuple(match.group() for match in found)
        ids = tuple(self._ids.get(token, self.specials.unknown) for token in tokens)
        return Pieces(ids, tokens, tuple(match.span() for match in found))
