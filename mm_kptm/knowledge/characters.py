"""The tokenizer of the published K-BERT: every character of a word, letters too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from mm_kptm.data.tokenizer import BERT_SPECIALS, Pieces, Specials
from mm_kptm.errors import UserError
from mm_kptm.knowledge.linking import TAGS


class Characters:
    """Texts as their characters; case is kept, blanks are dropped, and a tag such as ``[CLS]`` is one token.

    Args:
        vocabulary: every token; its place is its id (the last place of one that is there twice).
        tags: what is never split.
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
        self._token = re.compile("|".join([*map(re.escape, tags), r"\S"]))

    @classmethod
    def open(cls, path: str | Path) -> Characters:
        """From a ``vocab.txt``, one token a line; what follows a blank is passed over.

        Raises:
            UserError: the file is missing, or has no special tokens.
        """
        file = Path(path)
        if not file.is_file():
            raise UserError(f"a vocabulary was looked for in {file}, but there is no such file")
        lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        return cls([(line.split() or [""])[0] for line in lines], name=str(file))

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str, language: str | None = None) -> Pieces:
        """The characters of a text in any language."""
        found = list(self._token.finditer(text))
        tokens = tuple(match.group() for match in found)
        ids = tuple(self._ids.get(token, self.specials.unknown) for token in tokens)
        return Pieces(ids, tokens, tuple(match.span() for match in found))
