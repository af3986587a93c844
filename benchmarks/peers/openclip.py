"""Weights of open_clip's models in our systems, through their published names."""

from __future__ import annotations

import tempfile
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

import mm_kptm
from mm_kptm.systems.system import System


def ours_of(theirs: nn.Module, architecture: str) -> System:
    """The same weights in our towers."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        save_file({name: tensor.detach().clone() for name, tensor in theirs.state_dict().items()}, file)
        return mm_kptm.load("open-clip", file, architecture=architecture)
