"""Byte-pair encoding cuts as its merges say, and its pieces know their characters."""

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.xlm.tokenization_xlm import XLMTokenizer

from mm_kptm.data.tokenizers.fastbpe import SPECIAL_TOKENS, FastBpe
from mm_kptm.data.tokenizers.opening import open_tokenizer
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError

MERGES = [("l", "o"), ("lo", "w</w>"), ("e", "r</w>"), ("lo", "w"), ("c", "a"), ("ca", "f")]
WORDS = ["low", "er", "low@@", "ca@@", "σ@@", "ς"]


def tokenizer(*, lowercase: bool = False) -> FastBpe:
    return FastBpe(WORDS, MERGES, lowercase=lowercase)


def plainly(word: str, merges: list[tuple[str, str]]) -> list[str]:
    """The best merge everywhere in a word, over and over (Sennrich et al. 2016, algorithm 1)."""
    symbols = [*word[:-1], word[-1] + "</w>"]
    while found := [pair for pair in merges if pair in set(pairwise(symbols))]:
        left, right = found[0]
        merged: list[str] = []
        while symbols:
            if symbols[:2] == [left, right]:
                merged.append(left + right)
                symbols = symbols[2:]
            else:
                merged.append(symbols.pop(0))
        symbols = merged
    return [*(f"{symbol}@@" for symbol in symbols[:-1]), symbols[-1].removesuffix("</w>")]


def test_the_best_merges_come_first() -> None:
    pieces = tokenizer().encode("lower low")
    assert pieces.texts == ("low@@", "er", "low")
    assert pieces.ids == (16, 15, 14)
    assert pieces.spans == ((0, 3), (3, 5), (6, 9))


def test_a_piece_beyond_the_vocabulary_is_unknown_and_cut_no_further() -> None:
    pieces = tokenizer().encode("cafe xo")
    assert pieces.texts == ("caf@@", "e", "x@@", "o")
    assert set(pieces.ids) == {3}


def test_special_tokens_stand_before_all_words() -> None:
    assert SPECIAL_TOKENS[:6] == ("<s>", "</s>", "<pad>", "<unk>", "<special0>", "<special1>")
    assert tokenizer().specials == Specials(pad=2, unknown=3, start=1, stop=1, mask=5)
    assert len(tokenizer()) == 14 + len(WORDS)


def test_case_and_accents_go_and_pieces_keep_the_characters_of_the_text() -> None:
    pieces = tokenizer(lowercase=True).encode("CAFÉ Σς")
    assert pieces.texts == ("caf@@", "e", "σ@@", "ς")
    assert pieces.spans == ((0, 3), (3, 4), (5, 6), (6, 7))
    assert tokenizer().encode("LOW").texts == ("L@@", "O@@", "W")


def test_the_small_sigma_at_the_end_of_a_word_is_its_own() -> None:
    assert tokenizer(lowercase=True).normalized("ΟΔΟΣ ΣΑΣ") == "οδος σας"


def test_only_marks_without_width_are_stripped() -> None:
    """Vowel signs of Hindi stand beside their letter, the dot below it is an accent."""
    assert tokenizer(lowercase=True).normalized("का क़") == "का क"


def test_one_letter_may_become_several() -> None:
    pieces = tokenizer(lowercase=True).encode("İlow")
    assert tokenizer(lowercase=True).normalized("İlow") == "ilow"
    assert pieces.spans == ((0, 1), (1, 4))


def test_running_text_is_segmented_before_its_pieces() -> None:
    """The pieces of a text are those of its words, and know their characters in it."""
    running = FastBpe(WORDS, MERGES, lowercase=True, segment_words=True)
    pieces = running.encode("“LOW，lower…”", "en")
    assert running.normalized("“LOW，lower…”") == '" low , lower ... "'
    assert pieces.ids == tokenizer(lowercase=True).encode('" low , lower ... "').ids
    assert [text for text in pieces.texts if text in WORDS] == ["low", "low@@", "er"]
    assert [span for span, text in zip(pieces.spans, pieces.texts, strict=True) if text in WORDS] == [
        (1, 4),
        (5, 8),
        (8, 10),
    ]
    assert running.encode(" \u200b ").ids == ()


