"""Exact match and F1 of answer spans: SQuAD's rule, and MLQA's rules per language.

XQuAD and TyDi QA are scored by SQuAD's rule in every language (Hu et al. 2020, XTREME), so that a Chinese or Thai
answer is one token there. The rules are those of the released evaluations, including their errors, because published
numbers contain them.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from mm_kptm.errors import UserError

Normalise = Callable[[str], str]

_ASCII_PUNCTUATION = frozenset(string.punctuation)
_IDEOGRAPH = re.compile("([\u4e00-\u9fa5])")


def _words(*articles: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(articles)})\b")


_ENGLISH = _words("a", "an", "the")
#: The articles that MLQA removes; Chinese and Hindi have none.
_ARTICLES: dict[str, re.Pattern[str] | None] = {
    "en": _ENGLISH,
    "es": _words("un", "una", "unos", "unas", "el", "la", "los", "las"),
    "de": _words("ein", "eine", "einen", "einem", "eines", "einer", "der", "die", "das", "den", "dem", "des"),
    "vi": _words("của", "là", "cái", "chiếc", "những"),
    "ar": re.compile("ال"),  # anywhere, inside words too, as the released pattern does
    "hi": None,
    "zh": None,
}


def squad_normalised(answer: str) -> str:
    """Lower case, without ASCII punctuation and English articles (Rajpurkar et al. 2016).

    >>> squad_normalised("The $5,000 prize!")
    '5000 prize'
    """
    bare = "".join(sign for sign in answer.lower() if sign not in _ASCII_PUNCTUATION)
    return " ".join(_ENGLISH.sub(" ", bare).split())


def mlqa_normalised(answer: str, language: str) -> str:
    """Lower case, without Unicode punctuation and the articles of the language (Lewis et al. 2020, MLQA).

    Every ideograph of Chinese is a token of its own.

    Args:
        answer: text of the answer.
        language: code of the answer's language, which is that of the passage and not that of the question.

    Raises:
        UserError: MLQA has no rule for the language.

    >>> mlqa_normalised("1998年", "zh"), mlqa_normalised("La Casa de las Flores", "es")
    ('1998 年', 'casa de flores')
    """
    if language not in _ARTICLES:
        raise UserError(
            f"MLQA has no rule for answers in {language!r}, only for {', '.join(sorted(_ARTICLES))}; use SQuAD's rule"
        )
    bare = "".join(
        sign
        for sign in answer.lower()
        if sign not in _ASCII_PUNCTUATION and not unicodedata.category(sign).startswith("P")
    )
    articles = _ARTICLES[language]
    if articles is not None:
        bare = articles.sub(" ", bare)
    if language == "zh":
        bare = _IDEOGRAPH.sub(r" \1 ", bare)
    return " ".join(bare.split())


def span_exact_match(prediction: str, gold: Sequence[str], normalise: Normalise = squad_normalised) -> float:
    """1 where a gold answer equals the prediction after normalisation, else 0."""
    return float(normalise(prediction) in {normalise(answer) for answer in gold})


def span_f1(prediction: str, gold: Sequence[str], normalise: Normalise = squad_normalised) -> float:
    """F1 of the tokens shared with the most similar gold answer; 0 where nothing is shared, also by two empty answers.

    >>> span_f1("the black cat", ["cat", "a black dog here"])
    0.6666666666666666
    """
    tokens = Counter(normalise(prediction).split())
    return max(_f1(tokens, Counter(normalise(answer).split())) for answer in gold)


def _f1(prediction: Counter[str], gold: Counter[str]) -> float:
    shared = (prediction & gold).total()
    if not shared:
        return 0.0
    precision, recall = shared / prediction.total(), shared / gold.total()
    return 2 * precision * recall / (precision + recall)


def span_scores(
    predictions: Mapping[str, str], gold: Mapping[str, Sequence[str]], normalise: Normalise = squad_normalised
) -> dict[str, float]:
    """Mean exact match and F1 over all questions, in per cent; a question without a prediction counts 0.

    Args:
        predictions: answer of each question.
        gold: gold answers of each question, at least one each.
        normalise: :func:`squad_normalised`, or :func:`mlqa_normalised` of a language.

    Raises:
        UserError: no questions, or one without a gold answer.

    >>> span_scores({"q1": "a cat"}, {"q1": ["the cat"], "q2": ["dog"]})
    {'exact-match': 50.0, 'f1': 50.0}
    """
    if not gold:
        raise UserError("there are no questions to score; name a file that holds gold answers")
    bare = next((question for question, answers in gold.items() if not answers), None)
    if bare is not None:
        raise UserError(f"question {bare!r} has no gold answer, so that it cannot be scored; leave it out")
    answered = [question for question in gold if question in predictions]
    exact = sum(span_exact_match(predictions[question], gold[question], normalise) for question in answered)
    shared = sum(span_f1(predictions[question], gold[question], normalise) for question in answered)
    return {"exact-match": 100 * exact / len(gold), "f1": 100 * shared / len(gold)}
