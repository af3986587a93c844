"""SentiWordNet becomes labels of words, and labelled words become tokens that know them."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError
from mm_kptm.knowledge.lexicons.sentiwordnet import (
    NEGATIVE,
    NEUTRAL,
    OTHER,
    POSITIVE,
    UNGRADED,
    SentimentSense,
    SentimentText,
    SentimentWord,
    SentiWordNet,
    felt_tokens,
    label_sentiment,
)

SPECIALS = Specials(pad=1, unknown=3, start=0, stop=2, mask=4, between=2)  #: of RoBERTa
FILE = """# SentiWordNet v3.0
#
a\t00001740\t0.75\t0\tgood#1 fine#2\tof high quality; "a good meal"
a\t00001741\t0\t0.5\tbad#1 fine#3\tnot well done
n\t00001742\t0\t0.25\tfine#1\tmoney to pay
r\t00001743\t0\t0\twell#1\tso-so
#
"""


def written(folder: Path, text: str = FILE) -> Path:
    file = folder / "SentiWordNet_3.0.0.txt"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture
def lexicon(tmp_path: Path) -> SentiWordNet:
    return SentiWordNet.open(written(tmp_path))


def test_senses_are_kept_by_word_and_part_of_speech(lexicon: SentiWordNet) -> None:
    assert lexicon.senses["fine", "a"] == (
        SentimentSense(2, 0.75, "of high quality"),
        SentimentSense(3, -0.5, "not well done"),
    )
    assert lexicon.senses["fine", "n"] == (SentimentSense(1, -0.25, "money to pay"),)
    assert ("good", "n") not in lexicon.senses


def test_common_senses_weigh_more(lexicon: SentiWordNet) -> None:
    """Ranks 2 and 3 alike: a softmax of 1/2 and 1/3."""
    first, second = math.exp(1 / 2), math.exp(1 / 3)
    expected = (0.75 * first - 0.5 * second) / (first + second)
    assert lexicon.feeling("fine", "a") == pytest.approx(expected)
    assert lexicon.feeling("fine", "v") == 0.0


def test_senses_whose_gloss_fits_the_text_weigh_more(lexicon: SentiWordNet) -> None:
    seen = []

    def fits_badly(text: str, glosses: list[str]) -> list[float]:
        seen.append((text, list(glosses)))
        return [-1.0, 1.0]

    first, second = math.exp(0), math.exp(1 / 3)
    expected = (0.75 * first - 0.5 * second) / (first + second)
    assert lexicon.feeling("fine", "a", "a fine mess", fits_badly) == pytest.approx(expected)
    assert seen == [("a fine mess", ["of high quality", "not well done"])]


@pytest.mark.parametrize(
    "line",
    [
        "a\t1\t0.5\t0\tgood#1",
        "a\t1\tx\t0\tgood#1\tgloss",
        "q\t1\t0\t0\tgood#1\tgloss",
        "a\t1\t0\t0\tgood\tgloss",
        "a\t1\t0\t0\tgood#0\tgloss",
        "a\t1\t3\t0\tgood#1\tgloss",
    ],
)
def test_a_line_of_another_form_is_named(tmp_path: Path, line: str) -> None:
    with pytest.raises(UserError, match=r"3\.0\.0\.txt, line 8 should be a part of speech, .* not '[aq]\\t1"):
        SentiWordNet.open(written(tmp_path, FILE + line + "\n"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^SentiWordNet was looked for in .*none\.txt, but there is no such file$"):
        SentiWordNet.open(tmp_path / "none.txt")


def test_words_are_labelled_by_their_tag_and_lemma(lexicon: SentiWordNet) -> None:
    words = [("Good", "JJ"), ("fines", "NNS"), ("well", "RB"), ("bad", "IN"), ("table", "NN")]
    labelled = label_sentiment(
        words, lexicon, lambda word: [len(word)], lemma=lambda word, part: word.lower().rstrip("s")
    )
    assert labelled == (
        SentimentWord((4,), 1, POSITIVE),
        SentimentWord((5,), 3, NEGATIVE),
        SentimentWord((4,), 2, NEUTRAL),
        SentimentWord((3,), OTHER, NEUTRAL),
        SentimentWord((5,), 3, NEUTRAL),
    )


def test_pieces_know_what_their_word_is() -> None:
    texts = [
        SentimentText((SentimentWord((7, 8), 1, POSITIVE), SentimentWord((9,), OTHER, NEUTRAL)), 4),
        SentimentText((SentimentWord((6,), 3, NEGATIVE),)),
    ]
    tokens = felt_tokens(texts, SPECIALS)
    assert tokens.ids.tolist() == [0, 7, 8, 9, 2, 0, 6, 2] and tokens.layout.lengths == (5, 3)
    assert tokens.mask_groups is not None and tokens.token_labels is not None
    assert tokens.mask_groups.tolist() == [-1, 0, 0, 1, -1, -1, 5, -1]
    nothing = OTHER
    assert tokens.token_labels["part"].tolist() == [nothing, 1, 1, OTHER, nothing, nothing, 3, nothing]
    assert tokens.token_labels["polarity"].tolist() == [2, POSITIVE, POSITIVE, NEUTRAL, 2, 2, NEGATIVE, 2]
    assert tokens.token_labels["grade"].tolist() == [UNGRADED, 4, 4, 4, UNGRADED, UNGRADED, UNGRADED, UNGRADED]


def test_nothing_stands_in_front_of_a_text_that_has_no_start_token() -> None:
    texts = [SentimentText((SentimentWord((7, 8, 9), 1, POSITIVE),), 4), SentimentText((SentimentWord((6,), 3, 0),))]
    tokens = felt_tokens(texts, replace(SPECIALS, opens=False), max_length=3)
    assert tokens.ids.tolist() == [7, 8, 2, 6, 2] and tokens.layout.lengths == (3, 2)
    assert tokens.mask_groups is not None and tokens.mask_groups.tolist() == [0, 0, -1, 3, -1]
    assert tokens.token_labels is not None
    assert tokens.token_labels["part"].tolist() == [1, 1, OTHER, 3, OTHER]
    assert tokens.token_labels["grade"].tolist() == [4, 4, UNGRADED, UNGRADED, UNGRADED]


def test_long_texts_are_cut() -> None:
    tokens = felt_tokens([SentimentText((SentimentWord((7, 8, 9), 1, POSITIVE),), 0)], SPECIALS, max_length=4)
    assert tokens.ids.tolist() == [0, 7, 8, 2] and tokens.token_labels is not None
    assert all(len(mark) == 4 for mark in tokens.token_labels.values())


def test_a_grade_that_there_is_not_is_refused() -> None:
    with pytest.raises(UserError, match=r"^text 1 has the grade 6; grades are 0 to 4, 5 for none$"):
        felt_tokens([SentimentText(()), SentimentText((), 6)], SPECIALS)


def test_tokens_move_with_what_they_know() -> None:
    moved = felt_tokens([SentimentText((SentimentWord((7,), 1, POSITIVE),), 0)], SPECIALS).to(torch.device("meta"))
    assert moved.token_labels is not None and {mark.device.type for mark in moved.token_labels.values()} == {"meta"}
