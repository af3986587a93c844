"""Tables of similar words are read, and what is wrong with one is named."""

from pathlib import Path

import pytest

from mm_kptm.data.formats.similar_words import read_similar_words
from mm_kptm.errors import UserError


def write(path: Path, text: str) -> Path:
    (path / "similar.tsv").write_text(text, encoding="utf-8")
    return path / "similar.tsv"


def test_every_line_is_a_word_and_others(tmp_path: Path) -> None:
    table = read_similar_words(write(tmp_path, "使用\t利用\t采用\n\nnew york\tlos angeles\n"))
    assert table == {"使用": ("利用", "采用"), "new york": ("los angeles",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("big\tlarge\nsmall\n", r"similar.tsv, line 2 should be a word and words similar to it, .* it is 'small'$"),
        ("big\tlarge\t\n", r"similar.tsv, line 1 should be a word and words similar to it"),
        ("\tlarge\n", r"similar.tsv, line 1 should be a word and words similar to it"),
        (
            "big\tlarge\nbig\thuge\n",
            r"similar.tsv, line 2: the word big is there twice, first at .*, line 1$",
        ),
        ("\n", r"similar.tsv is empty; a table of cells between tabs was expected$"),
    ],
)
def test_a_line_of_another_form_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_similar_words(write(tmp_path, text))
