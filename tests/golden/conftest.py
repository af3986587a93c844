"""Finds the golden cases: every ``<root>/<system>/<case>``, the root chosen with ``--golden-root``."""

from pathlib import Path

import pytest

from tests.golden.case import Case, cases


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--golden-root")
        root = Path(chosen) if chosen else Path(__file__).parent / "data"
        found: list[Case] = cases(root)
        metafunc.parametrize("case", found, ids=[f"{case.system}/{case.name}" for case in found])
