"""Memory is proportional to what is kept: a file that is only checked is read piece by piece."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.file_memory import CASES, MEGABYTE, measured, trained_on
from mm_kptm.datasets.schemas import count_examples, reader
from mm_kptm.experiment import predict as predicting
from mm_kptm.io import json_items
from mm_kptm.knowledge.graph import bulk_reader, triples
from mm_kptm.knowledge.graph.bulk_reader import read_at_once
from mm_kptm.knowledge.graph.formats import open_graph
from mm_kptm.knowledge.graph.statistics import summarise
from mm_kptm.knowledge.graph.triples import number_triples, read_triples

SIZE = 400_000  #: bytes of a file


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let these small files be read in as many pieces as large ones are."""
    monkeypatch.setattr(json_items, "CHUNK", 1 << 13)
    monkeypatch.setattr(bulk_reader, "BLOCK", 1 << 14)
    monkeypatch.setattr(triples, "_AT_ONCE", 1 << 8)


def peak(work: Callable[[], object]) -> int:
    """Bytes that Python and NumPy hold at most during a call, beyond those before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("validate")])
def test_a_file_is_checked_within_three_times_its_size(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    task, form = case.command[2], case.command[-1] if "--format" in case.command else "custom"
    read = reader(task, form)
    small, large = (case.write(tmp_path / str(size), size) for size in (SIZE // 4, SIZE))
    count_examples(read, small)
    with_small, with_large = (peak(lambda file=file: count_examples(read, file)) for file in (small, large))
    assert with_large - with_small < case.bar * (SIZE - SIZE // 4)


@pytest.mark.parametrize("name", ["kg-info-tsv", "kg-info-nt"])
def test_a_graph_is_counted_within_three_times_its_size(name: str, tmp_path: Path) -> None:
    small, large = (CASES[name].write(tmp_path / str(size), size) for size in (SIZE // 4, SIZE))
    summarise(open_graph(small))
    with_small, with_large = (peak(lambda file=file: summarise(open_graph(file))) for file in (small, large))
    assert with_large - with_small < CASES[name].bar * (SIZE - SIZE // 4)


@pytest.mark.parametrize("read", [lambda file: read_at_once([file]), lambda file: number_triples(read_triples(file))])
def test_the_numbers_of_triples_are_held_once(read: Callable[[Path], object], tmp_path: Path) -> None:
    """Three numbers of four bytes for each triple, and what an array that grows has left over."""
    file, count = tmp_path / "a.tsv", 60_000
    file.write_text("".join(f"a{number % 97}\tis\tb{number % 89}\n" for number in range(count)))
    read(file)
    assert peak(lambda: read(file)) < 16 * count + (1 << 18)


def test_predictions_on_a_file_do_not_grow_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held is one part of the file, whatever its size; rows go to where they are written."""
    monkeypatch.setattr(predicting, "PART", 64)
    small, large = (CASES["predict"].write(tmp_path / str(size), size) for size in (SIZE // 10, SIZE // 2))
    run = trained_on(small)

    def predict(file: Path) -> None:
        for _ in predicting.each_prediction(run, file):
            pass

    predict(large)  # the tokenizer remembers words
    with_small, with_large = (peak(lambda file=file: predict(file)) for file in (small, large))
    assert with_large - with_small < 0.5 * (SIZE // 2 - SIZE // 10)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_resident_memory_is_within_the_bar(name: str) -> None:
    size, rose = measured(name, 50 * MEGABYTE)
    assert rose <= CASES[name].bar * size
