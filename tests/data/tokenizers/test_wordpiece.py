"""Pieces know the characters they stand for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS, Specials, framed
from mm_kptm.data.tokenizers.word_level import WordLevel
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.errors import UserError

PIECES = (*BERT_SPECIALS, "un", "##aff", "##able", "cafe", "café", "Haus", "haus", "狗", "!", *"abcdefgh", "##a", "##b")


def test_longest_pieces_are_taken_first():
    pieces = WordPiece(PIECES, lowercase=False).encode("unaffable zab")
    assert pieces.texts == ("un", "##aff", "##able", "[UNK]")
    assert pieces.spans == ((0, 2), (2, 5), (5, 9), (10, 13))
    assert pieces.ids[:3] == (5, 6, 7)


def test_case_and_accents_are_the_uncased_models_business():
    cased, uncased = WordPiece(PIECES, lowercase=False), WordPiece(PIECES, lowercase=True)
    assert cased.encode("Haus café").texts == ("Haus", "café")
    assert uncased.encode("Haus café").texts == ("haus", "cafe")


def test_ideographs_stand_alone_and_keep_their_characters():
    assert WordPiece(PIECES, lowercase=False).encode("a狗狗!").spans == ((0, 1), (1, 2), (2, 3), (3, 4))


def test_a_marker_inside_a_text_is_text():
    assert "[MASK]" not in WordPiece(PIECES, lowercase=False).encode("[MASK]").texts


def test_a_word_beyond_the_limit_is_unknown_as_a_whole():
    tokenizer = WordPiece((*PIECES, "aaaa"), lowercase=False, longest_word=3)
    assert tokenizer.encode("aaaa").texts == ("[UNK]",)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="abunafle Haus狗!é\t\x00", max_size=40))
def test_every_span_covers_characters_in_order(text):
    pieces = WordPiece(PIECES, lowercase=False).encode(text)
    assert all(0 <= first < last <= len(text) for first, last in pieces.spans)
    assert all(before[1] <= after[0] for before, after in zip(pieces.spans, pieces.spans[1:], strict=False))
    for piece, (first, last) in zip(pieces.texts, pieces.spans, strict=True):
        assert piece == "[UNK]" or piece.removeprefix("##") == text[first:last].replace("\x00", "")


def test_vocabulary_is_read_from_file_or_folder(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    for path in (file, tmp_path):
        tokenizer = WordPiece.open(path, lowercase=False)
        assert (len(tokenizer), tokenizer.specials) == (len(PIECES), Specials(0, 1, 2, 3, 4))


def test_what_is_no_vocabulary_is_refused(tmp_path):
    file = tmp_path / "vocab.txt"
    with pytest.raises(UserError, match=r"a vocabulary was looked for in .*vocab.txt, but there is no such file"):
        WordPiece.open(tmp_path, lowercase=False)
    file.write_bytes(b"")
    with pytest.raises(UserError, match=r"vocab.txt is empty; a vocabulary has one piece a line"):
        WordPiece.open(file, lowercase=False)
    file.write_bytes(b"a\n\xff\n")
    with pytest.raises(UserError, match=r"vocab.txt, line 2 is not UTF-8; save the file in that encoding"):
        WordPiece.open(file, lowercase=False)
    file.write_text("[PAD]\n[UNK]\na\n")
    with pytest.raises(UserError, match=r"vocab.txt has no \[CLS\], \[SEP\], \[MASK\]; a vocabulary holds"):
        WordPiece.open(file, lowercase=False)


def test_whole_words_keep_their_characters():
    tokenizer = WordLevel((*BERT_SPECIALS, "el", "uno"), lambda text, language: text.split())
    pieces = tokenizer.encode("El  UNO otro", "es")
    assert (pieces.ids, pieces.spans) == ((5, 6, 1), ((0, 2), (4, 7), (8, 12)))
    assert len(tokenizer) == 7


def test_a_letter_that_grows_when_small_shifts_nothing():
    tokenizer = WordLevel((*BERT_SPECIALS, "uno"), lambda text, language: text.split())
    assert tokenizer.encode("İİ UNO").spans == ((0, 2), (3, 6))


def test_a_frame_numbers_its_parts():
    ids, segments = framed(Specials(0, 1, 2, 3, 4), (), (9,))
    assert (ids, segments) == ([2, 3, 9, 3], [0, 0, 1, 1])


def test_markers_are_never_hidden_but_unknown_words_are():
    assert Specials(0, 1, 2, 3, 4).never_masked == {0, 2, 3}
