"""Every entry of ``vl_equations/cases.json`` is what our code computes; the README says where each comes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.golden.conftest import root_of
from tests.golden.equations import EQUATIONS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    file = root_of(metafunc.config) / "vl_equations" / "cases.json"
    entries = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    if "equation" in metafunc.fixturenames:
        metafunc.parametrize("equation", entries, ids=[entry["name"] for entry in entries])


def test_an_equation_gives_its_value(equation: dict) -> None:
    ours = EQUATIONS[equation["name"].split(".")[0]](equation["inputs"])
    assert ours.keys() == equation["expected"].keys()
    for name, value in equation["expected"].items():
        theirs = torch.tensor(value)
        found = torch.as_tensor(ours[name])
        if theirs.is_floating_point():
            torch.testing.assert_close(found.to(theirs.dtype), theirs, atol=1e-5, rtol=1e-5)
        else:
            assert torch.equal(found, theirs), name


def test_the_page_beside_the_cases_lists_them() -> None:
    folder = Path(__file__).parent / "data" / "vl_equations"
    text = (folder / "README.md").read_text(encoding="utf-8")
    for entry in json.loads((folder / "cases.json").read_text(encoding="utf-8")):
        assert f"| {entry['name']} |" in text
