"""BLEU, ROUGE-L and CIDEr of captions are those of the released Python scorers of the COCO evaluation.

``RELEASED`` was printed by ``Bleu(4)``, ``Rouge()`` and ``Cider()`` of pycocoevalcap 1.2, whose CIDEr is CIDEr-D;
``DERIVED`` is worked out by hand. An image is a caption and its references.
"""

from math import exp, sqrt

import pytest

from mm_kptm.errors import UserError
from mm_kptm.tasks.metrics.captions import caption_bleu, caption_scores, caption_tokens, cider, cider_d, rouge_l

OTHER = ("e f g h", ["e f g h"])  # a second image, found word by word: scores 1, 1, 10 by itself

CASES = {
    "the reference itself": [("a b c d", ["a b c d"]), OTHER],
    "no word in common": [("x y z w", ["a b c d"]), ("x y z w", ["e f g h"])],
    "half of the reference": [("a b", ["a b c d"]), OTHER],
    "a word said three times": [("a a a", ["a b"]), OTHER],
    "between two references": [("a b c d", ["a b c", "a b c d e"])],
    "words of two references": [("a b c d", ["a b x y", "x y c d"])],
    "another order": [("d c b a", ["a b c d"]), OTHER],
    "a word of every image": [("a b", ["a b"]), ("a c", ["a d"])],
    "two words too many": [("a b c d e f", ["a b c d"]), ("g h", ["g h"])],
    "precision of one reference, recall of another": [("a b c", ["a b", "a b c d e f"])],
}

#: BLEU-1 to BLEU-4, ROUGE-L, CIDEr-D.
RELEASED = {
    "the reference itself": [0.99999999975, 0.999999999729, 0.999999999694, 0.999999999615, 1, 10],
    "no word in common": [1.24999999969e-16, 1.44337567258e-16, 1.73340318535e-16, 2.25900500815e-16, 0, 0],
    "half of the reference": [
        0.716531310335, 0.716531310305, 0.716531310235, 0.716531310111,
        0.814432989691, 6.51880538651,
    ],
    "a word said three times": [
        0.714285714184, 0.654653670596, 0.65863375586, 0.731110445403,
        0.707482993197, 5.29056405829,
    ],
    "between two references": [0.99999999975, 0.999999999708, 0.999999999639, 0.999999999479, 1, 0],
    "words of two references": [0.9999999995, 0.816496580485, 6.93361273927e-06, 2.40281141228e-08, 0.5, 0],
    "another order": [0.99999999975, 0.707106780995, 0.629960524755, 0.594603557272, 0.625, 6.25],
    "a word of every image": [0.749999999625, 0.612372435313, 0.00721124784793, 0.000782542289694, 0.75, 2.5],
    "two words too many": [
        0.749999999906, 0.707106781083, 0.629960524834, 0.537284965794,
        0.914965986395, 5.9001925439,
    ],
    "precision of one reference, recall of another": [
        0.999999999667, 0.999999999583, 0.999999999389, 0.0316227765872,
        1, 0,
    ],
}  # fmt: skip

NONE = 1e-15 / 1e-9  #: the precision of an order of which the captions have no n-gram


def f(precision, recall):
    """ROUGE-L's F with beta 1.2."""
    return 2.44 * precision * recall / (recall + 1.44 * precision)


