"""Documents become sentences in pieces, and sentences become segments."""

from pathlib import Path

import pytest

from mm_kptm.data.formats.documents import (
    DocumentSentence,
    LabelledPair,
    chunks,
    halves,
    read_documents,
    read_labelled_pairs,
    written,
)
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.errors import UserError

TOKENIZER = WordPiece([*BERT_SPECIALS, "new", "york", "is", "big", "##ger", "使", "用", "词", ","], lowercase=True)


def sentence(length: int) -> DocumentSentence:
    return DocumentSentence(tuple(range(length)), tuple(range(length)), (False,) * length)


def write(path: Path, text: str) -> Path:
    (path / "file.txt").write_text(text, encoding="utf-8")
    return path / "file.txt"


def test_blank_lines_part_documents(tmp_path: Path) -> None:
    text = "\nOne.\nTwo.\n\n \nThree.\n"
    assert read_documents(write(tmp_path, text)) == (("One.", "Two."), ("Three.",))
    with pytest.raises(UserError, match=r"is empty; a sentence a line, a blank line between documents, was expected$"):
        read_documents(write(tmp_path, "\n\n"))


def test_words_are_units_and_know_their_capital() -> None:
    found = written("New York, is bigger", TOKENIZER)
    assert TOKENIZER.encode("New York, is bigger").texts == ("new", "york", ",", "is", "big", "##ger")
    assert found.units == (0, 1, 2, 3, 4, 4)
    assert found.capitals == (True, True, False, False, False, False)
    assert written("bigGer", TOKENIZER).capitals == (True, True)


def test_a_phrase_is_one_unit() -> None:
    assert written("in New York is", TOKENIZER, [(3, 11)]).units == (0, 1, 1, 2)


def test_blanks_may_say_what_is_a_word() -> None:
    assert written("使用 词", TOKENIZER, blanks=True).units == (0, 0, 1)
    assert written("使用 词", TOKENIZER).units == (0, 1, 2)


def test_neighbouring_sentences_are_joined_while_they_fit() -> None:
    found = list(chunks([sentence(n) for n in (3, 4, 2, 20, 1)], 9))
    assert [[len(one.ids) for one in chunk] for chunk in found] == [[3, 4, 2], [9], [1]]


def test_a_chunk_is_cut_near_its_middle() -> None:
    first, second = halves([sentence(n) for n in (2, 3, 9)])
    assert [len(one.ids) for one in first] == [2, 3] and [len(one.ids) for one in second] == [9]
    assert halves([sentence(5)]) is None


def test_labelled_pairs_are_read(tmp_path: Path) -> None:
    assert read_labelled_pairs(write(tmp_path, "one\ttwo\tbut\n")) == (LabelledPair("one", "two", "but"),)
    with pytest.raises(UserError, match=r"line 2 should be two texts and a label, set apart by tabs; it is 'one two'$"):
        read_labelled_pairs(write(tmp_path, "one\ttwo\tbut\none\ttwo\n"))
