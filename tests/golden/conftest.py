"""Finds the golden cases: every ``<root>/<system>/<case>``, the root chosen with ``--golden-root``."""

from pathlib import Path

import pytest

from tests.golden.case import Case, cases


def root_of(config: pytest.Config) -> Path:
    """The folder of the cases."""
    chosen = config.getoption("--golden-root")
    return Path(chosen) if chosen else Path(__file__).parent / "data"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        found: list[Case] = cases(root_of(metafunc.config))
        metafunc.parametrize("case", found, ids=[f"{case.system}/{case.name}" for case in found])
