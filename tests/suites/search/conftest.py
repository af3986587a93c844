"""A folder of coloured pictures and its index."""

import pytest

from mm_kptm.suites.search.index import update_index
from tests.suites.search.towers import model, paint


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    for name, colour in {
        "red.png": (250, 0, 0),
        "dark/red.png": (120, 10, 10),
        "green.png": (0, 250, 0),
        "blue.png": (0, 0, 250),
        "dark/blue.jpg": (0, 0, 120),
        "grey.png": (99, 99, 99),
    }.items():
        paint(folder / name, colour)
    return folder


@pytest.fixture
def index(pictures, tmp_path):
    update_index(pictures, tmp_path / "index", model())
    return tmp_path / "index"
