"""COCO and Flickr30k captions in the splits of Karpathy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mm_kptm.data.formats.captions import Described, read_karpathy
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import CaptionSettings, ImageSettings, RetrievalSettings, check_tags, fingerprints
from mm_kptm.datasets.vision import sources as image_sources
from mm_kptm.errors import UserError
from mm_kptm.tasks.heads import requested_heads
from mm_kptm.tasks.vision.retrieval import CaptionSource, Retrieval


@dataclass(frozen=True, kw_only=True)
class KarpathyData(CaptionSettings, RetrievalSettings, ImageSettings):
    """A file such as dataset_coco.json or dataset_flickr30k.json, which says the split of every image."""

    name: Literal["karpathy"]
    captions: Path  #: the file
    max_length: int = 60  #: pieces of a caption that are read, special ones included
    candidate_pool_size: int | None = (
        None  #: images searched at a time, 1000 for the folds of COCO; all of the split when null
    )

    def __post_init__(self) -> None:
        CaptionSettings.__post_init__(self)
        RetrievalSettings.__post_init__(self)
        ImageSettings.__post_init__(self)
        if self.candidate_pool_size is not None and self.candidate_pool_size < 2:
            raise UserError(
                f"data.candidate_pool_size is {self.candidate_pool_size} but must be at least 2 images, or null for all"
            )


def retrieval(data: KarpathyData, request: DataRequest) -> PreparedData:
    """Image-text retrieval on photographs (Karpathy and Fei-Fei 2015)."""
    check_tags(data.tags, data.ranking)
    store = data.store(request)
    encoding = image_sources.encoding_of(data, request.recipe)
    splits: dict[str, list[Described]] = {}
    for image in read_karpathy(data.captions):
        splits.setdefault(image.split or "train", []).append(image)

    def made(images: Sequence[Described]) -> CaptionSource:
        return image_sources.captions(images, encoding, store, pool=data.candidate_pool_size, tags=data.tags)

    def source(split: str) -> CaptionSource:
        return made(splits[split])

    def chance(split: str) -> Mapping[str, float]:
        return {"chance-recall@1": 1 / min(len(splits[split]), data.candidate_pool_size or len(splits[split]))}

    return PreparedData(
        sources={split: partial(source, split) for split in splits},
        model=partial(Retrieval, ranking=data.ranking),
        sizes=image_sources.sizes_of(encoding, store),
        heads=requested_heads(request.recipe, Retrieval.HEADS),
        fingerprints=fingerprints({"captions": data.captions, **data.tokenizer_files}),
        baselines=chance,
        read_file=lambda path: made(read_karpathy(path)),
    )


KARPATHY_SUPPLY = TaskDataset(Retrieval, KarpathyData, retrieval, read_karpathy)
