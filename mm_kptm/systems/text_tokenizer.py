"""The tokenizer of a system: from texts to what the system reads, and to the files that a saved folder holds.

>>> inputs = system.tokenizer(["A man rides a horse."])  # doctest: +SKIP
>>> states = system(inputs)  # doctest: +SKIP
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.tokenizers.opening import (
    OPTIONS,
    T5_CLASS,
    open_tokenizer,
    sentinels_beside,
    siglip_class,
    tokenizer_files,
)
from mm_kptm.data.tokenizers.protocol import Tokenizer, framed
from mm_kptm.data.tokenizers.siglip import TOKENIZER_CLASS
from mm_kptm.errors import UserError, nearest
from mm_kptm.io.atomic import write_json
from mm_kptm.systems.checkpoint_folder import read_config_file

_BY_SUFFIX = {".txt": "vocab.txt", ".json": "tokenizer.json"}


@dataclass(frozen=True)
class TextTokenizer:
    """Texts, or pairs of them, as inputs of one system.

    Args:
        source: a file or a folder of a tokenizer (:mod:`mm_kptm.data.tokenizers.opening`), or the content of its files
            by their names.
        max_length: tokens that the system can read, special ones included.
        vocab_size: rows of its word table.
        languages: codes in the order of its language ids, where it embeds them.
        lowercase: of an uncased model; None: what the files say.
        ideographs: whether word pieces are cut at every ideograph.
        siglip: whether the files are SigLIP's, or T5's, which are alike; None: as they say.
        segment_words: whether XLM's pairs read running text; None: transformers' files do, XLM's own do not.
    """

    source: Path | Mapping[str, bytes]
    max_length: int
    vocab_size: int
    languages: tuple[str, ...] = ()
    lowercase: bool | None = None
    ideographs: bool = True
    siglip: bool | None = None
    segment_words: bool | None = None

    @cached_property
    def pieces(self) -> Tokenizer:
        """What cuts texts into pieces; ``UserError`` where its files are malformed or of another system."""
        tokenizer, named = self._opened(), self.source if isinstance(self.source, Path) else "the package"
        if len(tokenizer) > self.vocab_size:
            raise UserError(
                f"the tokenizer in {named} has {len(tokenizer)} pieces, but the system embeds {self.vocab_size}; "
                "take the one that the system was trained with"
            )
        return tokenizer

    def _opened(self) -> Tokenizer:
        if isinstance(self.source, Path):
            return self._open(self.source)
        with tempfile.TemporaryDirectory() as folder:
            for name, content in self.source.items():
                (Path(folder) / name).write_bytes(content)
            return self._open(Path(folder))

    def _open(self, source: Path) -> Tokenizer:
        return open_tokenizer(
            source,
            lowercase=self.lowercase,
            ideographs=self.ideographs,
            siglip=self.siglip,
            segment_words=self.segment_words,
        )

    def __call__(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        languages: Sequence[str] | None = None,
        max_length: int | None = None,
    ) -> Inputs:
        """The texts with their special tokens; what is too long is cut, the longer of two parts first.

        Args:
            texts: one per example.
            pairs: the second part of each, where there are two.
            languages: the code of each, where the system embeds languages.
            max_length: tokens of an example; all that the system can read unless given.

        Raises:
            UserError: something else than a list of texts, lists of other lengths, or languages that are missing or
                unknown.
        """
        texts = _listed("texts", texts)
        seconds = None if pairs is None else _as_many("pairs", pairs, texts)
        parts = [[text] if seconds is None else [text, seconds[at]] for at, text in enumerate(texts)]
        room = self.max_length if max_length is None else min(max_length, self.max_length)
        ids, segments = [], []
        for number, example in enumerate(parts):
            language = None if languages is None else _as_many("languages", languages, texts)[number]
            found = [list(self.pieces.encode(part, language).ids) for part in example]
            self._cut(found, room)
            sequence, kinds = framed(self.pieces.specials, *found)
            ids.append(sequence)
            segments.append(kinds if self.pieces.specials.between == 1 else [0] * len(sequence))
        return Inputs(text=Tokens.of(ids, segments=segments, languages=self._numbered(languages, ids)))

    def _cut(self, parts: list[list[int]], room: int) -> None:
        room -= self.pieces.specials.around(len(parts))
        if room < len(parts):
            raise UserError(f"max_length leaves room for {max(room, 0)} pieces; {len(parts)} are the least")
        while sum(map(len, parts)) > room:
            longest = max(parts, key=len)
            others = sum(map(len, parts)) - len(longest)
            del longest[max(room - others, max((len(part) for part in parts if part is not longest), default=0)) :]
            if others and sum(map(len, parts)) > room:
                for part in parts:
                    del part[room // len(parts) :]

    def _numbered(self, languages: Sequence[str] | None, ids: Sequence[Sequence[int]]) -> list[list[int]] | None:
        if not self.languages:
            return None
        if languages is None:
            raise UserError(
                f"this system embeds languages: give languages=[...], each one of {', '.join(self.languages)}"
            )
        for code in languages:
            if code not in self.languages:
                raise UserError(f"this system knows no language {code!r}{nearest(code, self.languages)}")
        return [[self.languages.index(code)] * len(one) for code, one in zip(languages, ids, strict=True)]

    def save(self, folder: Path) -> None:
        """Copy its files into a folder, under names that :func:`from_folder` and transformers look for."""
        if not isinstance(self.source, Path):
            for name, content in self.source.items():
                (folder / name).write_bytes(content)
        files = tokenizer_files(self.source) if isinstance(self.source, Path) else ()
        for file in files:
            name = _BY_SUFFIX.get(file.suffix, file.name) if len(files) == 1 else file.name
            if (folder / name).resolve() != file.resolve():
                shutil.copyfile(file, folder / name)
        options: dict[str, object] = {"do_lower_case": self.lowercase, "tokenize_chinese_chars": self.ideographs}
        options["segment_words"] = self.segment_words
        named = siglip_class(files[0]) if files else None
        if self.siglip or (named and self.siglip is None):
            options = {"tokenizer_class": named or TOKENIZER_CLASS}
        elif self.siglip is False and files and files[0].suffix == ".model":
            options = {"tokenizer_class": T5_CLASS, "extra_ids": sentinels_beside(files[0])}
        limits: dict[str, object] = {"model_max_length": self.max_length}
        write_json(folder / OPTIONS, limits | {name: value for name, value in options.items() if value is not None})


class TokenizerOptions(NamedTuple):
    """What the files of a folder say of how texts are read; None: nothing."""

    lowercase: bool | None = None  #: of an uncased model
    ideographs: bool = True  #: whether word pieces are cut at every ideograph
    segment_words: bool | None = None  #: whether XLM's pairs read running text


def read_options(folder: Path) -> TokenizerOptions:
    """The options of the tokenizer in a folder."""
    try:
        options = read_config_file(folder / OPTIONS)
    except UserError:
        return TokenizerOptions()
    lowercase, segmented = options.get("do_lower_case"), options.get("segment_words")
    return TokenizerOptions(
        lowercase if isinstance(lowercase, bool) else None,
        options.get("tokenize_chinese_chars") is not False,
        segmented if isinstance(segmented, bool) else None,
    )


def _listed(name: str, texts: object) -> list[str]:
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        shown = json.dumps(texts)[:40] if isinstance(texts, str) else type(texts).__name__
        raise UserError(f"{name} must be a list of texts, not {shown}; one text is a list of one: [text]")
    for at, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"{name} must be a list of texts, but {name}[{at}] is of type {type(text).__name__}")
    return list(texts)


def _as_many(name: str, given: object, texts: Sequence[str]) -> list[str]:
    listed = _listed(name, given)
    if len(listed) != len(texts):
        raise UserError(f"there are {len(texts)} texts but {len(listed)} {name}; give one for each")
    return listed
