"""Files whose lines are translations of each other."""

from pathlib import Path

import pytest

from mm_kptm.crosslingual.corpora.moses import aligned_lines, moses_files, read_aligned
from mm_kptm.errors import UserError
from tests.arrow_folders import save


def write(folder: Path, **texts: str) -> Path:
    for language, text in texts.items():
        (folder / f"ted.v1.{language}").write_text(text, encoding="utf-8")
    return folder / "ted.v1"


def test_lines_are_read_side_by_side_and_blank_ones_left_out(tmp_path: Path) -> None:
    prefix = write(tmp_path, de="eins\n\nzwei \ndrei", en="one\nlost\ntwo\n  \n", fr="un\nperdu\ndeux\ntrois\n")
    assert read_aligned(prefix, ("fr", "de")) == [("un", "eins"), ("deux", "zwei"), ("trois", "drei")]
    assert read_aligned(prefix, ("de", "en", "fr")) == [("eins", "one", "un"), ("zwei", "two", "deux")]


def test_files_of_other_lengths_are_no_translations(tmp_path: Path) -> None:
    prefix = write(tmp_path, de="eins\nzwei\n", en="one\n")
    with pytest.raises(
        UserError,
        match=r"^translations stand in the same line of every file, but ted.v1.de has 2, ted.v1.en has 1 lines; align ",
    ):
        read_aligned(prefix, ("de", "en"))


def test_files_without_a_shared_line_hold_no_translation(tmp_path: Path) -> None:
    prefix = write(tmp_path, de="eins\n \nx", en=" \ntwo\n ")
    with pytest.raises(UserError, match=r"^ted.v1.de, ted.v1.en have no line that holds a sentence in each of them$"):
        read_aligned(prefix, ("de", "en"))
    with pytest.raises(UserError, match=r"ted.v1.fr was to be read, but there is no such file$"):
        read_aligned(prefix, ("fr",))


@pytest.mark.parametrize("fields", [True, False])
def test_a_folder_of_datasets_has_a_line_a_row(fields: bool, tmp_path: Path) -> None:
    said = {"de": ["eins", "", "drei "], "en": ["one", "two", "three\nand"]}
    rows = [dict(zip(said, texts, strict=True)) for texts in zip(*said.values(), strict=True)]
    folder = save(tmp_path / "ted", {"translation": rows} if fields else said)
    assert read_aligned(folder, ("en", "de")) == [("one", "eins"), ("three and", "drei")]
    assert list(aligned_lines(folder, ("de",))) == [("eins",), ("",), ("drei",)]
    assert moses_files(folder, ("de", "en")) == {"de": folder, "en": folder}
    with pytest.raises(UserError, match=r"data-0.arrow has no column 'fr' of texts; it has de, en$"):
        list(aligned_lines(folder, ("de", "fr")))
    assert list(aligned_lines(save(tmp_path / "news", {"text": ["one"]}), ("en",))) == [("one",)]
    with pytest.raises(UserError, match=r"ted-1 has no row that holds a sentence in each of de, en$"):
        list(aligned_lines(save(tmp_path / "ted-1", {"de": ["eins", None], "en": ["", "two"]}), ("de", "en")))
