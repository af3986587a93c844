"""Dependency trees are read from CoNLL-U."""

from pathlib import Path

import pytest

from mm_kptm.data.formats.conllu import ParsedSentence, read_conllu
from mm_kptm.errors import UserError


def line(number: str, word: str, head: str) -> str:
    return "\t".join([number, word, "_", "_", "_", "_", head, "_", "_", "_"])


def read(folder: Path, *lines: str) -> tuple[ParsedSentence, ...]:
    (folder / "trees.conllu").write_text("\n".join(lines))
    return read_conllu(folder / "trees.conllu")


def test_words_and_their_heads_are_read(tmp_path: Path) -> None:
    words = [line("1-2", "im", "_"), line("1", "in", "3"), line("2", "dem", "3"), line("3", "Haus", "0")]
    found = read(tmp_path, "# text = im Haus", *words, line("3.1", "empty", "_"), "", line("1", "ja", "0"))
    assert found == (ParsedSentence(("in", "dem", "Haus"), (3, 3, 0)), ParsedSentence(("ja",), (0,)))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("1\tin", r"trees.conllu, line 1 has 2 fields; a word of CoNLL-U has ten, set apart by tabs$"),
        (line("2", "in", "0"), r"line 1 is word 2 with the head '0'; words count from 1, and a head is the number of"),
        (line("1", "in", "x"), r"line 1 is word 1 with the head 'x'; words count from 1"),
        (line("1", "in", "4"), r"line 1 has the head 4, but its sentence has 1 words$"),
    ],
)
def test_a_line_that_is_no_word_is_named(bad: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, bad)
