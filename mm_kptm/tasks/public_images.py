"""COCO and Flickr30k captions and RefCOCO expressions as data of an experiment, with region features of yours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

from mm_kptm.data.readers_images import Described, Pointed, read_karpathy, read_refcoco
from mm_kptm.errors import UserError
from mm_kptm.tasks import image_sources
from mm_kptm.tasks.files import TextSettings, hashes
from mm_kptm.tasks.grounding import ExpressionSource, Grounding
from mm_kptm.tasks.heads import wanted
from mm_kptm.tasks.reading import Reading
from mm_kptm.tasks.retrieval import CaptionSource, Retrieval
from mm_kptm.tasks.supply import Prepared, Request, Supply
from mm_kptm.vision.stores import RegionStore


@dataclass(frozen=True, kw_only=True)
class KarpathyData(TextSettings):
    """A file such as dataset_coco.json or dataset_flickr30k.json, which says the split of every image."""

    name: Literal["karpathy"]
    captions: Path  #: the file
    features: Path  #: a folder of region features of all the images
    longest: int = 60  #: pieces of a caption that are read, special ones included
    pool: int | None = None  #: images searched at a time, 1000 for the folds of COCO; all of the split when null

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pool is not None and self.pool < 2:
            raise UserError(f"data.pool is {self.pool} but must be at least 2 images, or null for all")


@dataclass(frozen=True, kw_only=True)
class RefCocoData(TextSettings):
    """Expressions of RefCOCO, RefCOCO+ or RefCOCOg as JSON, with regions that are given or detected."""

    name: Literal["refcoco"]
    expressions: Path  #: all expressions, each with its split, or those to learn from
    features: Path  #: a folder of region features of all the images
    dev_expressions: Path | None = None  #: where every split has a file of its own
    test_expressions: Path | None = None  #: where every split has a file of its own
    longest: int = 60  #: pieces of an expression that are read, special ones included
    head_layers: int = 1  #: of the head grounding; UNITER's for RefCOCO+ has 2


def retrieval(data: KarpathyData, request: Request) -> Prepared:
    """Image-text retrieval on photographs (Karpathy and Fei-Fei 2015)."""
    store, reading = RegionStore(data.features), Reading(data.tokenizer(), data.longest, data.languages)
    splits: dict[str, list[Described]] = {}
    for image in read_karpathy(data.captions):
        splits.setdefault(image.split, []).append(image)

    def source(split: str) -> CaptionSource:
        return image_sources.captions(splits[split], reading, store, pool=data.pool)

    def chance(split: str) -> Mapping[str, float]:
        return {"chance-recall@1": 1 / min(len(splits[split]), data.pool or len(splits[split]))}

    return Prepared(
        sources={split: partial(source, split) for split in splits},
        model=Retrieval,
        sizes={"vocab_size": len(reading.tokenizer), "region_dim": store.dim},
        heads=wanted(request.recipe, Retrieval.HEADS),
        hashes=hashes({"captions": data.captions, **data.spelling_files}),
        baselines=chance,
    )


def grounding(data: RefCocoData, request: Request) -> Prepared:
    """Referring expressions on photographs (Yu et al. 2016); UNITER reads two layers of its head for RefCOCO+."""
    store, reading = RegionStore(data.features), Reading(data.tokenizer(), data.longest, data.languages)
    given = {"train": data.expressions, "dev": data.dev_expressions, "test": data.test_expressions}
    files = {split: path for split, path in given.items() if path is not None}

    @cache
    def splits() -> Mapping[str, list[Pointed]]:
        found: dict[str, list[Pointed]] = {}
        for split, path in files.items():
            for one in read_refcoco(path):
                found.setdefault(one.split if len(files) == 1 else split, []).append(one)
        return found

    def source(split: str) -> ExpressionSource:
        return image_sources.expressions(splits()[split], reading, store)

    sizes = {"num_layers": data.head_layers} if data.head_layers != 1 else {}
    return Prepared(
        sources={split: partial(source, split) for split in splits()},
        model=Grounding,
        sizes={"vocab_size": len(reading.tokenizer), "region_dim": store.dim},
        heads=wanted(request.recipe, Grounding.HEADS, sizes),
        hashes=hashes({**files, **data.spelling_files}),
    )


KARPATHY_SUPPLY = Supply(Retrieval, KarpathyData, retrieval, read_karpathy)
REFCOCO_SUPPLY = Supply(Grounding, RefCocoData, grounding, read_refcoco)
