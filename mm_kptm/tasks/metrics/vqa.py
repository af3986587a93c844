"""VQA answers: official normalisation and accuracy, answer vocabulary and soft targets.

The rules are those of the released evaluation of VQA (Antol et al. 2015, section 4; Goyal et al. 2017), including its
errors, because published numbers contain them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from mm_kptm.data.formats.vqa_v2 import VqaAnnotation

#: Each stands for its spellings with one apostrophe left out: ``couldn't've`` for *couldnt've* and *couldn'tve*.
_WITH_APOSTROPHES = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
    he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've
    needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've
    somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll
    that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've
    weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've
    why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're
    you've
"""
CONTRACTIONS = {
    form[:place] + form[place + 1 :]: form
    for form in _WITH_APOSTROPHES.split()
    for place, letter in enumerate(form)
    if letter == "'"
} | {"somebody'd": "somebodyd"}  # the released table has this one the wrong way round
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS)} | {"none": "0"}
_ARTICLES = frozenset({"a", "an", "the"})
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_THOUSANDS = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_PERIODS_STRIPPED = 32  # the released code passes a flag whose value is 32 where the count belongs


def trimmed(answer: str) -> str:
    """Replace line ends and tabs by spaces, and strip."""
    return answer.replace("\n", " ").replace("\t", " ").strip()


def normalised(answer: str) -> str:
    """Official normalisation of an answer: punctuation, lower case, digits, articles, contractions.

    >>> normalised("Two, in THE box."), normalised("dont know"), normalised("1,000"), normalised("t-shirt")
    ('2 in box', "don't know", '1000', 't shirt')
    """
    answer = trimmed(answer)
    glued = _THOUSANDS.search(answer) is not None
    clean = answer
    for sign in _PUNCTUATION:
        at_edge = f"{sign} " in answer or f" {sign}" in answer
        clean = clean.replace(sign, "" if at_edge or glued else " ")
    clean = _PERIOD.sub("", clean, count=_PERIODS_STRIPPED)
    words = (_DIGITS.get(word, word) for word in clean.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(answer: str, given: Sequence[str]) -> float:
    r"""Official VQA accuracy of an answer against those of ten annotators.

    .. math:: \frac{1}{10} \sum_{i} \min\left(1, \frac{\#\{j \ne i : a_j = a\}}{3}\right)

    Answers are normalised only where the annotators differ, as in the released code.
    """
    given = [trimmed(other) for other in given]
    answer = trimmed(answer)
    if len(set(given)) > 1:
        given, answer = [normalised(other) for other in given], normalised(answer)
    count = given.count(answer)
    left_in, left_out = min(1.0, count / 3), min(1.0, (count - 1) / 3)
    return ((len(given) - count) * left_in + count * left_out) / len(given)


def answer_vocabulary(annotations: Iterable[VqaAnnotation], *, min_count: int = 9) -> tuple[str, ...]:
    """Answers that are the most frequent one of at least ``min_count`` questions, most common first.

    The rule of the 2017 challenge's winner (Teney et al. 2018, section 3.1): 3,129 answers on train and val.
    """
    counts = Counter(normalised(annotation.most_frequent) for annotation in annotations)
    kept = [(-count, answer) for answer, count in counts.items() if count >= min_count]
    return tuple(answer for _, answer in sorted(kept))


def soft_scores(given: Sequence[str]) -> dict[str, float]:
    """Soft targets of annotated answers: 0.3, 0.6, 0.9 or 1 for one, two, three or more annotators.

    The official accuracy of the answer, rounded down to a tenth (Teney et al. 2018, section 3.4).

    >>> soft_scores(["red", "red", "Red.", "blue"])
    {'red': 0.9, 'blue': 0.3}
    """
    counts = Counter(normalised(answer) for answer in given)
    return {answer: (0.3, 0.6, 0.9, 1.0)[min(count, 4) - 1] for answer, count in counts.items()}
