"""A text file is read, or named in one sentence with what is wrong with it."""

from __future__ import annotations

import gzip

import pytest

from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import each_line, numbered_lines, read_text


def test_a_file_that_is_not_there_empty_or_no_text_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.json was to be read, but there is no such file"):
        read_text(tmp_path / "nowhere.json", "a JSON file")
    (tmp_path / "bytes.json").write_bytes(b"{\xff\xfe\x80")
    with pytest.raises(UserError, match=r"bytes.json, line 1 is not UTF-8; save the file in that encoding"):
        read_text(tmp_path / "bytes.json", "a JSON file")
    (tmp_path / "blank.json").write_text("\n \n")
    with pytest.raises(UserError, match=r"blank.json is empty; a JSON file was expected"):
        read_text(tmp_path / "blank.json", "a JSON file")
    assert read_text(tmp_path / "blank.json", "a JSON file", allow_empty=True) == "\n \n"


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "marked.txt").write_bytes("\ufeffone\r\ntwo".encode())
    assert read_text(tmp_path / "marked.txt", "words").splitlines() == ["one", "two"]
    assert list(numbered_lines(tmp_path / "marked.txt")) == [(1, "one"), (2, "two")]


def test_a_broken_line_or_archive_is_named(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\n caf\xe9\n")
    with pytest.raises(UserError, match=r"latin.txt, line 2 is not UTF-8"):
        list(numbered_lines(tmp_path / "latin.txt"))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"one\ntwo\n" * 1000)[:-12])
    with pytest.raises(UserError, match=r"cut.gz breaks off after line \d+; fetch it again"):
        list(numbered_lines(tmp_path / "cut.gz"))


def test_a_lone_carriage_return_ends_a_line_for_every_reader(tmp_path):
    file = tmp_path / "mac.txt"
    file.write_bytes(b"one\rtwo\r\n\rfour\nfive\r")
    assert list(numbered_lines(file)) == [(1, "one"), (2, "two"), (3, ""), (4, "four"), (5, "five")]
    assert [*each_line(file, "text")] == [line for _, line in numbered_lines(file)]
    assert read_text(file, "text").splitlines() == [line for _, line in numbered_lines(file)]


def test_a_zero_byte_is_told_from_another_encoding(tmp_path):
    file = tmp_path / "bytes.txt"
    for read in (lambda: [*numbered_lines(file)], lambda: [*each_line(file, "text")], lambda: read_text(file, "text")):
        file.write_bytes(b"one\ntwo \0 of them\n")
        with pytest.raises(UserError, match=r"bytes.txt, line 2 holds a NUL byte, which no text has; remove it"):
            read()
        file.write_bytes("one\ntwo\n".encode("utf-16-le"))
        with pytest.raises(UserError, match=r"bytes.txt, line 1 is not UTF-8"):
            read()
