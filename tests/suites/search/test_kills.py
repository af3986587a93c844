"""An index that is killed at any file operation is the old one or the new one, and the next update completes it.

The processes are real and die by SIGKILL at the first, second, ... n-th operation that changes a file.
"""

from __future__ import annotations

import shutil
from functools import partial

import numpy as np
import pytest

from mm_kptm.io import atomic
from mm_kptm.suites.search.index import open_index, update_index
from mm_kptm.suites.search.journal import Embedded, Journal
from tests.reliability.kills import deaths, steps
from tests.suites.search.towers import model, paint


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(atomic.os, "fsync", lambda file: None)


def content(index):
    generation = open_index(index)
    return [
        (generation.name(row), generation.digests[row].tobytes(), generation.thumbnails[row])
        for row in range(len(generation))
    ]


def change(pictures):
    paint(pictures / "red.png", (200, 10, 10))
    paint(pictures / "new.png", (9, 90, 9))
    (pictures / "grey.png").unlink()


@steps(7)
def test_killed_at_a_file_operation_of_an_update(index, pictures, tmp_path, step):
    old = content(index)
    change(pictures)
    update_index(pictures, tmp_path / "fresh", model())
    new = content(tmp_path / "fresh")
    states = []
    for place, _ in deaths(
        lambda place: update_index(pictures, place, model(), batch_size=2),
        tmp_path,
        step,
        prepare=partial(shutil.copytree, index),
    ):
        found = content(place)
        assert found in (old, new)
        states.append(found == new)
        assert update_index(pictures, place, model()).pictures == 6
        assert content(place) == new
        assert sorted(path.name for path in place.iterdir()) == sorted(
            ["current", "lock", (place / "current").read_text().strip()]
        )
    assert states == sorted(states), "once an index is new, it stays so"
    assert not states[0] and states[-1]


@steps(7)
def test_killed_at_a_file_operation_of_a_first_indexing(pictures, tmp_path, step):
    update_index(pictures, tmp_path / "fresh", model())
    new = content(tmp_path / "fresh")
    for place, _ in deaths(
        lambda place: update_index(pictures, place, model(), batch_size=2), tmp_path, step, prepare=lambda place: None
    ):
        assert not (place / "current").exists() or content(place) == new
        update_index(pictures, place, model())
        assert content(place) == new


def test_what_a_killed_indexing_had_embedded_is_kept(pictures, tmp_path, monkeypatch):
    towers = model()
    real, calls = towers.system.encode_images, []

    def stopping(images):
        calls.append(len(images))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(images)

    monkeypatch.setattr(towers.system, "encode_images", stopping)
    with pytest.raises(KeyboardInterrupt):
        update_index(pictures, tmp_path / "index", towers, batch_size=2)
    again = model()
    done = update_index(pictures, tmp_path / "index", again, batch_size=2)
    assert (done.embedded, again.system.seen, done.pictures) == (2, 2, 6)
    update_index(pictures, tmp_path / "fresh", model())
    assert content(tmp_path / "index") == content(tmp_path / "fresh")
    np.testing.assert_array_equal(open_index(tmp_path / "index").vectors, open_index(tmp_path / "fresh").vectors)


def test_a_journal_of_another_model_is_not_used(pictures, tmp_path):
    towers = model()
    towers.system.encode_images = lambda images: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        update_index(pictures, tmp_path / "index", towers)
    assert update_index(pictures, tmp_path / "index", model(3.0)).embedded == 6
    assert [path.name for path in (tmp_path / "index").glob("journal-*")] == []


@pytest.mark.parametrize("cut", [1, 4, 20, 60, 73])
@pytest.mark.parametrize("flip", [False, True])
def test_a_journal_ends_at_its_last_whole_record(tmp_path, cut, flip):
    first, second = (Embedded(np.arange(4, dtype=np.float32) + at, b"thumb" * (at + 1)) for at in range(2))
    with Journal(tmp_path / "journal") as journal:
        journal.add(b"a" * 32, first)
        journal.flush()
        whole = (tmp_path / "journal").stat().st_size
        journal.add(b"b" * 32, second)
    stored = (tmp_path / "journal").read_bytes()
    place = len(stored) - cut
    torn = stored[:place] + bytes([stored[place] ^ 1]) + stored[place + 1 :] if flip else stored[:place]
    (tmp_path / "journal").write_bytes(torn)
    with Journal(tmp_path / "journal") as journal:
        assert len(journal) == 1 and b"a" * 32 in journal and b"b" * 32 not in journal
        assert (tmp_path / "journal").stat().st_size == whole
        journal.add(b"c" * 32, second)
        assert journal[b"a" * 32].thumbnail == b"thumb"
        np.testing.assert_array_equal(journal[b"c" * 32].vector, second.vector)
    with Journal(tmp_path / "journal") as journal:
        assert len(journal) == 2
