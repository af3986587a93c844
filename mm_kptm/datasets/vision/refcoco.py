"""RefCOCO, RefCOCO+ and RefCOCOg: referring expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Literal

from mm_kptm.data.formats.captions import PICKLED, Pointed, read_refcoco
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import ImageSettings, fingerprints
from mm_kptm.datasets.stored_regions import ImageStore
from mm_kptm.datasets.vision import sources as image_sources
from mm_kptm.errors import UserError
from mm_kptm.tasks.heads import requested_heads
from mm_kptm.tasks.vision.grounding import ExpressionSource, Grounding

DETECTED = "-detected"  #: what the names of splits end with, whose regions a detector found


@dataclass(frozen=True, kw_only=True)
class RefCocoData(ImageSettings):
    """Expressions of RefCOCO, RefCOCO+ or RefCOCOg, with regions that are given, and detected ones to evaluate on."""

    name: Literal["refcoco"]
    expressions: Path  #: all expressions, each with its split, such as refs(unc).p or its JSON, or those to learn from
    dev_expressions: Path | None = None  #: where every split has a file of its own
    test_expressions: Path | None = None  #: where every split has a file of its own
    instances: Path | None = None  #: COCO's objects that refs(unc).p is about; instances.json beside it when null
    detected: Path | None = None
    """Other regions of the images, those of a detector in the place of the objects of the file: every split but train
    is there once more, as dev-detected or testA-detected. A folder of features; of boxes, beside data.boxes."""
    max_length: int = 60  #: pieces of an expression that are read, special ones included
    head_layers: int = 1  #: of the head grounding; UNITER's for RefCOCO+ has 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.detected is not None and self.features is None and self.boxes is None:
            raise UserError(
                f"data.detected is {self.detected}, other regions than those of training, but encoder.vision makes "
                "regions of the cells of a grid; give data.features or data.boxes, or leave data.detected out"
            )

    @property
    def files(self) -> dict[str, Path]:
        """The file of every split that has one; the first one may hold them all."""
        given = {"train": self.expressions, "dev": self.dev_expressions, "test": self.test_expressions}
        return {split: path for split, path in given.items() if path is not None}

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of the data and the settings that affect them."""
        released = any(path.suffix in PICKLED for path in self.files.values())
        beside = self.expressions.parent / "instances.json" if self.instances is None else self.instances
        return fingerprints({**self.files, **({"instances": beside} if released else {}), **self.tokenizer_files})

    def detections(self, request: DataRequest) -> ImageStore:
        """The images with detected regions."""
        if self.features is None:
            return replace(self, boxes=self.detected, detected=None).store(request)
        return replace(self, features=self.detected, detected=None).store(request)


def grounding(data: RefCocoData, request: DataRequest) -> PreparedData:
    """Referring expressions on photographs (Yu et al. 2016); UNITER reads two layers of its head for RefCOCO+."""
    store = data.store(request)
    found = None if data.detected is None else data.detections(request)
    encoding = image_sources.encoding_of(data, request.recipe)

    @cache
    def splits() -> Mapping[str, list[Pointed]]:
        expressions: dict[str, list[Pointed]] = {}
        for split, path in data.files.items():
            for one in read_refcoco(path, data.instances):
                expressions.setdefault((one.split or split) if len(data.files) == 1 else split, []).append(one)
        return expressions

    def source(split: str, images: ImageStore) -> ExpressionSource:
        return image_sources.expressions(splits()[split], encoding, images)

    sources = {split: partial(source, split, store) for split in splits()}
    if found is not None:
        sources |= {f"{split}{DETECTED}": partial(source, split, found) for split in splits() if split != "train"}
    sizes = {"num_layers": data.head_layers} if data.head_layers != 1 else {}
    return PreparedData(
        sources=sources,
        model=Grounding,
        sizes=image_sources.sizes_of(encoding, store),
        heads=requested_heads(request.recipe, Grounding.HEADS, sizes),
        fingerprints=data.fingerprints,
        read_file=lambda path: image_sources.expressions(read_refcoco(path, data.instances), encoding, store),
    )


REFCOCO_SUPPLY = TaskDataset(Grounding, RefCocoData, grounding, read_refcoco)
