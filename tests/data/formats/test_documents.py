"""Documents become sentences in pieces, and sentences become segments."""

from pathlib import Path

import pytest

from mm_kptm.data.formats.documents import (
    LabelledPair,
    read_documents,
    read_labelled_pairs,
    read_sentences,
    written,
)
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.errors import UserError
from tests.arrow_folders import save

TOKENIZER = WordPiece([*BERT_SPECIALS, "new", "york", "is", "big", "##ger", "使", "用", "词", ","], lowercase=True)


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


def test_a_folder_of_datasets_has_a_document_a_row(tmp_path: Path) -> None:
    save(tmp_path / "wiki", {"text": ["One.\nTwo.", "", "Three.\n\n"]}, files=2)
    assert list(read_sentences(tmp_path / "wiki")) == [(0, "One."), (0, "Two."), (1, "Three.")]
    assert read_documents(tmp_path / "wiki") == (("One.", "Two."), ("Three.",))


def test_folders_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "numbers", {"text": [1, 2]})
    with pytest.raises(UserError, match=r"data-0.arrow has no column 'text' of texts; it has text$"):
        list(read_sentences(tmp_path / "numbers"))
    save(tmp_path / "all" / "train", {"text": ["One."]})
    with pytest.raises(UserError, match=r"all is no folder that `datasets` saved: it has no state.json; name one of"):
        list(read_sentences(tmp_path / "all"))
    file = save(tmp_path / "torn", {"text": ["One."] * 1000}) / "data-0.arrow"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match=r"data-0.arrow is no whole Arrow file \(.*\); save it again$"):
        list(read_sentences(tmp_path / "torn"))


def test_labelled_pairs_are_read(tmp_path: Path) -> None:
    assert read_labelled_pairs(write(tmp_path, "one\ttwo\tbut\n")) == (LabelledPair("one", "two", "but"),)
    with pytest.raises(UserError, match=r"line 2 should be two texts and a label, set apart by tabs; it is 'one two'$"):
        read_labelled_pairs(write(tmp_path, "one\ttwo\tbut\none\ttwo\n"))
