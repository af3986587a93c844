"""An index is right after any change of its folder, reads only what changed, and one process at a time writes it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import numpy as np
import pytest

from mm_kptm.errors import UserError
from mm_kptm.suites.search import files
from mm_kptm.suites.search import index as indexing
from mm_kptm.suites.search.generation import Generation
from mm_kptm.suites.search.index import open_index, update_index
from mm_kptm.suites.search.query import Searcher
from tests.suites.search.towers import age, model, paint


@pytest.fixture
def reads(monkeypatch):
    """The files whose content is read, counted where it is read."""
    seen = []
    real = files.read_content

    def counted(path):
        seen.append(path.name)
        return real(path)

    monkeypatch.setattr(indexing, "read_content", counted)
    return seen


def names(index):
    generation = open_index(index)
    return [generation.name(row) for row in range(len(generation))]


def whole(index, pictures, other):
    """Whether an index holds the same as one that is made anew."""
    fresh = other.with_name("fresh-" + other.name)
    update_index(pictures, fresh, model())
    one, two = open_index(index), open_index(fresh)
    assert names(index) == names(fresh)
    np.testing.assert_array_equal(one.vectors, two.vectors)
    np.testing.assert_array_equal(one.digests, two.digests)
    assert [one.thumbnails[row] for row in range(len(one))] == [two.thumbnails[row] for row in range(len(two))]


def test_names_are_in_order_and_found(index):
    assert names(index) == ["blue.png", "dark/blue.jpg", "dark/red.png", "green.png", "grey.png", "red.png"]
    generation = open_index(index)
    assert [generation.row(name) for name in names(index)] == list(range(6))
    assert [generation.row(name) for name in ("", "a", "blue", "red.pnga", "zz", "../index/lock", "\ud800")] == [
        None
    ] * 7


def test_vectors_are_those_of_the_model(index, pictures):
    generation = open_index(index)
    np.testing.assert_allclose(np.linalg.norm(generation.vectors, axis=1), 1, atol=1e-6)
    (red,) = model().embed_pictures([np.full((4, 4, 3), (250, 0, 0), np.uint8)])
    np.testing.assert_allclose(generation.vectors[generation.row("red.png")], red, atol=1e-6)


def test_only_changed_files_are_read(index, pictures, reads, tmp_path):
    for number in range(200):
        paint(pictures / f"more/{number}.png", (number, 0, 255 - number))
    assert update_index(pictures, index, model()).read == 200
    reads.clear()
    assert update_index(pictures, index, model()).read == 0
    paint(pictures / "new.png", (1, 2, 3))
    paint(pictures / "more/7.png", (9, 9, 9))
    done = update_index(pictures, index, model())
    assert sorted(reads) == ["7.png", "new.png"]
    assert (done.pictures, done.read, done.embedded, done.removed) == (207, 2, 2, 0)
    whole(index, pictures, tmp_path / "x")


def test_of_a_folder_that_grew_by_one_per_cent_only_that_is_read(tmp_path, reads):
    folder = tmp_path / "many"
    for number in range(200):
        paint(folder / f"{number:03d}.png", (number, 255 - number, 7))
    update_index(folder, tmp_path / "index", model())
    reads.clear()
    for name in ("050a.png", "999.png"):
        paint(folder / name, (5, 6, len(name)))
    report = update_index(folder, tmp_path / "index", model())
    assert sorted(reads) == ["050a.png", "999.png"]
    assert (report.pictures, report.read, report.embedded) == (202, 2, 2)


def test_a_picture_of_a_known_content_is_not_embedded_again(index, pictures, tmp_path):
    towers = model()
    (pictures / "red.png").rename(pictures / "renamed.png")
    (pictures / "copy.png").write_bytes((pictures / "green.png").read_bytes())
    age(pictures / "copy.png")
    done = update_index(pictures, index, towers)
    assert (done.read, done.embedded, done.removed, towers.system.seen) == (2, 0, 1, 0)
    whole(index, pictures, tmp_path / "x")


def test_a_removed_picture_is_gone(index, pictures, reads, tmp_path):
    (pictures / "red.png").unlink()
    done = update_index(pictures, index, model())
    assert (done.removed, reads) == (1, [])
    assert "red.png" not in names(index)
    whole(index, pictures, tmp_path / "x")


def test_nothing_is_written_where_nothing_changed(index, pictures):
    before = sorted((path.name, path.stat().st_mtime_ns) for path in index.rglob("*") if path.name != "lock")
    update_index(pictures, index, model())
    assert sorted((path.name, path.stat().st_mtime_ns) for path in index.rglob("*") if path.name != "lock") == before


def test_a_file_written_just_now_is_read_once_more(index, pictures, reads):
    """File systems round times: the second of two quick writes may leave them as they are."""
    (pictures / "red.png").write_bytes((pictures / "green.png").read_bytes())
    update_index(pictures, index, model())
    update_index(pictures, index, model())
    assert reads == ["red.png", "red.png"]
    age(pictures / "red.png")
    update_index(pictures, index, model())
    update_index(pictures, index, model())
    assert reads == ["red.png"] * 3


def test_a_change_that_keeps_size_and_time_of_modification_is_seen(index, pictures, tmp_path):
    path = pictures / "grey.png"
    content, before = path.read_bytes(), path.stat()
    path.write_bytes(paint(tmp_path / "other.png", (98, 99, 99)).read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == len(content)
    assert update_index(pictures, index, model()).embedded == 1


def test_an_unreadable_picture_is_skipped_named_and_not_read_again(index, pictures, reads):
    good = (pictures / "red.png").read_bytes()
    (pictures / "torn.png").write_bytes(good[:40])
    (pictures / "words.jpg").write_text("no picture")
    for name in ("torn.png", "words.jpg"):
        age(pictures / name)
    done = update_index(pictures, index, model())
    assert [one.name for one in done.skipped] == ["torn.png", "words.jpg"]
    assert "no picture of a known kind" in done.skipped[1].reason
    assert done.pictures == 6
    reads.clear()
    assert [one.name for one in update_index(pictures, index, model()).skipped] == ["torn.png", "words.jpg"]
    assert reads == []
    (pictures / "torn.png").write_bytes(good)
    age(pictures / "torn.png")
    assert update_index(pictures, index, model()).pictures == 7
    assert reads == ["torn.png"]


def test_a_folder_without_a_readable_picture_leaves_the_index_usable(index, pictures):
    for path in pictures.rglob("*.*"):
        path.write_text("no picture")
        age(path)
    with pytest.raises(UserError, match=r"none of the 6 pictures in .* can be read: .*blue.png is no picture"):
        update_index(pictures, index, model())
    assert len(names(index)) == 6


def test_names_of_any_bytes_and_letters(pictures, tmp_path):
    odd = ["ein Bild & <b>.png", "图.png", "a\nb.png", os.fsdecode(b"\xff\xfe.png"), "ü%20?#.png"]
    for name in odd:
        paint(pictures / name, (3, 3, 3))
    (pictures / odd[3]).write_text("none")
    age(pictures / odd[3])
    done = update_index(pictures, tmp_path / "index", model())
    assert [one.name for one in done.skipped] == [odd[3]]
    assert [one.name for one in update_index(pictures, tmp_path / "index", model()).skipped] == [odd[3]]
    assert {*names(tmp_path / "index")} >= {*odd} - {odd[3]}
    paint(pictures / odd[3], (3, 3, 3))
    update_index(pictures, tmp_path / "index", model())
    assert open_index(tmp_path / "index").row(odd[3]) is not None


def test_another_model_is_refused_with_the_way_out(index, pictures):
    with pytest.raises(UserError, match=r"was made with .*runs/colours, which has other weights now; .*--rebuild"):
        update_index(pictures, index, model(scale=2.0))
    with pytest.raises(UserError, match=r"was made with .*runs/colours, not with runs/other; search with the model"):
        Searcher(index, model(2.0, "runs/other"))
    assert len(Searcher(index, model()).by_text("red", 3)) == 3
    update_index(pictures, index, model(2.0, "runs/other"), rebuild=True)
    assert Searcher(index, model(2.0, "runs/other")).by_text("red", 1)[0].name == "red.png"
    with pytest.raises(UserError, match="not with runs/colours"):
        Searcher(index, model())


def test_an_index_of_another_folder_is_refused(index, tmp_path):
    other = paint(tmp_path / "other/x.png", (1, 1, 1)).parent
    with pytest.raises(UserError, match=r"is of the folder .*/pictures, not of .*/other; name another --index"):
        update_index(other, index, model())
    assert update_index(other, index, model(), rebuild=True).pictures == 1


def test_two_writers_are_one_too_many(index, pictures):
    with (index / "lock").open("a+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="is being written by another process; wait for it to end"):
            update_index(pictures, index, model())
    update_index(pictures, index, model())


@pytest.mark.parametrize("place", ["pictures", "notes.txt", "pictures/dark"])
def test_an_index_replaces_nothing_else(pictures, tmp_path, place):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is there already and is no index|is the folder of the pictures itself"):
        update_index(pictures, tmp_path / place, model())


def test_without_an_index_the_command_that_makes_it_is_named(tmp_path):
    with pytest.raises(UserError, match=r"is no index; make it with `mm-kptm search index FOLDER --model RUN"):
        open_index(tmp_path / "none")


def test_a_damaged_index_is_refused_and_rebuilt(index, pictures):
    (vectors,) = index.rglob("vectors.f32")
    vectors.write_bytes(vectors.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"vectors.f32 has 95 bytes where 96 were written; index the folder again"):
        open_index(index)
    vectors.unlink()
    with pytest.raises(UserError, match="lacks files; index the folder again with --rebuild"):
        open_index(index)
    (index / "current").write_text("../../etc")
    with pytest.raises(UserError, match="names no generation of the index"):
        open_index(index)
    update_index(pictures, index, model(), rebuild=True)
    assert len(names(index)) == 6


def test_a_reader_goes_on_while_the_index_is_replaced(index, pictures):
    old = open_index(index)
    searcher = Searcher(index, model())
    paint(pictures / "very/red.png", (255, 0, 0))
    update_index(pictures, index, model())
    assert old.vectors[5].shape == (4,) and old.name(5) == "red.png"  # its files are gone by name alone
    assert len(searcher.refresh()) == 7
    assert searcher.by_text("red", 1)[0].name == "very/red.png"
    assert not Path(old.folder).exists()
    assert isinstance(old, Generation)
