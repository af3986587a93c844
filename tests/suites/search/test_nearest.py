"""The scan finds what a full sort finds, in bounded memory, whatever the threads, chunks and ties."""

import itertools
import mmap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_kptm.errors import UserError
from mm_kptm.suites.search import nearest
from mm_kptm.suites.search.nearest import top_k


def sorted_whole(vectors, query, k):
    scores = vectors.astype(np.float64) @ query.astype(np.float64)
    rows = np.lexsort((np.arange(len(scores)), -scores))[:k]
    return scores[rows], rows


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(1, 400),
    dim=st.integers(1, 9),
    k=st.integers(1, 30),
    levels=st.sampled_from([2, 3, 1000]),  # few values make many ties
    seed=st.integers(0, 2**32 - 1),
    chunk=st.sampled_from([1, 64, 10_000]),
    workers=st.integers(1, 3),
)
def test_it_equals_a_sort_of_all_scores(count, dim, k, levels, seed, chunk, workers):
    draws = np.random.default_rng(seed)
    vectors = draws.integers(-levels, levels, (count, dim)).astype(np.float32) / levels
    query = draws.integers(-levels, levels, dim).astype(np.float32) / levels
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "CHUNK_BYTES", chunk)
        patch.setattr(nearest, "_workers", lambda: workers)
        scores, rows = top_k(vectors, query, k)
    true_scores, true_rows = sorted_whole(vectors, query, k)
    np.testing.assert_allclose(scores, true_scores, atol=1e-6)
    if levels < 1000:  # small integers: the products are exact, so ties are real
        assert rows.tolist() == true_rows.tolist()


@pytest.mark.parametrize("offset", [0, 64, 4096 + 128])
def test_a_large_map_is_unmapped_behind_the_reader(tmp_path, monkeypatch, offset):
    vectors = np.random.default_rng(0).standard_normal((3000, 64)).astype(np.float32)
    (tmp_path / "v").write_bytes(b"\1" * offset + vectors.tobytes())
    stored = np.memmap(tmp_path / "v", np.float32, "r", offset, vectors.shape)
    calls = []

    class Watched(mmap.mmap):
        def madvise(self, option, start, length):
            calls.append((option, start, length))
            return super().madvise(option, start, length)

    with (tmp_path / "v").open("rb") as file:
        shift = offset - offset % mmap.ALLOCATIONGRANULARITY
        stored._mmap = Watched(file.fileno(), 0, prot=mmap.PROT_READ, offset=shift)
    monkeypatch.setattr(nearest, "KEPT_BYTES", 1000)
    monkeypatch.setattr(nearest, "CHUNK_BYTES", 10_000)
    monkeypatch.setattr(nearest, "_workers", lambda: 2)
    found = top_k(stored, vectors[7], 5)
    assert found[1].tolist() == sorted_whole(vectors, vectors[7], 5)[1].tolist()
    assert {option for option, *_ in calls} == {mmap.MADV_DONTNEED}
    covered = sorted((start, start + length) for _, start, length in calls)
    assert covered[0][0] == 0
    assert covered[-1][1] == vectors.nbytes + offset - shift
    assert all(after[0] <= before[1] for before, after in itertools.pairwise(covered))


def test_the_scores_are_those_of_double_precision():
    draws = np.random.default_rng(3)
    vectors = draws.standard_normal((500, 300)).astype(np.float32)
    query = draws.standard_normal(300).astype(np.float32)
    scores, rows = top_k(vectors, query, 20)
    true_scores, true_rows = sorted_whole(vectors, query, 20)
    assert rows.tolist() == true_rows.tolist()
    np.testing.assert_allclose(scores, true_scores, rtol=1e-13)


@pytest.mark.parametrize(
    ("query", "k", "message"),
    [
        (np.ones(3, np.float32), 1, "a query of 3 numbers was compared with vectors of 2"),
        (np.array([1, np.nan], np.float32), 1, "a query was embedded as numbers that are not finite"),
        (np.ones(2, np.float32), 0, "0 results were asked for; ask for 1 at least"),
    ],
)
def test_what_cannot_be_searched_is_refused(query, k, message):
    with pytest.raises(UserError, match=message):
        top_k(np.ones((4, 2), np.float32), query, k)
