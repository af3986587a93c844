"""RefCOCO, RefCOCO+ and RefCOCOg: referring expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

from mm_kptm.data.formats.captions import Pointed, read_refcoco
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import ImageSettings, fingerprints
from mm_kptm.datasets.vision import sources as image_sources
from mm_kptm.tasks.heads import requested_heads
from mm_kptm.tasks.vision.grounding import ExpressionSource, Grounding


@dataclass(frozen=True, kw_only=True)
class RefCocoData(ImageSettings):
    """Expressions of RefCOCO, RefCOCO+ or RefCOCOg as JSON, with regions that are given or detected."""

    name: Literal["refcoco"]
    expressions: Path  #: all expressions, each with its split, or those to learn from
    dev_expressions: Path | None = None  #: where every split has a file of its own
    test_expressions: Path | None = None  #: where every split has a file of its own
    max_length: int = 60  #: pieces of an expression that are read, special ones included
    head_layers: int = 1  #: of the head grounding; UNITER's for RefCOCO+ has 2


def grounding(data: RefCocoData, request: DataRequest) -> PreparedData:
    """Referring expressions on photographs (Yu et al. 2016); UNITER reads two layers of its head for RefCOCO+."""
    store = data.store(request)
    encoding = image_sources.encoding_of(data, request.recipe)
    given = {"train": data.expressions, "dev": data.dev_expressions, "test": data.test_expressions}
    files = {split: path for split, path in given.items() if path is not None}

    @cache
    def splits() -> Mapping[str, list[Pointed]]:
        found: dict[str, list[Pointed]] = {}
        for split, path in files.items():
            for one in read_refcoco(path):
                found.setdefault((one.split or split) if len(files) == 1 else split, []).append(one)
        return found

    def source(split: str) -> ExpressionSource:
        return image_sources.expressions(splits()[split], encoding, store)

    sizes = {"num_layers": data.head_layers} if data.head_layers != 1 else {}
    return PreparedData(
        sources={split: partial(source, split) for split in splits()},
        model=Grounding,
        sizes=image_sources.sizes_of(encoding, store),
        heads=requested_heads(request.recipe, Grounding.HEADS, sizes),
        fingerprints=fingerprints({**files, **data.tokenizer_files}),
    )


REFCOCO_SUPPLY = TaskDataset(Grounding, RefCocoData, grounding, read_refcoco)
