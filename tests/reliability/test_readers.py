"""Readers are total: for any bytes, success or one :class:`UserError`."""

from __future__ import annotations

import random
import resource
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mm_kptm.errors import UserError
from tests.reliability.readers import NASTY, SEEDS, SUFFIXES, put, readers

READERS = readers()
TRIES = 10_000
LONGEST = 10.0  #: seconds of processor time of a call
GIB = 1 << 20  #: in the unit of getrusage

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
    began = time.process_time()
    attempt(READERS[name], content, suffix)
    assert time.process_time() - began < LONGEST
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < GIB  # of which torch and all rooms take most
