"""WordPiece is the released FullTokenizer: held against a reference of its rules over every code point."""

from __future__ import annotations

import re
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_kptm.data.tokenizers.basic import BasicTokenizer
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import PLAIN, WordPiece

IDEOGRAPHS = [
    range(0x4E00, 0x9FFF + 1),
    range(0x3400, 0x4DBF + 1),
    range(0x20000, 0x2A6DF + 1),
    range(0x2A700, 0x2B73F + 1),
    range(0x2B740, 0x2B81F + 1),
    range(0x2B820, 0x2CEAF + 1),
    range(0xF900, 0xFAFF + 1),
    range(0x2F800, 0x2FA1F + 1),
]


def released_words(text: str, lowercase: bool, ideographs: bool = True) -> list[str]:
    """Clean, part ideographs, split at blanks; lower and strip accents of each; split at punctuation; split again."""
    clean = []
    for char in text:
        if ord(char) in (0, 0xFFFD):
            continue
        category = unicodedata.category(char)
        if char not in "\t\n\r" and category in ("Cc", "Cf"):
            continue
        blank = char in " \t\n\r" or category == "Zs"
        alone = ideographs and ord(char) >= 0x3400 and any(ord(char) in block for block in IDEOGRAPHS)
        clean.append(" " if blank else f" {char} " if alone else char)
    words = []
    for token in "".join(clean).split():
        if lowercase:
            decomposed = unicodedata.normalize("NFD", token.lower())
            token = "".join(char for char in decomposed if unicodedata.category(char) != "Mn")
        parts: list[list[str]] = []
        start_new_word = True
        for char in token:
            code = ord(char)
            ascii_mark = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
            if ascii_mark or unicodedata.category(char).startswith("P"):
                parts.append([char])
                start_new_word = True
            else:
                if start_new_word:
                    parts.append([])
                start_new_word = False
                parts[-1].append(char)
        words += ["".join(part) for part in parts]
    return " ".join(words).split()


def released_pieces(text: str, vocabulary: frozenset[str], lowercase: bool) -> list[str]:
    """Longest match first, the whole word unknown where there is none."""
    found = []
    for word in released_words(text, lowercase):
        pieces: list[str] = []
        start = 0
        while start < len(word):
            ends = (end for end in range(len(word), start, -1) if ("##" * (start > 0) + word[start:end]) in vocabulary)
            end = next(ends, None)
            if end is None:
                break
            pieces.append("##" * (start > 0) + word[start:end])
            start = end
        found += pieces if start == len(word) and len(word) <= 200 else ["[UNK]"]
    return found


LETTER_LIKE = ("Lo", "Cn", "Co")  #: categories of a million code points, tried as long words; others between letters


@pytest.mark.parametrize("lowercase", [True, False])
def test_every_code_point_becomes_the_words_of_the_released_rules(lowercase: bool) -> None:
    basic = BasicTokenizer(lowercase=lowercase)
    for first in range(0, sys.maxunicode + 1, 256):
        letters = [chr(code) for code in range(first, first + 256)]
        if not lowercase and all(unicodedata.category(char) in ("Cn", "Co") for char in letters):
            continue  # no letter among them has a case
        texts = [char if unicodedata.category(char) in LETTER_LIKE else f" x{char}y Ω{char} " for char in letters]
        if basic("".join(texts))[0] != _joined(released_words("".join(texts), lowercase)):
            for char, text in zip(letters, texts, strict=True):  # name the one
                assert basic(text)[0] == _joined(released_words(text, lowercase)), f"U+{ord(char):04X}"
            raise AssertionError(f"U+{first:04X} and its neighbours change each other")


def _joined(words: list[str]) -> str:
    """As they are given to the engine: half a character is no text, and stands for one that no vocabulary has."""
    return re.sub("[\ud800-\udfff]", "\uffff", " ".join(words))


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("ideographs", [True, False])
def test_plain_text_is_cut_by_the_engine_into_the_same_words(lowercase: bool, ideographs: bool) -> None:
    plain = [chr(code) for code in range(0x10000) if PLAIN.fullmatch(chr(code))]
    assert len(plain) > 30000
    text = " ".join(f"x{char}y {char}" for char in plain)
    words = released_words(text, lowercase, ideographs)
    tokenizer = WordPiece([*BERT_SPECIALS, *dict.fromkeys(words)], lowercase=lowercase, ideographs=ideographs)
    assert list(tokenizer.encode(text).texts) == words
    run = "".join(plain)  # neighbours change nothing
    words = released_words(run, lowercase, ideographs)
    tokenizer = WordPiece(
        [*BERT_SPECIALS, *dict.fromkeys(words)], lowercase=lowercase, ideographs=ideographs, longest_word=10**6
    )
    assert list(tokenizer.encode(run).texts) == words


ODD = "ΟΔΟΣσςΣ.İıßﬁé̀\u0345ᾳ\u302e\u0323\U0002b820\U0002b91f\U0002cea1\ue000\U000f0000\x00\x7f\x85\u2028\u2029\u200d"
ODD += "\ufeff\u200b\u3000\xa0\u180e狗々ー가각\uff0c。¿$+`~^\ud800\U000e0100\u0378\u16ff0\U0001d165"


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.one_of(st.sampled_from(ODD), st.characters(codec=None)), max_size=30), st.booleans())
def test_drawn_texts_become_the_pieces_of_the_released_rules(text: str, lowercase: bool) -> None:
    words = [
        word for word in released_words(text, lowercase) if not any(0xD800 <= ord(char) <= 0xDFFF for char in word)
    ]
    vocabulary = list(
        dict.fromkeys([*BERT_SPECIALS, *(word[:2] for word in words), *(f"##{w[2:]}" for w in words[::2])])
    )
    pieces = WordPiece(vocabulary, lowercase=lowercase).encode(text)
    assert list(pieces.texts) == released_pieces(text, frozenset(vocabulary), lowercase)
    assert all(0 <= first < end <= len(text) for first, end in pieces.spans)
    assert all(a[0] <= b[0] for a, b in zip(pieces.spans, pieces.spans[1:], strict=False))


def test_a_sigma_at_the_end_of_a_word_is_final() -> None:
    vocabulary = [*BERT_SPECIALS, "οδος", "ο", "##δ", "##ο", "##σ"]
    pieces = WordPiece(vocabulary, lowercase=True).encode("η ΟΔΟΣ")
    assert pieces.texts == ("[UNK]", "οδος") and pieces.spans == ((0, 1), (2, 6))


def test_private_use_and_the_gap_among_ideographs() -> None:
    gap, private = "\U0002b91f", "\ue000"
    tokenizer = WordPiece([*BERT_SPECIALS, gap, private, "a"], lowercase=False)
    assert tokenizer.encode(f"{gap}{gap}").texts == (gap, gap)
    assert tokenizer.encode(private).texts == (private,)


def test_a_byte_order_mark_before_a_vocabulary_is_no_piece(tmp_path) -> None:
    for first, rest in (("[PAD]", ["[UNK]", "[CLS]", "[SEP]", "[MASK]", "the"]), ("the", list(BERT_SPECIALS))):
        for end in ("\n", "\r\n"):
            (tmp_path / "vocab.txt").write_bytes(end.join(["\ufeff" + first, *rest, ""]).encode())
            assert WordPiece.open(tmp_path, lowercase=True).encode("the").texts == ("the",)
