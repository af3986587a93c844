"""A packed file is what its bytes say, whatever it is called."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest

from mm_kptm.errors import UserError
from mm_kptm.io.records import read_lines
from mm_kptm.io.text_lines import content_suffix, numbered_lines, open_bytes, read_text

TEXT = b'{"a": 1}\n{"a": 2}\n'
PACKINGS = {"plain": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.bz2", "a.JSONL.GZ", "a"])
@pytest.mark.parametrize("packing", PACKINGS)
def test_content_says_how_a_file_is_packed(packing: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(PACKINGS[packing](TEXT))
    with open_bytes(tmp_path / name) as file:
        assert file.read() == TEXT
    assert read_text(tmp_path / name, "text") == TEXT.decode()
    assert [record.get("a", int) for record in read_lines(tmp_path / name)] == [1, 2]


def archives() -> dict[str, bytes]:
    tar, zipped = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("train.txt"), io.BytesIO())
    with zipfile.ZipFile(zipped, "w") as archive_:
        archive_.writestr("train.txt", "x")
    several = "is an archive of several files"
    return {
        several + " (tar); unpack it and name one of them": tar.getvalue(),
        several + " (tar)": gzip.compress(tar.getvalue()),
        "is a zip archive, which is not unpacked here": zipped.getvalue(),
        "is packed by zstd, which is not unpacked here": b"\x28\xb5\x2f\xfd\x00",
        "is a pointer of Git LFS and not the file itself": b"version https://git-lfs.github.com/spec/v1\noid\n",
    }


@pytest.mark.parametrize("said", archives())
def test_what_is_no_file_of_text_is_called_what_it_is(said: str, tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_bytes(archives()[said])
    for read in (lambda path: read_text(path, "text"), lambda path: list(numbered_lines(path))):
        with pytest.raises(UserError, match="train") as refused:
            read(tmp_path / "train.tsv")
        assert said in str(refused.value)


@pytest.mark.parametrize("packing", ["gzip", "bzip2", "xz"])
@pytest.mark.parametrize("harm", ["cut", "altered"])
def test_packed_bytes_that_break_off_are_said_to(packing: str, harm: str, tmp_path: Path) -> None:
    whole = PACKINGS[packing](b"".join(b"%d\n" % (n * n) for n in range(20000)))
    half = len(whole) // 2
    torn = whole[:half] if harm == "cut" else whole[:half] + bytes(64) + whole[half + 64 :]
    (tmp_path / "cut").write_bytes(torn)
    with pytest.raises(UserError, match=r"cut breaks off; fetch it again$"):
        read_text(tmp_path / "cut", "numbers")
    with pytest.raises(UserError, match=r"cut breaks off after line \d+; fetch it again$"):
        list(numbered_lines(tmp_path / "cut"))


@pytest.mark.parametrize("lines", ["one\n", "one\ntwo\n"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_another_encoding_is_one_sentence_with_file_and_line(encoding: str, lines: str, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes((lines + "café\n").encode(encoding))
    number = 1 if encoding.startswith("utf") else 1 + lines.count("\n")
    for read in (lambda path: read_text(path, "text"), lambda path: list(numbered_lines(path))):
        with pytest.raises(UserError, match=rf"words.txt, line {number} is not UTF-8; save the file in that encoding"):
            read(path)


def test_a_mark_and_carriage_returns_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "marked.txt"
    path.write_bytes(gzip.compress("\ufeffone\r\ntwo\r\n".encode()))
    assert read_text(path, "words") == "one\ntwo\n"
    assert list(numbered_lines(path)) == [(1, "one"), (2, "two")]


def test_endings() -> None:
    assert [content_suffix(Path(name)) for name in ("d/a.TSV", "a.nt.XZ", "a")] == [".tsv", ".nt", ""]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere was to be read, but there is no such file"):
        list(numbered_lines(tmp_path / "nowhere"))
