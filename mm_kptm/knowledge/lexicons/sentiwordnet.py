"""Part of speech and sentiment polarity of words from SentiWordNet (Baccianella et al. 2010; Ke et al. 2020).

The polarity of a word is the mean over its senses, weighted by the frequency rank of the sense and the similarity of
its gloss to the text. The similarity function is an argument; the default uses the rank alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch

from mm_kptm.batch import Tokens
from mm_kptm.data.masking.units import NO_GROUP
from mm_kptm.data.tokenizers.protocol import Specials, framed
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines

PARTS = ("v", "a", "r", "n")  #: verb, adjective, adverb, noun, by SentiWordNet's letters; all else is OTHER
OTHER = len(PARTS)
NEGATIVE, POSITIVE, NEUTRAL = range(3)
GRADES = 5  #: grades of a whole text, 0 is the worst
UNGRADED = GRADES
#: Token labels (:attr:`~mm_kptm.batch.Tokens.token_labels`), and the value of an unknown label.
UNKNOWN = {"part": OTHER, "polarity": NEUTRAL, "grade": UNGRADED}

Similarity = Callable[[str, Sequence[str]], Sequence[float]]  #: similarity of a text to each gloss, between -1 and 1
Lemma = Callable[[str, str], str]  #: lemma of a word with the letter of its part of speech
_TAGS = {"VB": "v", "JJ": "a", "RB": "r", "NN": "n"}


def part_of_tag(tag: str) -> int:
    """Part of speech of a Penn Treebank tag, an index into :data:`PARTS` or :data:`OTHER`.

    >>> [part_of_tag(tag) for tag in ("VBZ", "JJR", "RB", "NNPS", "IN")]
    [0, 1, 2, 3, 4]
    """
    letter = _TAGS.get(tag[:2])
    return OTHER if letter is None else PARTS.index(letter)


def small(word: str, part: str) -> str:
    """Lower-cased word in place of its lemma; the released code uses NLTK's lemmatiser."""
    return word.lower()


def alike(text: str, glosses: Sequence[str]) -> list[float]:
    """Constant similarity of 1; the released code uses the cosine of Sentence-BERT embeddings."""
    return [1.0] * len(glosses)


class SentimentSense(NamedTuple):
    """One sense of a word."""

    rank: int  #: 1 is the most frequent
    feeling: float  #: positive minus negative score
    gloss: str  #: without examples


