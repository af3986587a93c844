"""Build extractors from settings and weights; the contract stores the settings, so that they can be rebuilt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from mm_kptm.errors import UserError
from mm_kptm.systems.packaged.weights import digest_of, is_package, weights_of
from mm_kptm.vision.extractors.bottom_up import BottomUpDetector
from mm_kptm.vision.extractors.cells import GridExtractor, PatchExtractor
from mm_kptm.vision.extractors.extractor import Extractor, Picture, Prepare
from mm_kptm.vision.extractors.resizing import ShortSide
from mm_kptm.vision.extractors.selection import SelectionRule
from mm_kptm.vision.extractors.torchvision_detector import TorchvisionDetector
from mm_kptm.vision.features.contract import FeatureContract, weights_hash
from mm_kptm.vision.features.detections import Detections

KINDS = ("bottom-up", "torchvision", "grid", "patches")


@dataclass(frozen=True)
class ExtractorSettings:
    """Settings of an extractor; None means the published value."""

    kind: str = "bottom-up"  #: one of :data:`KINDS`
    model: str = ""  #: name in torchvision or timm
    size: int | None = None  #: side of the input (grid, patches), or its short side (detectors), in pixels
    cells: int | None = None  #: side of a grid, in cells
    patch: int = 32  #: side of a patch in pixels
    min_boxes: int = 36
    max_boxes: int = 36
    threshold: float = 0.2  #: lowest confidence of a region
    num_classes: int | None = None  #: without the background
    num_attributes: int = 400  #: without "none"
    blocks: tuple[int, ...] = (3, 4, 23, 3)  #: of the bottom-up detector's ResNet
    seed: int = 0  #: of fresh weights


@dataclass(frozen=True)
class Built:
    """Extractor with its complete contract."""

    extractor: Extractor
    contract: FeatureContract

    @property
    def prepare(self) -> Prepare:
        """Preprocessing of an image, run by workers."""
        return self.extractor.prepare

    def extract(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Regions of each image."""
        return self.extractor.extract(pictures)


def build_extractor(settings: ExtractorSettings, weights: Path | None, *, device: str = "cpu") -> Built:
    """Build an extractor.

    Args:
        settings: settings of the extractor.
        weights: state dict file (safetensors, or torch with weights only); None for fresh weights from the seed.
        device: device of the network.

    Raises:
        UserError: there is no such extractor, or the weights do not fit.
    """
    _check(settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        extractor = _fresh(settings)
    named = f"none, seed {settings.seed}"
    if isinstance(extractor, nn.Module):
        if weights is not None:
            _fill(extractor, weights)
            named = f"sha256:{digest_of(weights)}" if is_package(weights) else weights_hash(weights)
        extractor.eval().to(device)
    elif weights is not None:
        raise UserError("patches are raw pixels and take no weights; leave --weights out")
    else:
        named = "none"
    whole = replace(extractor.contract, weights=named, settings={**asdict(settings), "blocks": list(settings.blocks)})
    return Built(extractor, whole)


def extractor_of(contract: FeatureContract, weights: Path | None) -> Built:
    """Rebuild the extractor of a contract.

    Raises:
        UserError: the contract lacks the settings, or names other weights.
    """
    known = {each.name for each in fields(ExtractorSettings)}
    settings: dict[str, Any] = {name: value for name, value in contract.settings.items() if name in known}
    if "kind" not in settings:
        raise UserError(f"the contract of {contract.extractor!r} does not say how to build its extractor")
    settings["blocks"] = tuple(settings.get("blocks", ExtractorSettings.blocks))
    built = build_extractor(ExtractorSettings(**settings), weights)
    if built.contract.weights != contract.weights:
        raise UserError(
            f"the features were made with the weights {contract.weights}, but those given are {built.contract.weights}"
        )
    return built


def _check(settings: ExtractorSettings) -> None:
    if settings.kind not in KINDS:
        raise UserError(f"{settings.kind!r} is no extractor; there are {', '.join(KINDS)}")
    if settings.kind in ("torchvision", "grid") and not settings.model:
        raise UserError(f"the extractor {settings.kind} needs the name of a model; give one with --model")
    if not 1 <= settings.min_boxes <= settings.max_boxes:
        raise UserError(f"{settings.min_boxes} to {settings.max_boxes} boxes cannot be kept; take 36, or 10-100")
    for name in ("size", "cells", "num_classes"):
        if (value := getattr(settings, name)) is not None and value < 1:
            raise UserError(f"{name} of an extractor must be at least 1, but it is {value}")


def _fresh(settings: ExtractorSettings) -> Any:
    selection = SelectionRule(settings.min_boxes, settings.max_boxes, settings.threshold)
    if settings.kind == "bottom-up":
        short = settings.size or ShortSide.short
        return BottomUpDetector(
            settings.num_classes or 1600,
            settings.num_attributes,
            blocks=settings.blocks,
            resize=ShortSide(short, round(short * ShortSide.long / ShortSide.short)),
            selection=selection,
        )
    if settings.kind == "torchvision":
        return TorchvisionDetector(
            settings.model, settings.num_classes or 90, selection=selection, short=settings.size or 800
        )
    if settings.kind == "grid":
        return GridExtractor(settings.model, size=settings.size, cells=settings.cells)
    return PatchExtractor(size=settings.size or 224, patch=settings.patch)


def _fill(extractor: nn.Module, weights: Path) -> None:
    """Load a file's weights into the extractor, with the parameter names of the published network."""
    state = weights_of(weights)
    inner = cast(nn.Module, extractor.model) if hasattr(extractor, "model") else extractor
    expected = inner.state_dict()
    if isinstance(extractor, TorchvisionDetector):
        state = extractor.completed(state)
    # a grid does not use the backbone's classifier
    spare = {name for name in state if name not in expected and isinstance(extractor, GridExtractor)}
    missing = sorted(set(expected) - set(state))
    unexpected = sorted(set(state) - set(expected) - spare)
    if missing or unexpected:
        problems = [f"lacks {', '.join(missing[:3])}"] if missing else []
        problems += [f"has {', '.join(unexpected[:3])} besides"] if unexpected else []
        raise UserError(f"{weights} are not the weights of this extractor: it {' and '.join(problems)}")
    for name, value in expected.items():
        if state[name].shape != value.shape:
            raise UserError(
                f"{weights}: {name} has the shape {list(state[name].shape)}, but here it has {list(value.shape)}; "
                "is the number of classes right?"
            )
    inner.load_state_dict({name: state[name] for name in expected})
