"""Options of the whole suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-root",
        default=None,
        help="folder of golden cases, <root>/<system>/<case>, in place of tests/golden/data",
    )
