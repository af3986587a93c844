"""Pictures with captions at scale, for two towers: WebDataset tars, Parquet, CSV or TSV, JSON lines.

Any example can be read in any order, so an epoch is shuffled as a whole, processes and workers read parts of a batch
that do not overlap, and a run that was stopped goes on with the example that came next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mm_kptm.batch import Images, Inputs
from mm_kptm.data.formats.image_text import Caption, Columns, Shards, expanded, open_shards
from mm_kptm.data.images.decoding import decode_picture
from mm_kptm.data.packing import Packed
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import fingerprints
from mm_kptm.datasets.skips import Skips
from mm_kptm.datasets.tower_texts import TowerTexts
from mm_kptm.errors import UserError, notice
from mm_kptm.knowledge.kinds.protocol import BRANCHES
from mm_kptm.objectives.mixture import Mixture, Objectives
from mm_kptm.objectives.spec import LANGUAGE_IDS, TEXTS, Offers
from mm_kptm.preprocessing.inputs import IntArray, tokens
from mm_kptm.preprocessing.text import TextEncoding, TextExample
from mm_kptm.tasks.pretraining import ObjectiveSource, heads_of
from mm_kptm.tasks.vision.contrastive_retrieval import ContrastiveRetrieval, PairBatch, PairSource
from mm_kptm.tasks.vision.retrieval import Captioned
from mm_kptm.vision.contrastive.preparation import CLIP_MEAN, CLIP_STD, ImagePreparation
from mm_kptm.vision.objectives.image_text_contrast import IMAGES, ImageTextContrastive

_STAND_INS = 100  # examples in a row that are tried until one can be read
_UNREADABLE = " cannot be read: "  # behind the name of a file
_READ_AGAIN, _NOT_READ_AGAIN = 1000, "for reasons that were not looked up"


@dataclass(frozen=True, kw_only=True)
class ImageTextFiles(TowerTexts):
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
        found = {**fingerprints(self.tokenizer_files), **self.knowledge_fingerprints}
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
    """Source of texts with the pixels of their pictures; what cannot be read is counted, and the next one stands in.

    So a batch has as many examples as were asked for, and every process the share of a step that it was given.

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

    def skips(self) -> Skips:
        """These examples with their reasons; worker processes found them, so the first thousand are read again."""
        found = self.unreadable.nonzero().flatten().tolist()
        read = [self._fault(index) for index in found[:_READ_AGAIN]]
        skips = Skips.of(read)
        rest = len(found) - len(read)
        return replace(skips, reasons={**skips.reasons, _NOT_READ_AGAIN: rest}) if rest else skips

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The given examples; in place of one that cannot be read, the next readable one.

        Raises:
            UserError: a hundred examples in a row cannot be read.
        """
        return self.inputs(self.readable(indices))

    def readable(self, indices: Sequence[int]) -> list[tuple[Caption, Image.Image]]:
        """The examples of a batch, decoded; errors as in :meth:`batch`."""
        return [self._readable(index) for index in indices]

    def _readable(self, first: int) -> tuple[Caption, Image.Image]:
        for index in range(first, first + _STAND_INS):
            if (found := self._read(index % len(self))) is not None:
                return found
        raise UserError(f"{_STAND_INS} examples in a row, from number {first} on, have no readable picture")

    def inputs(self, read: Sequence[tuple[Caption, Image.Image]]) -> Inputs:
        """Texts and pixels of decoded examples."""
        captions = [caption for caption, _ in read]
        return Inputs(
            text=tokens(self.texts(captions), np.arange(len(read))),
            images=Images(pixels=self.preparation([picture for _, picture in read])),
        )

    def whole(self) -> list[int]:
        """The examples whose pictures can be read; every one is decoded, the others are counted."""
        return [index for index in range(len(self)) if self._read(index) is not None]

    def _read(self, index: int) -> tuple[Caption, Image.Image] | None:
        """An example, decoded; None where it cannot be read."""
        if self.unreadable[index]:
            return None
        try:
            return self._decoded(index)
        except UserError as error:
            if not self.skipped:
                notice(f"skipped, as all examples that cannot be read: {error}")
            self.unreadable[index] = True
            return None

    def _decoded(self, index: int) -> tuple[Caption, Image.Image]:
        content, name = self.shards.picture(index)
        return self.shards.caption(index), Image.fromarray(decode_picture(content, name))

    def _fault(self, index: int) -> tuple[str, str]:
        """The name of an unreadable example, and what is wrong with it."""
        name = ""
        try:
            name = self.shards.picture(index)[1]
            self._decoded(index)
        except UserError as error:
            said = str(error).removeprefix("picture ")
            name = name or said.partition(_UNREADABLE)[0]
            return name, said.removeprefix(name).strip()
        return name, "could not be read at first"

    def texts(self, captions: Sequence[Caption]) -> Packed:
        """Ids of texts, with their facts where these are injected."""
        examples = [TextExample(str(place), (one.text,), one.language) for place, one in enumerate(captions)]
        return self.encoding.texts(examples).texts


@dataclass(frozen=True, eq=False)
class TrainingPairs:
    """Examples with what the retrieval task says of each of them."""

    pairs: ImageTextSource

    def __len__(self) -> int:
        return len(self.pairs)

    def length(self, index: int) -> int:
        """The same for all."""
        return self.pairs.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> PairBatch:
        """As :meth:`ImageTextSource.batch`."""
        read = self.pairs.readable(indices)
        return PairBatch(self.pairs.inputs(read), tuple(_captioned(caption) for caption, _ in read))


@dataclass(frozen=True, eq=False)
class NumberedPictures:
    """Pictures of the examples of some numbers."""

    pairs: ImageTextSource
    numbers: tuple[int, ...]

    def images(self, numbers: IntArray, generator: torch.Generator | None = None) -> Inputs:
        """The pixels of these pictures; nothing is drawn."""
        read = self.pairs.readable([self.numbers[number] for number in numbers])
        return Inputs(images=Images(pixels=self.pairs.preparation([picture for _, picture in read])))


def _captioned(caption: Caption) -> Captioned:
    return Captioned(caption.id, caption.language, f"image-{caption.id}")


def _searched(pairs: ImageTextSource) -> PairSource:
    """The examples that can be read as captions and images that are searched among each other."""
    numbers = pairs.whole()
    captions = [pairs.shards.caption(number) for number in numbers]
    return PairSource(
        texts=pairs.texts(captions),
        provider=NumberedPictures(pairs, tuple(numbers)),
        captions=tuple(_captioned(one) for one in captions),
        image_of=np.arange(len(numbers)),
        pools=np.zeros(len(numbers), dtype=np.int64),
    )


def retrieval(data: ImageTextFiles, request: DataRequest) -> PreparedData:
    """Contrast in training; in evaluation, retrieval among all pictures of the split that can be read."""
    encoding, pairs = _opened(data, request)
    published = dict(request.recipe.objective_arguments.get(ImageTextContrastive.name, {}))

    def source(split: str) -> TrainingPairs | PairSource:
        return TrainingPairs(pairs(split)) if split == "train" else _searched(pairs(split))

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: ContrastiveRetrieval(system, objective=ImageTextContrastive(**published)),
        sizes={"vocab_size": len(encoding.tokenizer), "image_size": data.image_size},
        fingerprints=data.fingerprints,
        knowledge_forms=frozenset() if encoding.injector is None else frozenset({BRANCHES}),
        encoding=encoding,
        skipped=lambda split: pairs(split).skips(),
    )


def _opened(data: ImageTextFiles, request: DataRequest) -> tuple[TextEncoding, Callable[[str], ImageTextSource]]:
    """How texts are encoded, and the examples of a split, opened once."""
    encoding = data.text_encoding(request)
    published = request.recipe.published_sizes()
    preparation = ImagePreparation(
        data.image_size,
        mean=published.get("image_mean", CLIP_MEAN),
        std=published.get("image_std", CLIP_STD),
        interpolation=published.get("interpolation", "bicubic"),
        resize_mode=published.get("resize_mode", "shortest"),
    )
    return encoding, cache(lambda split: ImageTextSource(data.shards(split), encoding, preparation))


def pretraining(data: ImageTextFiles, request: DataRequest) -> PreparedData:
    """Pairs of a text and a picture."""
    encoding, pairs = _opened(data, request)
    tokenizer = encoding.tokenizer
    has = dict.fromkeys((TEXTS, *((LANGUAGE_IDS,) if data.languages else ())))
    if "images" in request.recipe.reads:
        has[IMAGES] = None
    objectives = request.built_objectives(Offers(data.name, has), tokenizer)

    def source(split: str) -> ObjectiveSource:
        return ObjectiveSource(pairs(split), Objectives(objectives))

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: Mixture(system, objectives, request.objectives),
        sizes={"vocab_size": len(tokenizer), "image_size": data.image_size},
        heads=heads_of(objectives),
        fingerprints=data.fingerprints,
        knowledge_forms=frozenset() if encoding.injector is None else frozenset({BRANCHES}),
        encoding=encoding,
        skipped=lambda split: pairs(split).skips(),
    )


RETRIEVAL_SUPPLY = TaskDataset(ContrastiveRetrieval, ImageTextFiles, retrieval)
PRETRAINING_SUPPLY = TaskDataset(None, ImageTextFiles, pretraining)