@dataclass(frozen=True)
class SentiWordNet:
    """Senses of words by part of speech."""

    senses: Mapping[tuple[str, str], tuple[SentimentSense, ...]]

    @classmethod
    def open(cls, path: str | Path) -> SentiWordNet:
        """Open ``SentiWordNet_3.0.0.txt``: part of speech, id, two scores, words and gloss per line, tab-separated.

        Raises:
            UserError: there is no such file, or a line is malformed.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"SentiWordNet was looked for in {path}, but there is no such file")
        senses: dict[tuple[str, str], list[SentimentSense]] = {}
        for number, line in numbered_lines(path):
            if not line.strip() or line.startswith("#"):
                continue
            try:
                part, _, positive, negative, words, gloss = line.split("\t")
                feeling = float(positive) - float(negative)
                ranked = [(word, int(rank)) for word, _, rank in (term.rpartition("#") for term in words.split())]
                fits = part in PARTS and abs(feeling) <= 1 and all(word and rank > 0 for word, rank in ranked)
            except ValueError:
                fits = False
            if not fits:
                raise UserError(
                    f"{path}, line {number} should be a part of speech, a number, two scores, words such as good#1 "
                    f"and a gloss between tabs, not {line[:40]!r}"
                )
            plain = gloss.partition('"')[0].rstrip(" ;")
            for word, rank in ranked:
                senses.setdefault((word, part), []).append(SentimentSense(rank, feeling, plain))
        return cls({key: tuple(found) for key, found in senses.items()})

    def feeling(self, word: str, part: str, text: str = "", similarity: Similarity = alike) -> float:
        r"""Sentiment score of a lemma in a text, between -1 and 1; 0 if it is unknown (Ke et al. 2020, released code).

        .. math:: \sum_i \alpha_i (p_i - n_i), \quad \alpha = \mathrm{softmax}_i \frac{1 + \cos(g_i, x)}{2\, r_i}

        with the rank :math:`r`, gloss :math:`g` and scores :math:`p, n` of each sense.
        """
        senses = self.senses.get((word, part), ())
        if not senses:
            return 0.0
        fits = similarity(text, [sense.gloss for sense in senses])
        ranked = [(1 + fit) / (2 * sense.rank) for fit, sense in zip(fits, senses, strict=True)]
        weights = torch.tensor(ranked, dtype=torch.double).softmax(0)
        return float(weights @ torch.tensor([sense.feeling for sense in senses], dtype=torch.double))


@dataclass(frozen=True)
class SentimentWord:
    """Word pieces of a word with its part of speech and polarity."""

    pieces: tuple[int, ...]
    part: int  #: index into :data:`PARTS`, or :data:`OTHER`
    polarity: int  #: NEGATIVE, POSITIVE or NEUTRAL


@dataclass(frozen=True)
class SentimentText:
    """Text of labelled words, with its grade."""

    words: tuple[SentimentWord, ...]
    grade: int = UNGRADED


def label_sentiment(
    words: Sequence[tuple[str, str]],
    lexicon: SentiWordNet,
    encode: Callable[[str], Sequence[int]],
    *,
    similarity: Similarity = alike,
    lemma: Lemma = small,
) -> tuple[SentimentWord, ...]:
    """Label the words of a text by part of speech and polarity.

    Args:
        words: words with their Penn Treebank tags.
        lexicon: sentiment lexicon.
        encode: word-piece ids of a word.
        similarity: similarity of the text, its words joined by spaces, to each gloss.
        lemma: lemmatiser.
    """
    text = " ".join(word for word, _ in words)
    found = []
    for word, tag in words:
        part, feeling = part_of_tag(tag), 0.0
        if part != OTHER:
            feeling = lexicon.feeling(lemma(word, PARTS[part]), PARTS[part], text, similarity)
        polarity = POSITIVE if feeling > 0 else NEGATIVE if feeling < 0 else NEUTRAL
        found.append(SentimentWord(tuple(encode(word)), part, polarity))
    return tuple(found)


def felt_columns(
    texts: Sequence[SentimentText], specials: Specials, *, max_length: int = 512
) -> dict[str, list[list[int]]]:
    """Columns of labelled texts, one list per text: ``ids``, ``units`` (word indices) and labels of :data:`UNKNOWN`.

    Args:
        texts: labelled texts.
        specials: special tokens, which stand around a text with unknown labels.
        max_length: maximum number of tokens of a text, these counted; longer texts are truncated.

    Raises:
        UserError: a text has an invalid grade.
    """
    columns: dict[str, list[list[int]]] = {name: [] for name in ("ids", "units", *UNKNOWN)}
    room, before = max_length - specials.around(1), int(specials.opens)
    for place, text in enumerate(texts):
        if not 0 <= text.grade <= UNGRADED:
            raise UserError(
                f"text {place} has the grade {text.grade}; grades are 0 to {GRADES - 1}, {UNGRADED} for none"
            )
        pieces = [(piece, number, word) for number, word in enumerate(text.words) for piece in word.pieces]
        pieces = pieces[:room]
        columns["ids"].append(framed(specials, [piece for piece, _, _ in pieces])[0])
        known = {
            "units": [number for _, number, _ in pieces],
            "part": [word.part for _, _, word in pieces],
            "polarity": [word.polarity for _, _, word in pieces],
            "grade": [text.grade] * len(pieces),
        }
        for name, numbers in known.items():
            unknown = UNKNOWN.get(name, NO_GROUP)
            columns[name].append([*[unknown] * before, *numbers, unknown])
    return columns


def felt_tokens(texts: Sequence[SentimentText], specials: Specials, *, max_length: int = 512) -> Tokens:
    """Tokens of labelled texts for an encoder; arguments and errors as in :func:`felt_columns`."""
    columns = felt_columns(texts, specials, max_length=max_length)
    return replace(
        Tokens.of(columns["ids"], mask_groups=columns["units"]),
        token_labels={
            name: torch.tensor(list(chain.from_iterable(columns[name])), dtype=torch.long) for name in UNKNOWN
        },
    )
