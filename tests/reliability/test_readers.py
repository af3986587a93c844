"""Readers are total: for any bytes, success or one :class:`UserError`."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.file_memory import forget_peak, resident
from mm_kptm.errors import UserError
from tests.reliability.readers import NASTY, SEEDS, SUFFIXES, put, readers

READERS = readers()
TRIES = 10_000
LONGEST = 10.0  #: seconds of processor time of a call
MOST = 256 << 20  #: bytes that a call may take beyond those before

_SPLICES = st.tuples(
    st.floats(0, 1), st.integers(0, 8), st.sampled_from([*NASTY[:14], b"-1", b"1e999", b'"', b"\t", b","])
)
MUTATED = st.builds(
    lambda seed, splices: _spliced(seed, splices), st.sampled_from(SEEDS), st.lists(_SPLICES, min_size=1, max_size=4)
)
FORMS = st.sampled_from([None, *SUFFIXES])


def _spliced(seed: bytes, splices: list[tuple[float, int, bytes]]) -> bytes:
    for where, drop, insert in splices:
        at = int(where * len(seed))
        seed = seed[:at] + insert[:6000] + seed[at + drop :]
    return seed


def attempt(read: Callable[[Path], object], content: bytes, suffix: str | None) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        path = put(content, folder, suffix=suffix)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except UserError as error:
        assert str(error)
    finally:
        shutil.rmtree(folder)


def test_readers_are_found_by_walking() -> None:
    assert len(READERS) > 100
    assert "mm_kptm.knowledge.graph.formats.open_graph" in READERS
    assert "mm_kptm.data.tokenizers.wordpiece.WordPiece.open" in READERS


@pytest.mark.parametrize("name", READERS)
def test_a_reader_reads_or_refuses(name: str) -> None:
    dice = random.Random(name)
    for content in NASTY:
        attempt(READERS[name], content, dice.choice([None, *SUFFIXES]))
    for seed in SEEDS:
        attempt(READERS[name], _spliced(seed, [(dice.random(), dice.randrange(4), dice.choice(NASTY))]), ".json")


@pytest.mark.slow
@settings(max_examples=TRIES, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(sorted(READERS)), content=MUTATED, suffix=FORMS)
def test_every_reader_on_mutated_files(name: str, content: bytes, suffix: str | None) -> None:
    began, before = time.process_time(), resident("VmRSS")
    forget_peak()
    attempt(READERS[name], content, suffix)
    assert time.process_time() - began < LONGEST
    assert resident("VmHWM") - before < MOST
