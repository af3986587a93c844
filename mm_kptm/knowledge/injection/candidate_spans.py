"""Tokenized texts with candidate spans for KnowBERT (Peters et al. 2019, section 4.1).

Words are those of BERT's basic tokenizer, cased, because alias dictionaries are cased; each word is then split into
word pieces by itself. Spans of words become spans of pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from tokenizers import models, normalizers, pre_tokenizers
from torch import Tensor

from mm_kptm.batch import Candidates, Inputs, SequenceLayout, Tokens
from mm_kptm.batch.special_entities import PADDING, UNKNOWN
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.errors import UserError
from mm_kptm.knowledge.linking.candidates import CandidateSpan, Finder


@dataclass(frozen=True)
class TextWithCandidates:
    """One or two texts in word pieces, with ``[CLS]`` and ``[SEP]``, and their candidate spans."""

    pieces: tuple[str, ...]
    ids: tuple[int, ...]
    segments: tuple[int, ...]
    words: tuple[tuple[str, ...], ...]  #: of each text
    ends: tuple[tuple[int, ...], ...]  #: end of each word among the pieces
    spans: Mapping[str, tuple[CandidateSpan, ...]]  #: spans of pieces by knowledge base


class CandidateWordSpans:
    """Word and word-piece tokenizer of the released KnowBERT.

    Accents are kept, unlike in BERT's own tokenizer; a word of more than ``longest_word`` characters is unknown.

    Args:
        vocabulary: word pieces in the order of their ids.
        lowercase: whether words are lower-cased before they are split.
        longest_word: maximum length of a word, in characters.

    Raises:
        UserError: a special token is missing.
    """

    def __init__(self, vocabulary: Sequence[str], *, lowercase: bool = True, longest_word: int = 100) -> None:
        self.ids = {piece: place for place, piece in enumerate(vocabulary)}
        if missing := [special for special in BERT_SPECIALS if special not in self.ids]:
            raise UserError(f"the vocabulary has no {', '.join(missing)}; one holds {', '.join(BERT_SPECIALS)}")
        self._lowercase = lowercase
        self._pieces = models.WordPiece(self.ids, unk_token="[UNK]", max_input_chars_per_word=longest_word)
        self._clean = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False
        )
        self._cut = pre_tokenizers.BertPreTokenizer()

    def __call__(self, text: str) -> list[str]:
        """Words of a text; a special token counts as a word where it is separated by spaces."""
        words = []
        for part in self._clean.normalize_str(text).split():
            whole = part in BERT_SPECIALS
            words += [part] if whole else [word for word, _ in self._cut.pre_tokenize_str(part)]
        return words

    def pieces(self, word: str) -> list[str]:
        """Word pieces of one word."""
        if word in BERT_SPECIALS:
            return [word]
        return [token.value for token in self._pieces.tokenize(word.lower() if self._lowercase else word)]


class Spanner:
    """Tokenizer of texts with candidate spans.

    Args:
        words: splits texts into words and word pieces.
        finders: candidate generator of each knowledge base.
        max_length: maximum number of pieces, special ones included. Words are removed from the end of the longer
            text, of the first one if both are equally long, before candidates are generated.

    Raises:
        UserError: there is no room for the special tokens.
    """

    def __init__(self, words: CandidateWordSpans, finders: Mapping[str, Finder], *, max_length: int = 512) -> None:
        if max_length < 3:
            raise UserError(f"max_length is {max_length}, which leaves no room between [CLS] and [SEP]; 3 is the least")
        self._words = words
        self._finders = dict(finders)
        self._max_length = max_length

    def __call__(self, text: str, second: str | None = None) -> TextWithCandidates:
        """Tokenize one text or a pair, with the candidate spans of both."""
        words = [self._words(part) for part in ((text,) if second is None else (text, second))]
        pieces = [[self._words.pieces(word) for word in part] for part in words]
        _shorten(pieces, self._max_length - 1 - len(pieces))
        words = [part[: len(kept)] for part, kept in zip(words, pieces, strict=True)]
        whole, segments, ends = ["[CLS]"], [0], []
        spans: dict[str, list[CandidateSpan]] = {name: [] for name in self._finders}
        for number, (part, kept) in enumerate(zip(words, pieces, strict=True)):
            bounds = list(accumulate(map(len, kept), initial=len(whole)))
            for name, found in spans.items():
                found += [_of_pieces(span, bounds) for span in self._finders[name](part)]
            whole += [piece for word in kept for piece in word] + ["[SEP]"]
            segments += [number] * (len(whole) - len(segments))
            ends.append(tuple(bounds[1:]))
        return TextWithCandidates(
            pieces=tuple(whole),
            ids=tuple(self._words.ids[piece] for piece in whole),
            segments=tuple(segments),
            words=tuple(map(tuple, words)),
            ends=tuple(ends),
            spans={name: tuple(found) for name, found in spans.items()},
        )


def batch(texts: Sequence[TextWithCandidates], numbers: Mapping[str, Mapping[str, int]]) -> Inputs:
    """Collate texts into model inputs.

    Args:
        texts: texts of the batch.
        numbers: entity ids of each knowledge base; an entity without an id is unknown.
    """
    tokens = Tokens.of([text.ids for text in texts], segments=[text.segments for text in texts])
    return Inputs(
        text=tokens,
        candidates={
            name: numbered([text.spans[name] for text in texts], tokens.layout, known)
            for name, known in numbers.items()
        },
    )


def numbered(spans: Sequence[Sequence[CandidateSpan]], texts: SequenceLayout, numbers: Mapping[str, int]) -> Candidates:
    """Collate candidate spans: rows of the batch, entity ids and priors, padded."""
    most = max((len(span.entities) for found in spans for span in found), default=1)
    rows: list[tuple[int, int]] = []
    entities: list[list[int]] = []
    priors: list[list[float]] = []
    for first, found in zip(texts.offsets, spans, strict=False):
        for span in found:
            fill = most - len(span.entities)
            rows.append((first + span.first, first + span.last))
            entities.append([numbers.get(entity, UNKNOWN) for entity in span.entities] + [PADDING] * fill)
            priors.append([*span.priors, *[0.0] * fill])
        if not found:
            rows.append((-1, -1))
            entities.append([PADDING] * most)
            priors.append([1.0] + [0.0] * (most - 1))
    layout = SequenceLayout(tuple(max(len(found), 1) for found in spans))
    return Candidates(torch.tensor(rows), layout, torch.tensor(entities), _floats(priors))


def _floats(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32)


def _of_pieces(span: CandidateSpan, bounds: Sequence[int]) -> CandidateSpan:
    return CandidateSpan(bounds[span.first], bounds[span.last + 1] - 1, span.entities, span.priors)


def _shorten(parts: Sequence[list[list[str]]], room: int) -> None:
    """Remove words from the end of the longest part until all fit."""
    lengths = [sum(map(len, part)) for part in parts]
    while sum(lengths) > room:
        longest = lengths.index(max(lengths))
        lengths[longest] -= len(parts[longest].pop())
