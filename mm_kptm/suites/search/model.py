"""The model of a search: two towers that embed texts and pictures into one space, and a fingerprint of their weights.

Shapes: N texts or pictures, D dim.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.experiment.run_state import CONFIG, MODEL
from mm_kptm.suites.search.knowledge import with_facts
from mm_kptm.systems import pretrained
from mm_kptm.systems.encoder import DualEncoder

Pixels = NDArray[np.uint8]  #: a decoded picture, [height, width, 3]


@runtime_checkable
class TwoTowers(Protocol):
    """What a search needs of a system; every :class:`~mm_kptm.systems.System` with two towers has it."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """L2-normalised vectors, [N, D]."""

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """L2-normalised vectors, [N, D]."""


@runtime_checkable
class InjectsFacts(Protocol):
    """A system that reads facts beside a text."""

    def injected_facts(self, texts: Sequence[str]) -> Sequence[Sequence[str]]:
        """The facts that are read with each text, one line of text per fact, [N]."""


@dataclass(frozen=True, eq=False)
class SearchModel:
    """An opened model.

    Args:
        system: its towers.
        path: the run or folder it was opened from.
        fingerprint: of its weights, sizes and recipe; equal for two models that embed alike.
    """

    system: TwoTowers
    path: Path
    fingerprint: str

    def embed_text(self, text: str) -> NDArray[np.float32]:
        """The vector of a text in any language that the model reads, [D].

        Raises:
            UserError: the text is empty, or the model cannot read it.
        """
        text = text.encode("utf-8", "replace").decode("utf-8").strip()  # no lone surrogates
        if not text:
            raise UserError("an empty text was searched for; type a word or a sentence")
        return _as_rows(self.system.encode_text([text]))[0]

    def embed_pictures(self, pictures: Sequence[Pixels]) -> NDArray[np.float32]:
        """The vectors of pictures, [N, D]."""
        return _as_rows(self.system.encode_images([Image.fromarray(picture) for picture in pictures]))

    def facts(self, text: str) -> tuple[str, ...]:
        """The facts that the model reads beside a text; none where it injects none."""
        holders = (self.system, getattr(self.system, "encoder", None))
        holder = next((one for one in holders if isinstance(one, InjectsFacts)), None)
        return () if holder is None else tuple(holder.injected_facts([text])[0])


def open_model(path: Path) -> SearchModel:
    """Open a run folder, or a folder that :func:`mm_kptm.save` wrote.

    Raises:
        UserError: it is neither, or its system has no two towers.
    """
    saved = path / MODEL if (path / CONFIG).is_file() else path
    if not saved.is_dir():
        raise UserError(
            f"--model is {path}, but that is no folder of a trained run or of a saved model"
            if saved == path
            else f"{path} has no {MODEL} yet; let `mm-kptm train --resume {path}` finish, then search with it"
        )
    system = pretrained.load(str(saved))
    if not isinstance(system.encoder, DualEncoder):
        raise UserError(
            f"{path} holds {system.recipe}, which embeds no texts and pictures into one space; search with a model of "
            "two towers, such as clip"
        )
    described = {"recipe": system.recipe, "sizes": system.sizes, "added": system.added}
    towers = None if saved == path else with_facts(system, path)
    return SearchModel(system if towers is None else towers, path, fingerprint(system, described))


def fingerprint(module: nn.Module, described: object = None) -> str:
    """SHA-256 of the parameters and buffers of a module, and of what describes it, in hexadecimal."""
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode())
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _as_rows(vectors: Tensor) -> NDArray[np.float32]:
    """Vectors on the CPU in single precision; ``UserError`` where one is not finite."""
    rows: NDArray[np.float32] = vectors.detach().float().cpu().numpy()
    if not np.isfinite(rows).all():
        raise UserError("the model embeds as numbers that are not finite; evaluate it, or take another checkpoint")
    return rows
