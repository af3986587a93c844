"""A FAISS index finds what the exact search finds, with the same scores, and is kept up to date."""

import json
import sys

import numpy as np
import pytest

from mm_kptm.errors import UserError
from mm_kptm.suites.search import approximate as approximating
from mm_kptm.suites.search.approximate import approximate, open_approximate
from mm_kptm.suites.search.generation import Generation, GenerationWriter
from mm_kptm.suites.search.index import open_index, update_index
from mm_kptm.suites.search.nearest import top_k
from mm_kptm.suites.search.query import Searcher
from tests.suites.search.towers import model, paint


@pytest.fixture
def folder(tmp_path):
    """A generation of 3,000 vectors around 60 centres."""
    draws = np.random.default_rng(0)
    centres = draws.standard_normal((60, 24))
    vectors = centres[draws.integers(60, size=3000)] + 0.5 * draws.standard_normal((3000, 24))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with GenerationWriter(tmp_path, 24) as writer:
        for number, vector in enumerate(vectors.astype(np.float32)):
            writer.add(f"{number:05d}.png", bytes(32), (0, 0, 0), vector, b"")
        writer.finish("model", "fingerprint", tmp_path, ())
    return tmp_path


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_it_finds_what_the_exact_search_finds(folder, kind):
    found = approximate(folder, kind)
    assert found.recall >= 0.95
    generation = Generation.open(folder)
    index = open_approximate(generation)
    draws = np.random.default_rng(1)
    rows = draws.integers(3000, size=50)
    queries = generation.vectors[rows] + 0.1 * draws.standard_normal((50, 24)).astype(np.float32)
    hits = 0
    for query in queries:
        (scores, near), (true_scores, true_near) = index.top_k(query, 10), top_k(generation.vectors, query, 10)
        hits += len(set(near.tolist()) & set(true_near.tolist()))
        assert scores.tolist() == sorted(scores.tolist(), reverse=True)
        same = np.isin(near, true_near)
        np.testing.assert_allclose(scores[same], true_scores[np.isin(true_near, near)], rtol=1e-12)
    assert hits / 500 >= 0.93
    assert found.effort < len(generation) / 4


def test_what_finds_too_little_is_refused(folder, monkeypatch):
    noise = np.random.default_rng(2).standard_normal((3000, 24)).astype(np.float32)
    (folder / "vectors.f32").write_bytes((noise / np.linalg.norm(noise, axis=1, keepdims=True)).tobytes())
    monkeypatch.setattr(approximating, "_parameters", lambda faiss, kind, effort: faiss.SearchParametersIVF(nprobe=1))
    with pytest.raises(UserError, match=r"an approximate index \(ivf\) finds only \d+% of the exact results"):
        approximate(folder, "ivf")


def test_it_is_kept_when_the_folder_changes(index, pictures):
    done = update_index(pictures, index, model(), approximation="hnsw")
    assert (done.read, done.approximation.kind, done.approximation.recall) == (0, "hnsw", 1.0)
    paint(pictures / "very red.png", (255, 0, 0))
    update_index(pictures, index, model())
    searcher = Searcher(index, model())
    assert [hit.name for hit in searcher.by_text("red", 2)] == ["very red.png", "red.png"]
    assert searcher.by_text("red", 7) == Searcher(index, model(), exact=True).by_text("red", 7)
    assert json.loads((open_index(index).folder / "approximate.json").read_text())["kind"] == "hnsw"
    update_index(pictures, index, model(), approximation="none")
    assert open_approximate(open_index(index)) is None


def test_without_faiss_it_is_searched_exactly_and_not_made(index, pictures, monkeypatch):
    update_index(pictures, index, model(), approximation="hnsw")
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert open_approximate(open_index(index)) is None
    assert Searcher(index, model()).by_text("red", 1)[0].name == "red.png"
    with pytest.raises(UserError, match=r"needs FAISS, which is not installed; `pip install mm-kptm\[search\]`"):
        update_index(pictures, index, model(), approximation="ivf")
    assert len(open_index(index)) == 6