def test_files_of_transformers_give_its_ids(tmp_path: Path) -> None:
    """Random sentences against the slow tokenizer of transformers, which segments running text itself."""
    pieces = [
        *SPECIAL_TOKENS,
        "low</w>",
        "er</w>",
        "low",
        "ca",
        ",</w>",
        ".</w>",
        "'s</w>",
        "a</w>",
        "f",
        "e</w>",
        "s</w>",
    ]
    (tmp_path / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    merges = "".join(f"{left} {right} 9\n" for left, right in [*MERGES, ("'", "s</w>")])
    (tmp_path / "merges.txt").write_text(merges)
    reference = XLMTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    ours = open_tokenizer(tmp_path)
    assert isinstance(ours, FastBpe) and ours.segment_words and ours.lowercase
    draw = random.Random(0)
    parts = [
        "low",
        "lower",
        "Café",
        "CAFE",
        "a",
        ",",
        ". ",
        "’s",
        " ",
        "…",
        "(",
        "“",
        "xyz",
        "low-er",
        "3.5",
        "U.S.",
        "%",
    ]
    for _ in range(60):
        text = "".join(draw.choice(parts) + draw.choice([" ", " ", ""]) for _ in range(draw.randint(0, 9)))
        for language in ("en", "de", "fr"):
            theirs = reference.convert_tokens_to_ids(reference._tokenize(text, lang=language))
            assert list(ours.encode(text, language).ids) == theirs, (text, language)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lowercase_and_remove_accent": false}')
    assert open_tokenizer(tmp_path).encode("LOW").texts == ("L@@", "O@@", "W")
    assert open_tokenizer(tmp_path, segment_words=False).encode("a,").texts == ("a@@", ",")


def test_other_files_than_xlms_are_named(tmp_path: Path) -> None:
    vocabulary = {piece: number for number, piece in enumerate((*SPECIAL_TOKENS, "a</w>"))}
    (tmp_path / "merges.txt").write_text("l o 9\n")
    (tmp_path / "vocab.json").write_text(json.dumps({**vocabulary, "a</w>": 20}))
    with pytest.raises(UserError, match=r"vocab.json is no vocabulary of XLM: ids 0 to 13 must be those of <s>, </s>"):
        open_tokenizer(tmp_path)
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    with pytest.raises(UserError, match=r"vocab.txt, but it reads running text by itself; segment_words is for XLM's"):
        open_tokenizer(tmp_path / "words", segment_words=True)


@settings(max_examples=80, deadline=None)
@given(
    st.text(alphabet="abcde ", max_size=24),
    st.lists(st.tuples(*[st.sampled_from(["a", "b", "c", "ab", "bc", "c</w>", "a</w>"])] * 2), max_size=8, unique=True),
)
def test_words_are_cut_as_by_the_plain_rule(text: str, merges: list[tuple[str, str]]) -> None:
    merges = [(left, right) for left, right in merges if not left.endswith("</w>")]
    pieces = FastBpe([], merges, lowercase=False).encode(text)
    assert list(pieces.texts) == [piece for word in text.split() for piece in plainly(word, merges)]
    assert [text[first:last] for first, last in pieces.spans] == [piece.removesuffix("@@") for piece in pieces.texts]


def written(folder: Path, codes: str, vocab: str) -> tuple[Path, Path]:
    (folder / "codes").write_text(codes, encoding="utf-8")
    (folder / "vocab").write_text(vocab, encoding="utf-8")
    return folder / "codes", folder / "vocab"


def test_lines_that_are_no_piece_take_no_id(tmp_path: Path) -> None:
    files = written(tmp_path, "l o 9\nlo w</w> 8\n", "low 9\n\nno count\nlow 3\n</s> 4\nl@@ 2\n")
    assert FastBpe.open(*files, lowercase=False).vocabulary[14:] == ("low", "l@@")


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ("l o 9\nlow\n", r"codes, line 2: a merge is 'left right count', not 'low'$"),
        ("l  9\n", r"codes, line 1: a merge is 'left right count', not 'l  9'$"),
        ("l o 9\na b 5\nl o 2\n", r"codes, line 3: the merge 'l o 2' is already on line 1$"),
        ("\n", r"codes is empty; byte-pair encoding needs one entry a line$"),
    ],
)
def test_codes_that_are_no_merges_are_refused(codes: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        FastBpe.open(*written(tmp_path, codes, "low 9\n"), lowercase=False)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    codes, vocab = written(tmp_path, "l o 9\n", "low 9\n")
    with pytest.raises(UserError, match=r"gone was to be read for byte-pair encoding, but there is no such file$"):
        FastBpe.open(codes, tmp_path / "gone", lowercase=False)
    vocab.write_bytes(b"low 9\n\xff\xfe")
    with pytest.raises(UserError, match=r"vocab, line \d is not UTF-8; save the file in that encoding"):
        FastBpe.open(codes, vocab, lowercase=False)
