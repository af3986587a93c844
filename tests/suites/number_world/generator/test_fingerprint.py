"""The same seed gives the same bytes: everywhere, always, whatever Python's hashes are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mm_kptm.suites.number_world.generator import WORLD_VERSION
from mm_kptm.suites.number_world.generator.fingerprint import fingerprint

#: Who changes the bytes changes the version and this line.
EXPECTED = ("1.0", "2b5271c3ec9da9c8b9ab914e1a226973799b6addf4622d8f9f09a5c60ce68186")


def test_the_bytes_are_those_of_this_version():
    assert (WORLD_VERSION, fingerprint(0)) == EXPECTED


def test_another_seed_gives_other_bytes():
    assert fingerprint(1, count=3) != fingerprint(0, count=3)


@pytest.mark.parametrize("seed_of_hashes", ["1", "2"])
def test_hashes_of_python_do_not_matter(seed_of_hashes):
    root = Path(__file__).parents[4]
    code = "from mm_kptm.suites.number_world.generator.fingerprint import fingerprint; print(fingerprint(0))"
    environment = {**os.environ, "PYTHONHASHSEED": seed_of_hashes, "PYTHONPATH": str(root)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == EXPECTED[1]
