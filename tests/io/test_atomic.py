"""A file appears whole under its name, or what was there before stays."""

from __future__ import annotations

import errno
import os
import stat
import threading

import pytest
import torch
from safetensors.torch import load_file

from mm_kptm.errors import UserError
from mm_kptm.io import atomic
from mm_kptm.io.atomic import atomic_file, atomic_folder, atomic_path, write_json, write_lines, write_text
from mm_kptm.io.tensors import write_tensors


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_text_json_lines_and_tensors_are_read_back(tmp_path):
    write_text(tmp_path / "new" / "deep" / "a.txt", "é\r\n")
    assert (tmp_path / "new" / "deep" / "a.txt").read_bytes() == "é\r\n".encode()
    write_json(tmp_path / "b.json", {"é": [1]})
    assert (tmp_path / "b.json").read_bytes() == '{"é": [1]}\n'.encode()
    write_lines(tmp_path / "c.txt", (str(number) for number in range(3)))
    assert (tmp_path / "c.txt").read_bytes() == b"0\n1\n2\n"
    write_tensors(tmp_path / "d.safetensors", {"x": torch.ones(2)}, {"format": "pt"})
    assert load_file(tmp_path / "d.safetensors")["x"].tolist() == [1, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.json", "c.txt", "d.safetensors", "new"]


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_file(target) as file:
        file.write("half")
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt):
        write_lines(target, (interrupt() for _ in range(2)))
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def interrupt() -> str:
    raise KeyboardInterrupt


def test_nothing_has_the_name_before_the_block_ends(tmp_path):
    with atomic_file(tmp_path / "a.txt") as file:
        file.write("whole")
        file.flush()
        (part,) = os.listdir(tmp_path)
        assert part.startswith(".a.txt.") and part.endswith(".part") and len(part) > 30
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_the_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    happened = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (happened.append("sync"), sync(descriptor))[1])
    monkeypatch.setattr(os, "replace", lambda *paths: (happened.append("rename"), replace(*paths))[1])
    write_text(tmp_path / "a.txt", "text")
    assert happened == ["sync", "rename", "sync"]


def test_a_link_planted_in_the_way_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda size: "guessed")
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".a.txt.guessed.part").symlink_to("victim")
    with pytest.raises(UserError, match=r"a\.txt cannot be written: File exists"):
        write_text(tmp_path / "a.txt", "text")
    assert (tmp_path / "victim").read_text() == "precious" and not (tmp_path / "a.txt").exists()


def test_files_have_the_mode_of_ordinary_files_and_keep_their_own(tmp_path, umask):
    write_text(tmp_path / "a.txt", "text")
    write_tensors(tmp_path / "b.safetensors", {"x": torch.ones(2)})
    assert mode(tmp_path / "a.txt") == mode(tmp_path / "b.safetensors") == 0o640
    (tmp_path / "a.txt").chmod(0o600)
    write_text(tmp_path / "a.txt", "more")
    assert mode(tmp_path / "a.txt") == 0o600
    with atomic_folder(tmp_path / "folder"):
        pass
    assert mode(tmp_path / "folder") == 0o750


def test_a_link_at_the_target_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "a.txt").symlink_to("real/b.txt")
    write_text(tmp_path / "a.txt", "first")
    write_text(tmp_path / "a.txt", "second")
    assert (tmp_path / "a.txt").is_symlink() and (tmp_path / "real" / "b.txt").read_text() == "second"


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_lines(tmp_path / "pipe", ["one", "two"])
    reader.join(60)
    assert read == ["one\ntwo\n"] and os.listdir(tmp_path) == ["pipe"]


def test_a_device_is_written_to_and_never_replaced(tmp_path):
    write_text("/dev/null", "text")
    with pytest.raises(UserError, match=r"/dev/full cannot be written: No space left on device; free some space"):
        write_text("/dev/full", "text")
    with pytest.raises(UserError, match=r"/dev/null is a device or a pipe and takes no such file; name a file"):
        write_tensors("/dev/null", {"x": torch.ones(2)})
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode) and stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_a_folder_or_what_lies_below_a_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"cannot be written: Is a directory; name another place"):
        write_text(tmp_path, "text")
    (tmp_path / "file").write_text("old")
    with pytest.raises(UserError, match=r"file/a\.txt cannot be written: Not a directory; name another place"):
        write_text(tmp_path / "file" / "a.txt", "text")
    with pytest.raises(UserError, match=r"cannot be written: File name too long"):
        write_text(tmp_path / ("x" * 300), "text")


@pytest.mark.parametrize(
    ("number", "word"), [(errno.ENOSPC, "No space left on device; free"), (errno.EROFS, "Read-only")]
)
def test_what_the_system_refuses_is_one_sentence(tmp_path, monkeypatch, number, word):
    def refuse(path):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic, "sync", refuse)
    with pytest.raises(UserError, match=rf"a\.txt cannot be written: {word}"):
        write_text(tmp_path / "a.txt", "text")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_under_a_library_is_one_sentence(tmp_path, monkeypatch):
    from safetensors import SafetensorError

    def full(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("mm_kptm.io.tensors.save_file", full)
    with pytest.raises(UserError, match=r"x\.safetensors cannot be written: No space left on device"):
        write_tensors(tmp_path / "x.safetensors", {"x": torch.ones(2)})
    assert os.listdir(tmp_path) == []


def test_what_goes_wrong_with_other_files_keeps_its_own_words(tmp_path):
    with pytest.raises(FileNotFoundError, match="other"), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "other").read_text()


def test_a_folder_appears_whole_and_replaces_nothing(tmp_path):
    with atomic_folder(tmp_path / "a") as folder:
        write_text(folder / "b.txt", "text")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a" / "b.txt").read_text() == "text"
    with (
        pytest.raises(UserError, match=r"a exists already; name a folder that does not"),
        atomic_folder(tmp_path / "a"),
    ):
        pass
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "c"):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["a"]
