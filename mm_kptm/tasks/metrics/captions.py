"""Scores of generated captions, without Java: BLEU, ROUGE-L, CIDEr and CIDEr-D of the COCO evaluation.

The definitions, their constants included, are those of the released Python scorers of the COCO caption evaluation (Chen
et al. 2015), so that numbers can be compared with published ones. Translation is scored by
:mod:`mm_kptm.tasks.metrics.generation` instead: BLEU of captions has another tokenization, and counts lengths and words
without a match in another way. METEOR and SPICE exist in Java alone and are not here.

Shapes: I images, N = 4 orders of n-grams.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mm_kptm.errors import UserError

ORDERS = (1, 2, 3, 4)
_TINY, _SMALL = 1e-15, 1e-9  #: keep a caption without a match, and one without an n-gram, from 0 / 0
_BETA = 1.2  #: weight of recall against precision in ROUGE-L
_SIGMA = 6.0  #: of CIDEr-D's penalty of a length other than the reference's

Ngram = tuple[str, ...]
Counts = Counter[Ngram]

#: What the COCO evaluation drops after tokenization.
PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-lrb-", "-rrb-", "-lcb-", "-rcb-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "{": "-lcb-", "}": "-rcb-", "[": "-lsb-", "]": "-rsb-"}
_CONTRACTED = re.compile(r"(?<=\w)(n['’]t|['’](?:s|m|d|ll|re|ve))(?!\w)")
_JOINED = re.compile(r"\b(can)(not)\b|\b(gon|wan)(na)\b|\b(got)(ta)\b|\b(gim|lem)(me)\b|\b(d['’]ye)\b")
_TOKEN = re.compile(
    r"(?:[a-z]\.){2,}"  # abbreviations: u.s.
    r"|\d+(?:[.,:/]\d+)*(?:st|nd|rd|th|s)?(?!\w)"  # numbers, times and dates
    r"|(?<![\w'’])['’]n['’](?!\w)"
    r"|n['’]t(?!\w)|['’](?:s|m|d|ll|re|ve)(?!\w)"  # parted by _CONTRACTED
    r"|\w+(?:[-./_@]\w+)*"  # words, hyphenated ones in one piece
    r"|\.{2,}|--+|\S"
)


class CaptionScores(NamedTuple):
    """Scores of a whole data set, as fractions; CIDEr may exceed 1. ``CIDEr`` of published tables is ``cider_d``."""

    bleu: tuple[float, float, float, float]
    rouge_l: float
    cider: float
    cider_d: float


def caption_tokens(text: str) -> list[str]:
    """Tokens of a caption: lower case, cut as in the Penn Treebank, without punctuation.

    The COCO evaluation calls the tokenizer of Stanford CoreNLP, which is Java. These are its rules as far as captions
    need them: contractions are cut, hyphenated words, numbers and abbreviations are not, brackets are spelt out.

    >>> caption_tokens("A man's hat isn't on the T-shirt, (2.5 ft.) away!")
    ['a', 'man', "'s", 'hat', 'is', "n't", 'on', 'the', 't-shirt', '2.5', 'ft', 'away']
    """
    said = _JOINED.sub(lambda found: " ".join(part for part in found.groups() if part), text.lower())
    said = _CONTRACTED.sub(r" \1", said)
    spelt = (_BRACKETS.get(token, token.replace("’", "'")) for token in _TOKEN.findall(said))
    return [token for token in spelt if token not in PUNCTUATION and not set(token) <= set('."-')]


def caption_scores(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """All scores of captions, tokenized by :func:`caption_tokens`.

    Args:
        candidates: the caption of every image, [I].
        references: the captions that people wrote about it, [I].

    Raises:
        UserError: nothing to score, another number of references than captions, or an image without a reference.
    """
    said = [caption_tokens(text) for text in candidates]
    written = [[caption_tokens(text) for text in texts] for texts in references]
    _check(said, written)
    first, second, third, fourth = caption_bleu(said, written)
    return CaptionScores(
        (first, second, third, fourth), rouge_l(said, written), cider(said, written), cider_d(said, written)
    )


def caption_bleu(candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> list[float]:
    r"""BLEU-1 to BLEU-4 of tokenized captions (Papineni et al. 2002), against the reference closest in length.

    .. math:: \left(\prod_{n=1}^{N} \frac{m_n + 10^{-15}}{t_n + 10^{-9}}\right)^{1/N} \min\left(1, e^{1 - r/c}\right)

    with m matched ones among the t n-grams, c tokens of the captions and r of their references. Of two references
    equally close in length the shorter one counts.
    """
    _check(candidates, references)
    matched, total = [0] * len(ORDERS), [0] * len(ORDERS)
    length = reference_length = 0
    for said, written in zip(candidates, references, strict=True):
        length += len(said)
        reference_length += min((abs(len(one) - len(said)), len(one)) for one in written)[1]
        most: Counts = Counter()
        for one in written:
            most |= _ngrams(one)
        for ngram, count in _ngrams(said).items():
            matched[len(ngram) - 1] += min(count, most[ngram])
        for order in ORDERS:
            total[order - 1] += max(0, len(said) - order + 1)
    ratio = (length + _TINY) / (reference_length + _SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    scores, product = [], 1.0
    for order in ORDERS:
        product *= (matched[order - 1] + _TINY) / (total[order - 1] + _SMALL)
        scores.append(product ** (1 / order) * brevity)
    return scores


def rouge_l(candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> float:
    r"""ROUGE-L of tokenized captions (Lin 2004): F of the longest common subsequence, averaged over images.

    .. math:: \frac{(1 + \beta^2) P R}{R + \beta^2 P}, \quad \beta = 1.2

    where precision P and recall R are each the best over the references.
    """
    _check(candidates, references)
    total = 0.0
    for said, written in zip(candidates, references, strict=True):
        common = [_common(said, one) for one in written]
        precision = max(common) / len(said) if said else 0.0
        recall = max(shared / len(one) if one else 0.0 for shared, one in zip(common, written, strict=True))
        if precision and recall:
            total += (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)
    return total / len(candidates)


def cider(candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> float:
    r"""CIDEr of tokenized captions (Vedantam et al. 2015, eq. 1-3): mean cosine of tf-idf vectors, times 10.

    .. math:: \frac{10}{N} \sum_n \frac{1}{m} \sum_j \frac{g^n(c) \cdot g^n(s_j)}{\|g^n(c)\| \|g^n(s_j)\|}

    Document frequencies are those of the references given here, one document an image, so a score depends on the whole
    set, and a single image scores 0. Words are not stemmed, as in the released scorer.
    """
    return _consensus(candidates, references, robust=False)


def cider_d(candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> float:
    r"""CIDEr-D of tokenized captions (Vedantam et al. 2015, section 5), which COCO's tables call CIDEr.

    As :func:`cider`, but a word counts no oftener than in the reference, and a length other than the reference's costs
    :math:`e^{-d^2 / 2 \sigma^2}` with :math:`\sigma = 6`; d is the difference of the numbers of bigrams, as released.
    """
    return _consensus(candidates, references, robust=True)


class _Vector(NamedTuple):
    """Tf-idf vector of a caption: weights and norm by order, and its number of bigrams."""

    weights: tuple[Mapping[Ngram, float], ...]
    norms: tuple[float, ...]
    bigrams: int


def _consensus(
    candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]], *, robust: bool
) -> float:
    _check(candidates, references)
    counted = [[_ngrams(one) for one in written] for written in references]
    documents: Counts = Counter()
    for written in counted:
        documents.update(set().union(*written))
    images = math.log(len(references))

    def vector(counts: Counts) -> _Vector:
        weights: tuple[dict[Ngram, float], ...] = tuple({} for _ in ORDERS)
        for ngram, count in counts.items():
            weights[len(ngram) - 1][ngram] = count * (images - math.log(max(1, documents[ngram])))
        norms = tuple(math.sqrt(sum(weight**2 for weight in one.values())) for one in weights)
        return _Vector(weights, norms, sum(count for ngram, count in counts.items() if len(ngram) == 2))

    total = 0.0
    for said, written in zip(candidates, counted, strict=True):
        own = vector(_ngrams(said))
        total += sum(_similarity(own, vector(one), robust=robust) for one in written) / len(written)
    return 10 * total / len(candidates)


def _similarity(said: _Vector, written: _Vector, *, robust: bool) -> float:
    """The mean cosine over orders; clipped, and with a penalty of the length, where ``robust``."""
    total = 0.0
    for own, other, norm, others in zip(said.weights, written.weights, said.norms, written.norms, strict=True):
        shared = own.keys() & other.keys()
        dot = sum((min(own[ngram], other[ngram]) if robust else own[ngram]) * other[ngram] for ngram in shared)
        total += dot / (norm * others) if norm and others else dot
    penalty = math.exp(-((said.bigrams - written.bigrams) ** 2) / (2 * _SIGMA**2)) if robust else 1.0
    return penalty * total / len(ORDERS)


def _ngrams(tokens: Sequence[str]) -> Counts:
    return Counter(tuple(tokens[at : at + order]) for order in ORDERS for at in range(len(tokens) - order + 1))


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    above = [0] * (len(other) + 1)
    for token in one:
        row = [0]
        for at, candidate in enumerate(other):
            row.append(above[at] + 1 if token == candidate else max(above[at + 1], row[at]))
        above = row
    return above[-1]


def _check(candidates: Sequence[object], references: Sequence[Sequence[object]]) -> None:
    if not candidates:
        raise UserError("there is no caption to score; at least one, and a reference for each, are needed")
    if len(candidates) != len(references):
        raise UserError(
            f"{len(candidates)} captions are to be scored against the references of {len(references)} images; every "
            "caption needs those of its own image, in the same order"
        )
    for number, written in enumerate(references):
        if not written:
            raise UserError(f"caption {number} has no reference to be scored against; leave its image out")
