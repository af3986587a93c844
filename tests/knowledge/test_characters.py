from pathlib import Path

import pytest

from mm_kptm.data.tokenizer import BERT_SPECIALS
from mm_kptm.errors import UserError
from mm_kptm.knowledge.characters import Characters


def test_words_fall_into_characters_and_tags_do_not() -> None:
    pieces = Characters([*BERT_SPECIALS, "c", "a", "t", "小", "[ENT]"]).encode("[CLS] cat小C[ENT][SUB]")
    assert pieces.texts == ("[CLS]", "c", "a", "t", "小", "C", "[ENT]", "[SUB]")
    assert pieces.ids == (2, 5, 6, 7, 8, 1, 9, 1)
    assert pieces.spans[:3] == ((0, 5), (6, 7), (7, 8))


def test_a_vocabulary_file_numbers_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "vocab.txt"
    file.write_bytes("\r\n".join([*BERT_SPECIALS, "", "a 17", "b", "a", ""]).encode())
    characters = Characters.open(file)
    assert len(characters) == 9
    assert characters.encode("ab").ids == (8, 7)  # the last place of a token that is there twice


def test_a_vocabulary_without_special_tokens_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\na\n")
    with pytest.raises(UserError, match=r"vocab\.txt has no \[CLS\], \[SEP\], \[MASK\]; K-BERT's vocabulary holds"):
        Characters.open(tmp_path / "vocab.txt")
    with pytest.raises(UserError, match=r"looked for in .*none\.txt, but there is no such file"):
        Characters.open(tmp_path / "none.txt")
