"""Atomic writing of named tensors to a safetensors file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from mm_kptm.io.atomic import atomic_path


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write contiguous tensors under their names.

    Raises:
        UserError: as :func:`mm_kptm.io.atomic.atomic_file`.
    """
    with atomic_path(path) as temporary:
        try:
            save_file(dict(tensors), temporary, None if metadata is None else dict(metadata))
        except SafetensorError as error:
            # the library reports the system error only in its message
            if (refused := re.search(r"os error (\d+)", str(error))) is None:
                raise
            number = int(refused[1])
            raise OSError(number, os.strerror(number)) from error
