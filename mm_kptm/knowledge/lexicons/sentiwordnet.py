"""What part of speech a word is and how it feels, from SentiWordNet (Baccianella et al. 2010; Ke et al. 2020).

A word feels as its senses do, each weighted by how well its gloss fits the text and by how common it is. What measures
the fit is given; without it only how common a sense is counts.
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
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines

PARTS = ("v", "a", "r", "n")  #: verb, adjective, adverb, noun, by the letters of SentiWordNet; others are OTHER
OTHER = len(PARTS)
NEGATIVE, POSITIVE, NEUTRAL = range(3)
GRADES = 5  #: of a whole text, 0 the worst
UNGRADED = GRADES
#: What rows of tokens know (:attr:`~mm_kptm.batch.Tokens.marks`), and the number that says that nothing is known.
UNKNOWN = {"part": OTHER, "polarity": NEUTRAL, "grade": UNGRADED}

Similarity = Callable[[str, Sequence[str]], Sequence[float]]  #: of a text to each gloss, between -1 and 1
Lemma = Callable[[str, str], str]  #: of a word and the letter of its part of speech
_TAGS = {"VB": "v", "JJ": "a", "RB": "r", "NN": "n"}


def part_of_tag(tag: str) -> int:
    """The number of a tag of the Penn Treebank.

    >>> [part_of_tag(tag) for tag in ("VBZ", "JJR", "RB", "NNPS", "IN")]
    [0, 1, 2, 3, 4]
    """
    letter = _TAGS.get(tag[:2])
    return OTHER if letter is None else PARTS.index(letter)


def small(word: str, part: str) -> str:
    """The word in small letters for its lemma; the released code has NLTK's."""
    return word.lower()


def alike(text: str, glosses: Sequence[str]) -> list[float]:
    """Every gloss fits; the released code has the cosines of Sentence-BERT's vectors."""
    return [1.0] * len(glosses)


class SentimentSense(NamedTuple):
    """One sense of a word."""

    rank: int  #: 1 is the most common one
    feeling: float  #: positive minus negative score
    gloss: str  #: without examples


@dataclass(frozen=True)
class SentiWordNet:
    """The senses of words by part of speech."""

    senses: Mapping[tuple[str, str], tuple[SentimentSense, ...]]

    @classmethod
    def open(cls, path: str | Path) -> SentiWordNet:
        """From ``SentiWordNet_3.0.0.txt``: part of speech, number, two scores, words and gloss a line, between tabs.

        Raises:
            UserError: no such file, or a line is not of that form.
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
        r"""How a lemma feels in a text, between -1 and 1; 0 where it is not known (Ke et al. 2020, released code).

        .. math:: \sum_i \alpha_i (p_i - n_i), \quad \alpha = \mathrm{softmax}_i \frac{1 + \cos(g_i, x)}{2\, r_i}

        with the rank :math:`r`, gloss :math:`g` and scores :math:`p, n` of each sense.
        """
        senses = self.senses.get((word, part), ())
        if not senses:
            return 0.0
        fits = similarity(text, [sense.gloss for sense in senses])
        ranked = [(1 + fit) / (2 * sense.rank) for fit, sense in zip(fits, senses, strict=True)]
        shares = torch.tensor(ranked, dtype=torch.double).softmax(0)
        return float(shares @ torch.tensor([sense.feeling for sense in senses], dtype=torch.double))


@dataclass(frozen=True)
class FeltWord:
    """A word in pieces, what it is and how it feels."""

    pieces: tuple[int, ...]
    part: int  #: a place in :data:`PARTS`, or :data:`OTHER`
    polarity: int  #: NEGATIVE, POSITIVE or NEUTRAL


@dataclass(frozen=True)
class FeltText:
    """A text of such words, and how it is graded as a whole."""

    words: tuple[FeltWord, ...]
    grade: int = UNGRADED


def felt(
    words: Sequence[tuple[str, str]],
    lexicon: SentiWordNet,
    encode: Callable[[str], Sequence[int]],
    *,
    similarity: Similarity = alike,
    lemma: Lemma = small,
) -> tuple[FeltWord, ...]:
    """The words of a text with their tags of the Penn Treebank, labelled.

    Args:
        words: word and tag.
        lexicon: how lemmas feel.
        encode: the ids of a word's pieces.
        similarity: of the text, its words with blanks between, to a gloss.
        lemma: of a word.
    """
    text = " ".join(word for word, _ in words)
    found = []
    for word, tag in words:
        part, feeling = part_of_tag(tag), 0.0
        if part != OTHER:
            feeling = lexicon.feeling(lemma(word, PARTS[part]), PARTS[part], text, similarity)
        polarity = POSITIVE if feeling > 0 else NEGATIVE if feeling < 0 else NEUTRAL
        found.append(FeltWord(tuple(encode(word)), part, polarity))
    return tuple(found)


def felt_columns(
    texts: Sequence[FeltText], start: int, stop: int, *, max_length: int = 512
) -> dict[str, list[list[int]]]:
    """Labelled texts as numbers, one list a text: ``ids``, ``units`` (a word each), and what :data:`UNKNOWN` names.

    Args:
        texts: in order.
        start: id that stands before a text; nothing is known of it.
        stop: id that stands after a text; nothing is known of it.
        max_length: tokens of a text, these two counted; what goes beyond is cut.

    Raises:
        UserError: a text has a grade that there is not.
    """
    columns: dict[str, list[list[int]]] = {name: [] for name in ("ids", "units", *UNKNOWN)}
    for place, text in enumerate(texts):
        if not 0 <= text.grade <= UNGRADED:
            raise UserError(
                f"text {place} has the grade {text.grade}; grades are 0 to {GRADES - 1}, {UNGRADED} for none"
            )
        pieces = [(piece, number, word) for number, word in enumerate(text.words) for piece in word.pieces]
        pieces = pieces[: max_length - 2]
        columns["ids"].append([start, *(piece for piece, _, _ in pieces), stop])
        columns["units"].append([NO_GROUP, *(number for _, number, _ in pieces), NO_GROUP])
        known = {
            "part": [word.part for _, _, word in pieces],
            "polarity": [word.polarity for _, _, word in pieces],
            "grade": [text.grade] * len(pieces),
        }
        for name, numbers in known.items():
            columns[name].append([UNKNOWN[name], *numbers, UNKNOWN[name]])
    return columns


def felt_tokens(texts: Sequence[FeltText], start: int, stop: int, *, max_length: int = 512) -> Tokens:
    """What an encoder reads of labelled texts; arguments and errors as of :func:`felt_columns`."""
    columns = felt_columns(texts, start, stop, max_length=max_length)
    return replace(
        Tokens.of(columns["ids"], mask_groups=columns["units"]),
        token_labels={
            name: torch.tensor(list(chain.from_iterable(columns[name])), dtype=torch.long) for name in UNKNOWN
        },
    )
