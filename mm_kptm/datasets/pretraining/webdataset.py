"""Pictures with captions at scale, for two towers: WebDataset tars, Parquet, CSV or TSV, JSON lines.

Any example can be read in any order, so an epoch is shuffled as a whole, processes and workers read parts of a batch
that do not overlap, and a run that was stopped goes on with the example that came next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mm_kptm.batch import Images, Inputs
from mm_kptm.data.formats.image_text import Caption, Columns, Shards, expanded, open_shards
from mm_kptm.data.images.decoding import decode_picture
from mm_kptm.data.tokenizers.protocol import framed
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import SplitFiles, fingerprints
from mm_kptm.errors import UserError, notice
from mm_kptm.objectives.mixture import Mixture, Objectives
from mm_kptm.objectives.spec import LANGUAGE_IDS, TEXTS, ObjectiveContext, Offers, build_objectives
from mm_kptm.preprocessing.inputs import tokens
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.tasks.pretraining import ObjectiveSource, heads_of
from mm_kptm.vision.contrastive.preparation import CLIP_MEAN, CLIP_STD, ImagePreparation
from mm_kptm.vision.objectives.image_text_contrast import IMAGES

_STAND_INS = 100  # following examples that are tried where no picture of a batch can be read


@dataclass(frozen=True, kw_only=True)
class ImageTextFiles(SplitFiles):
    """Pictures with texts in WebDataset tars, Parquet, CSV, TSV or JSON lines; ``shards/train-{000..127}.tar``."""

    name: Literal["image-text-files"]
    max_length: int = 77  #: pieces of a text that are read, special ones included
    image_size: int = 224  #: side of the squares that the image tower reads
    image_column: str | None = None  #: of tables: bytes of a picture, or the name of its file; found unless given
    text_column: str | None = None  #: of tables; found unless given
    pictures: Path | None = None  #: the folder that names of pictures lead from; that of the table unless given

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size < 1:
            raise UserError(f"data.image_size is {self.image_size}, but pictures have a side of 1 pixel at least")

    def shards(self, split: str) -> Shards:
        """The files of a split; ``UserError`` where one cannot be read."""
        return open_shards(
            self.files[split], columns=Columns(self.image_column, self.text_column), folder=self.pictures
        )

    @property
    def fingerprints(self) -> dict[str, str]:
        """Digests of the tokenizer, and of names and sizes of the files, which may be too many to be read."""
        found = fingerprints(self.tokenizer_files)
        for split, pattern in self.files.items():
            digest = hashlib.sha256()
            for path in expanded(pattern):
                if not path.is_file():
                    raise UserError(f"{path} was to be read, but there is no such file")
                digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            found[split] = digest.hexdigest()
        return found


@dataclass(frozen=True, eq=False)
class ImageTextSource:
    """Source of texts with the pixels of their pictures; what cannot be read is left out of its batch and counted.

    Args:
        shards: the examples.
        encoding: how texts become ids.
        preparation: how pictures become pixels.
    """

    shards: Shards
    encoding: TextEncoding
    preparation: ImagePreparation
    unreadable: Tensor = field(init=False)  #: whether each example was found to be unreadable, in shared memory, [N]

    def __post_init__(self) -> None:
        found = torch.zeros(len(self.shards), dtype=torch.bool)
        object.__setattr__(self, "unreadable", found.share_memory_())  # worker processes count, too

    def __len__(self) -> int:
        return len(self.shards)

    def length(self, index: int) -> int:
        """The same for all: texts are read when they are needed."""
        return 1

    @property
    def skipped(self) -> int:
        """The number of examples that were found to be unreadable so far."""
        return int(self.unreadable.sum())

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The readable ones of the given examples; where there is none, the next readable one.

        Raises:
            UserError: a hundred examples in a row cannot be read.
        """
        read = [found for index in indices if (found := self._read(index)) is not None]
        first = indices[0] if indices else 0
        for step in range(1, _STAND_INS + 1):
            if read:
                break
            read = [found for found in [self._read((first + step) % len(self))] if found is not None]
        if not read:
            raise UserError(f"{_STAND_INS} examples in a row, from number {first} on, have no readable picture")
        captions = [caption for caption, _ in read]
        return Inputs(
            text=tokens(self._texts(captions), np.arange(len(read))),
            images=Images(pixels=self.preparation([picture for _, picture in read])),
        )

    def _read(self, index: int) -> tuple[Caption, Image.Image] | None:
        """An example, decoded; None where it cannot be read."""
        if self.unreadable[index]:
            return None
        try:
            content, name = self.shards.picture(index)
            return self.shards.caption(index), Image.fromarray(decode_picture(content, name))
        except UserError as error:
            if not self.skipped:
                notice(f"skipped, as all examples that cannot be read: {error}")
            self.unreadable[index] = True
            return None

    def _texts(self, captions: Sequence[Caption]) -> Any:
        tokenizer, longest = self.encoding.tokenizer, self.encoding.max_length
        room = longest - tokenizer.specials.around(1)
        framings = [framed(tokenizer.specials, tokenizer.encode(one.text, one.language).ids[:room]) for one in captions]
        return self.encoding.pack(framings, [one.language for one in captions])


def pretraining(data: ImageTextFiles, request: DataRequest) -> PreparedData:
    """Pairs of a text and a picture."""
    tokenizer = data.tokenizer()
    has = dict.fromkeys((TEXTS, *((LANGUAGE_IDS,) if data.languages else ())))
    if "images" in request.recipe.reads:
        has[IMAGES] = None
    context = ObjectiveContext(tokenizer.specials, len(tokenizer), Offers(data.name, has), recipe=request.recipe)
    objectives = build_objectives(request.objectives, context)
    published = request.recipe.published_sizes()
    preparation = ImagePreparation(
        data.image_size,
        mean=published.get("image_mean", CLIP_MEAN),
        std=published.get("image_std", CLIP_STD),
        interpolation=published.get("interpolation", "bicubic"),
        resize_mode=published.get("resize_mode", "shortest"),
    )

    @cache
    def pairs(split: str) -> ImageTextSource:
        return ImageTextSource(
            data.shards(split), TextEncoding(tokenizer, data.max_length, data.languages), preparation
        )

    def source(split: str) -> ObjectiveSource:
        return ObjectiveSource(pairs(split), Objectives(objectives))

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: Mixture(system, objectives, request.objectives),
        sizes={"vocab_size": len(tokenizer), "image_size": data.image_size},
        heads=heads_of(objectives),
        fingerprints=data.fingerprints,
        skipped=lambda split: pairs(split).skipped,
    )


PRETRAINING_SUPPLY = TaskDataset(None, ImageTextFiles, pretraining)
