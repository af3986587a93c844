"""A golden case: a folder with what official code was given and what it answered."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor


@dataclass(frozen=True)
class Answer:
    """Our value for one named output; ``where`` marks the positions of the official tensor that are real."""

    ours: Any
    where: Tensor | None = None
    atol: float = 1e-5
    rtol: float = 1e-4


@dataclass(frozen=True)
class Case:
    """One folder ``<root>/<system>/<case>``; the part of its name before a dot says which comparison it needs."""

    folder: Path

    @property
    def system(self) -> str:
        return self.folder.parent.name

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def kind(self) -> str:
        return self.name.split(".")[0]

    @cached_property
    def config(self) -> dict[str, Any]:
        return self.json("config.json")

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        return load_file(self.folder / "inputs.safetensors")

    @cached_property
    def outputs(self) -> dict[str, Tensor]:
        file = self.folder / "outputs.safetensors"
        return load_file(file) if file.is_file() else {}

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def called_with(self, name: str) -> float:
        """The number behind ``name`` in the README: what the official code was called with, where no file says it."""
        told = re.search(rf"{name}\D{{1,3}}(\d*\.?\d+)", (self.folder / "README.md").read_text(encoding="utf-8"))
        assert told is not None, f"{self.folder} does not say its {name}"
        return float(told[1])


def cases(root: Path) -> list[Case]:
    """Every case below ``root``, in order.

    Raises:
        FileNotFoundError: there is none, so that a wrong root cannot look like success.
    """
    found = sorted(folder for folder in root.glob("*/*") if folder.is_dir())
    if not found:
        raise FileNotFoundError(f"no golden case <system>/<case> below {root}")
    return [Case(folder) for folder in found]


def compare(name: str, answer: Answer, theirs: Any) -> None:
    """Fail unless our answer equals the official one: tensors within tolerance, everything else exactly."""
    if not isinstance(theirs, Tensor):
        assert answer.ours == theirs, name
        return
    ours = answer.ours
    if answer.where is not None:
        theirs = theirs[answer.where]
    assert ours.shape == theirs.shape, f"{name}: our shape {list(ours.shape)}, theirs {list(theirs.shape)}"
    if theirs.is_floating_point():
        torch.testing.assert_close(
            ours.detach().float(),
            theirs.float(),
            atol=answer.atol,
            rtol=answer.rtol,
            msg=lambda text: f"{name}: {text}",
        )
    else:
        assert torch.equal(ours.long(), theirs.long()), name
