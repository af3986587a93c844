"""Texts as an encoder reads them, with the candidates of their mentions (Peters et al. 2019, section 4.1).

Words are what BERT's tokenizer cuts first, case kept, for dictionaries are written with capitals; each is then cut into
pieces by itself. Spans of words become spans of pieces.
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
    """A text, or two, in pieces, ``[CLS]`` and ``[SEP]`` included, and the spans that may be mentions."""

    pieces: tuple[str, ...]
    ids: tuple[int, ...]
    segments: tuple[int, ...]
    words: tuple[tuple[str, ...], ...]  #: of each part
    ends: tuple[tuple[int, ...], ...]  #: the piece behind each word
    spans: Mapping[str, tuple[CandidateSpan, ...]]  #: by knowledge base, of pieces


class CandidateWordSpans:
    """Cuts texts into words and words into pieces, as the released KnowBERT does.

    Accents are kept, unlike by BERT's own tokenizer; a word of more than ``longest_word`` characters is unknown.

    Args:
        vocabulary: every piece; its place is its id.
        lowercase: whether words are lower-cased before they are cut.
        longest_word: characters.

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
        """The words of a text; a special token is one where it stands by itself."""
        words = []
        for part in self._clean.normalize_str(text).split():
            whole = part in BERT_SPECIALS
            words += [part] if whole else [word for word, _ in self._cut.pre_tokenize_str(part)]
        return words

    def pieces(self, word: str) -> list[str]:
        """The pieces of one word."""
        if word in BERT_SPECIALS:
            return [word]
        return [token.value for token in self._pieces.tokenize(word.lower() if self._lowercase else word)]


class Spanner:
    """Turns texts into pieces with candidates.

    Args:
        words: cuts texts.
        finders: what finds spans, by knowledge base.
        max_length: pieces of a text at most, special ones included. Words are taken from the end of the longer part, of
            the first where both are alike, before candidates are looked up.

    Raises:
        UserError: there is no room for the special pieces.
    """

    def __init__(self, words: CandidateWordSpans, finders: Mapping[str, Finder], *, max_length: int = 512) -> None:
        if max_length < 3:
            raise UserError(f"max_length is {max_length}, which leaves no room between [CLS] and [SEP]; 3 is the least")
        self._words = words
        self._finders = dict(finders)
        self._max_length = max_length

    def __call__(self, text: str, second: str | None = None) -> TextWithCandidates:
        """A text, or two in a row, with the spans of both."""
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
    """What an encoder reads.

    Args:
        texts: in order.
        numbers: of the entities of each knowledge base; one that has none counts as unknown.
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
    """The spans of texts as rows of a batch, their entities as numbers."""
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
    """Take words from the end of the longest part until all fit."""
    lengths = [sum(map(len, part)) for part in parts]
    while sum(lengths) > room:
        max_length = lengths.index(max(lengths))
        lengths[max_length] -= len(parts[max_length].pop())