#: The same, and CIDEr at the end. n-grams are counted over all images; every word of one image alone weighs log 2 of
#: two, which cancels in a cosine; with one image every weight is log 1 = 0, and CIDEr 0.
DERIVED = {
    "the reference itself": [1, 1, 1, 1, 1, 10, 10],
    "no word in common": [0, 0, 0, 0, 0, 0, 0],
    # every n-gram is right; 6 words for 8: exp(1 - 8/6). Cosines 2/sqrt(2*4) and 1/sqrt(3), 1 bigram for 3
    "half of the reference": [
        *[exp(-1 / 3)] * 4,
        (f(1, 1 / 2) + 1) / 2,
        (2.5 * (1 / sqrt(2) + 1 / sqrt(3)) * exp(-(2**2) / 72) + 10) / 2,
        (2.5 * (1 / sqrt(2) + 1 / sqrt(3)) + 10) / 2,
    ],
    # 1 + 4 of 7 words, 0 + 3 of 5 pairs, 0 + 2 of 3, 1 of 1; 7 words for 6 cost nothing. Cosine 3*1 / (3*sqrt(2)),
    # clipped 1*1 / (3*sqrt(2)), and 2 bigrams for 1
    "a word said three times": [
        5 / 7,
        sqrt(5 / 7 * 3 / 5),
        (5 / 7 * 3 / 5 * 2 / 3) ** (1 / 3),
        (5 / 7 * 3 / 5 * 2 / 3) ** (1 / 4),
        (f(1 / 3, 1 / 2) + 1) / 2,
        (2.5 / (3 * sqrt(2)) * exp(-1 / 72) + 10) / 2,
        (2.5 / sqrt(2) + 10) / 2,
    ],
    # 3 and 5 words are equally close to 4, and the shorter reference counts: no penalty
    "between two references": [1, 1, 1, 1, 1, 0, 0],
    # all words, two pairs of three, no triple of two; half of either reference
    "words of two references": [1, sqrt(2 / 3), 0, 0, f(1 / 2, 1 / 2), 0, 0],
    # 4 + 4 of 8 words; 0 + 3 of 6 pairs, 0 + 2 of 4, 0 + 1 of 2; the cosine of the words is 1, of all else 0
    "another order": [
        1,
        sqrt(1 / 2),
        (1 / 4) ** (1 / 3),
        (1 / 8) ** (1 / 4),
        (f(1 / 4, 1 / 4) + 1) / 2,
        (2.5 + 10) / 2,
        (2.5 + 10) / 2,
    ],
    # "a" is of both images and weighs log 2/2 = 0: b and "a b" are found in the first, nothing in the second
    "a word of every image": [
        3 / 4,
        sqrt(3 / 4 * 1 / 2),
        (3 / 8 * NONE) ** (1 / 3),
        (3 / 8 * NONE**2) ** (1 / 4),
        (1 + f(1 / 2, 1 / 2)) / 2,
        (5 + 0) / 2,
        (5 + 0) / 2,
    ],
    # 6 of 8, 4 of 6, 2 of 4, 1 of 3; cosines sqrt(4/6), sqrt(3/5), sqrt(2/4), sqrt(1/3), and 5 bigrams for 3
    "two words too many": [
        6 / 8,
        sqrt(6 / 8 * 4 / 6),
        (1 / 2 * 2 / 4) ** (1 / 3),
        (1 / 4 * 1 / 3) ** (1 / 4),
        (f(4 / 6, 1) + 1) / 2,
        (2.5 * (sqrt(4 / 6) + sqrt(3 / 5) + sqrt(2 / 4) + sqrt(1 / 3)) * exp(-4 / 72) + 5) / 2,
        (2.5 * (sqrt(4 / 6) + sqrt(3 / 5) + sqrt(2 / 4) + sqrt(1 / 3)) + 5) / 2,
    ],
    # no penalty against 2 words; precision 3/3 of the second reference, recall 2/2 of the first; no four words
    "precision of one reference, recall of another": [1, 1, 1, NONE ** (1 / 4), 1, 0, 0],
}


def scores(name):
    said = [text.split() for text, _ in CASES[name]]
    written = [[text.split() for text in texts] for _, texts in CASES[name]]
    robust, plain = cider_d(said, written), cider(said, written)
    return [*caption_bleu(said, written), rouge_l(said, written), robust, plain]


@pytest.mark.parametrize("name", CASES)
def test_the_released_scorers_say_the_same(name):
    assert scores(name)[:6] == pytest.approx(RELEASED[name], rel=1e-11, abs=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_the_values_follow_from_the_equations(name):
    assert scores(name) == pytest.approx(DERIVED[name], rel=1e-7, abs=1e-5)  # the released 1e-9 among the counts


def test_all_scores_come_together():
    found = caption_scores(["A man's dog, running."], [["a man 's dog running", "A dog!"]])
    assert found.bleu[3] == pytest.approx(1) and found.rouge_l == 1 and found.cider_d == 0
    one, two = caption_scores(["A b.", "c d!"], [["a b"], ["C, d"]])[2:]
    assert (one, two) == (pytest.approx(5), pytest.approx(5))  # words and pairs


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A cat isn't  on the mat...", "a cat is n't on the mat"),
        ("It's the dog's; they'll cannot gonna.", "it 's the dog 's they 'll can not gon na"),
        ("A T-shirt (red) [or] U.S. flag -- 1,000 pieces", "a t-shirt red -lsb- or -rsb- u.s. flag 1,000 pieces"),
        ("people’s bikes at 10:30, 2nd & 5% off", "people 's bikes at 10:30 2nd & 5 % off"),
        ("!?. ,-", ""),
    ],
)
def test_captions_are_cut_as_in_the_penn_treebank(text, tokens):
    assert caption_tokens(text) == tokens.split()


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(UserError, match="there is no caption to score; at least one, and a reference for each"):
        caption_scores([], [])
    with pytest.raises(
        UserError, match="2 captions are to be scored against the references of 1 images; every caption"
    ):
        caption_scores(["a", "b"], [["a"]])
    with pytest.raises(UserError, match="caption 1 has no reference to be scored against; leave its image out"):
        caption_scores(["a", "b"], [["a"], []])


def test_an_empty_caption_scores_nothing():
    found = caption_scores(["", "a b c d"], [["x y"], ["a b c d"]])
    assert found.rouge_l == 0.5 and found.cider_d == pytest.approx(5)
