"""Scores of translation and other generated text, by sacrebleu (Post 2018): BLEU, chrF and TER.

Print the signature with every score: it says all that another laboratory needs to get the same number. Hypotheses are
detokenised text; BLEU of text tokenised in advance, as XLM and MASS report it, cannot be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from mm_kptm.errors import UserError

Tokenization = Literal["13a", "intl", "zh", "char", "none"]
Smoothing = Literal["exp", "floor", "add-k", "none"]

#: Tokenizers that need neither a download nor another package.
TOKENIZERS: tuple[Tokenization, ...] = ("13a", "intl", "zh", "char", "none")


class Score(NamedTuple):
    """A score in per cent and the signature of its settings."""

    score: float
    signature: str


class BleuScore(NamedTuple):
    """BLEU in per cent, and what it is made of.

    ``precisions`` (in per cent), ``counts`` and ``totals`` are those of the n-grams of each order; ``lengths`` are the
    tokens of hypotheses and of the closest references.
    """

    score: float
    signature: str
    precisions: list[float]
    counts: list[int]
    totals: list[int]
    brevity_penalty: float
    lengths: tuple[int, int]


def bleu(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: Tokenization = "13a",
    lowercase: bool = False,
    smoothing: Smoothing = "exp",
    effective_order: bool = False,
) -> BleuScore:
    """BLEU of a corpus (Papineni et al. 2002).

    Args:
        hypotheses: detokenised translations.
        references: one or more sets, each with a reference per hypothesis.
        tokenize: ``13a`` for alphabets, ``zh`` for Chinese, ``char`` for scripts without spaces.
        lowercase: ignore case, as XGLUE does.
        smoothing: what stands for an order of n-grams without a match.
        effective_order: leave out orders longer than every hypothesis, as is usual for a single sentence; a corpus
            of very short hypotheses scores 0 without it.

    Raises:
        UserError: nothing to score, a set of another size than the hypotheses, or an unknown tokenizer.
    """
    _check(hypotheses, references)
    from sacrebleu.metrics.bleu import BLEU  # slow to import

    metric = BLEU(
        lowercase=lowercase,
        force=True,  # no warning at hypotheses that look tokenised
        tokenize=_known(tokenize),
        smooth_method=smoothing,
        effective_order=effective_order,
    )
    found = metric.corpus_score(hypotheses, references)
    return BleuScore(
        found.score,
        str(metric.get_signature()),
        list(found.precisions),
        list(found.counts),
        list(found.totals),
        found.bp,
        (found.sys_len, found.ref_len),
    )


def sentence_bleu(hypothesis: str, references: Sequence[str], *, tokenize: Tokenization = "13a") -> float:
    """BLEU of one sentence against one or more references, in per cent, over the orders that it is long enough for."""
    return bleu([hypothesis], [[text] for text in references], tokenize=tokenize, effective_order=True).score


def chrf(hypotheses: Sequence[str], references: Sequence[Sequence[str]], *, word_order: int = 0) -> Score:
    """chrF2 of a corpus (Popović 2015): F2 of character n-grams up to 6, without white space.

    With a ``word_order`` of 2, which adds n-grams of words, it is chrF2++.

    Raises:
        UserError: as :func:`bleu`.
    """
    _check(hypotheses, references)
    from sacrebleu.metrics.chrf import CHRF  # slow to import

    metric = CHRF(word_order=word_order)
    return Score(metric.corpus_score(hypotheses, references).score, str(metric.get_signature()))


def ter(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
    """Translation edit rate of a corpus (Snover et al. 2006), in per cent; lower is better.

    Raises:
        UserError: as :func:`bleu`.
    """
    _check(hypotheses, references)
    from sacrebleu.metrics.ter import TER  # slow to import

    metric = TER()
    return Score(metric.corpus_score(hypotheses, references).score, str(metric.get_signature()))


def tokenized(text: str, tokenize: Tokenization = "13a") -> str:
    """A sentence as BLEU sees it, tokens parted by spaces.

    >>> tokenized("It's 3.5% better.")
    "It's 3.5 % better ."
    """
    from sacrebleu.metrics.bleu import BLEU

    return str(BLEU(tokenize=_known(tokenize)).tokenizer(text))


def _known(tokenize: str) -> str:
    if tokenize not in TOKENIZERS:
        raise UserError(
            f"{tokenize!r} is no tokenizer that works without a download; choose one of {', '.join(TOKENIZERS)}"
        )
    return tokenize


def _check(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if not hypotheses or not references:
        raise UserError("there is nothing to score; both hypotheses and a set of references are needed")
    for number, texts in enumerate(references, 1):
        if len(texts) != len(hypotheses):
            raise UserError(
                f"{len(hypotheses)} hypotheses are to be scored against {len(texts)} references of set {number}; "
                "every hypothesis needs its own, in the same order"
            )
