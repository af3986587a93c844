"""Character tokenizer of the published K-BERT: every character is a token, letters of words too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS, Pieces, Specials
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines
from mm_kptm.knowledge.graph.triple_store import ends_of
from mm_kptm.knowledge.injection.sentence_tree import Spelt
from mm_kptm.knowledge.linking.segmenter import TAGS

_BLANK, _TAG = -1, -2  # placeholder ids: dropped space, possible start of a tag
_BLANKS = tuple(filter(lambda code: chr(code).isspace(), range(0x3001)))  # Unicode has none beyond


class Characters:
    """Character tokenizer: cased, without spaces; a tag such as ``[CLS]`` is one token.

    Args:
        vocabulary: tokens in the order of their ids (a repeated token has its last index).
        tags: strings that are never split, besides the special tokens.
        name: source of the vocabulary, for messages.

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
        """Open a ``vocab.txt``, one token per line; anything after a space is ignored.

        Raises:
            UserError: the file is missing, or has no special tokens.
        """
        file = Path(path)
        if not file.is_file():
            raise UserError(f"a vocabulary was looked for in {file}, but there is no such file")
        return cls([(line.split() or [""])[0] for _, line in numbered_lines(file)], name=str(file))

    def __len__(self) -> int:
        return len(self.vocabulary)

    def __call__(self, text: str) -> list[int]:
        """Token ids of a text."""
        return [self._ids.get(token, self.specials.unknown) for token in self._token.findall(text)]

    def many(self, texts: Sequence[str]) -> Spelt:
        """Token ids of many texts, looked up in one pass."""
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
        """Token id of every code point up to the last one in the vocabulary; the unknown id for all beyond."""
        own = {ord(token): place for token, place in self._ids.items() if len(token) == 1}
        own |= dict.fromkeys(_BLANKS, _BLANK) | dict.fromkeys(self._begins_tag, _TAG)
        ids = np.full(max(own) + 2, self.specials.unknown, np.int32)
        ids[list(own)] = list(own.values())
        return ids

    def encode(self, text: str, language: str | None = None) -> Pieces:
        """Tokenize a text in any language."""
        found = list(self._token.finditer(text))
        tokens = tuple(match.group() for match in found)
        ids = tuple(self._ids.get(token, self.specials.unknown) for token in tokens)
        return Pieces(ids, tokens, tuple(match.span() for match in found))
