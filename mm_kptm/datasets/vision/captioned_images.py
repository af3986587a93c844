"""Image files with their captions, for two towers: JSON lines, each an image and its captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from PIL import Image

from mm_kptm.batch import Images, Inputs
from mm_kptm.compression.objectives.image_similarity_distillation import (
    STORED_PICTURES,
    ImageSimilarityDistillation,
)
from mm_kptm.compression.objectives.similarity_distillation import WRITTEN_TEXTS, SimilarityDistillation
from mm_kptm.data.formats.captions import Described
from mm_kptm.data.formats.jsonl import read_retrieval
from mm_kptm.data.images.decoding import read_picture
from mm_kptm.data.images.folders import inside
from mm_kptm.datasets.knowledge_settings import counterfactual_splits
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import by_split
from mm_kptm.datasets.tower_texts import TowerTexts
from mm_kptm.errors import UserError
from mm_kptm.knowledge.kinds.protocol import BRANCHES
from mm_kptm.objectives.mixture import Mixture, Objective, Objectives
from mm_kptm.objectives.spec import LANGUAGE_IDS, TEXTS, Offers
from mm_kptm.preprocessing.inputs import IntArray
from mm_kptm.preprocessing.text import TextEncoding, TextExample
from mm_kptm.systems.system import System
from mm_kptm.tasks.pretraining import ObjectiveSource, heads_of
from mm_kptm.tasks.vision.contrastive_retrieval import ContrastiveRetrieval, PairSource, PlainPairs
from mm_kptm.tasks.vision.retrieval import Captioned
from mm_kptm.vision.contrastive.preparation import CLIP_MEAN, CLIP_STD, ImagePreparation
from mm_kptm.vision.objectives.image_text_contrast import IMAGES, ImageTextContrastive
from mm_kptm.vision.objectives.view_contrast import PICTURES


@dataclass(frozen=True, kw_only=True)
class CaptionedImages(TowerTexts):
    """Own image files with captions: JSON lines, each an image and its captions."""

    name: Literal["captioned-images"]
    pictures: Path  #: the folder that the names of images lead from
    max_length: int = 77  #: pieces of a text that are read, special ones included
    image_size: int = 224  #: side of the squares that the image tower reads
    least_area: float = 0.9  #: training reads random squares of at least this share of the largest; 1: the middle
    chunk_size: int | None = None  #: pairs that the towers read at a time, so that large batches fit; all when null
    candidate_pool_size: int | None = None  #: images that retrieval searches at a time; all of the split when null

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.least_area <= 1:
            raise UserError(f"data.least_area is {self.least_area} but must be a share above 0, at most 1")
        if self.image_size < 1 or (self.candidate_pool_size is not None and self.candidate_pool_size < 2):
            raise UserError(
                f"data.image_size is {self.image_size} and data.candidate_pool_size {self.candidate_pool_size}, but "
                "pictures have a side of 1 pixel at least and a pool has 2 images"
            )


@dataclass(frozen=True)
class PictureFiles:
    """Image files by number, decoded when they are asked for.

    Args:
        folder: where they lie.
        names: of every image.
        preparation: None: squares with values in [0, 1], as views are drawn from.
        size: side of the squares.
        least_area: smallest random square, as a share of the largest one.
    """

    folder: Path
    names: tuple[str, ...]
    preparation: ImagePreparation | None
    size: int
    least_area: float

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> Image.Image:
        """The image of this number as it is stored; ``UserError`` as :meth:`images`."""
        if not 0 <= number < len(self):
            raise IndexError(f"there are {len(self)} images, but number {number} was asked for")
        return Image.fromarray(read_picture(inside(self.folder, self.names[number])))

    def images(self, numbers: IntArray, generator: torch.Generator | None = None) -> Inputs:
        """The images of these numbers as pixels.

        Raises:
            UserError: a file is missing or no picture, or its name leads out of the folder.
        """
        pictures = [self[number] for number in numbers]
        if generator is not None and self.least_area < 1:
            pictures = [self._cropped(picture, generator) for picture in pictures]
        prepare = self.preparation or ImagePreparation(self.size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        return Inputs(images=Images(pixels=prepare(pictures)))

    def _cropped(self, picture: Image.Image, generator: torch.Generator) -> Image.Image:
        """A random square (Radford et al. 2021, section 2.4)."""
        area, x, y = torch.rand(3, generator=generator).tolist()
        side = max(1, round(min(picture.size) * (self.least_area + (1 - self.least_area) * area) ** 0.5))
        left, top = int(x * (picture.width - side + 1)), int(y * (picture.height - side + 1))
        return picture.crop((left, top, left + side, top + side))


@dataclass(frozen=True)
class Pictures:
    """Every image of a source once, without its captions."""

    pairs: PairSource

    def __len__(self) -> int:
        return len(self._numbers)

    def length(self, index: int) -> int:
        """The same for all."""
        return 1

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The given images."""
        return self.pairs.provider.images(self._numbers[list(indices)])

    @property
    def _numbers(self) -> IntArray:
        return np.unique(self.pairs.image_of)


def retrieval(data: CaptionedImages, request: DataRequest) -> PreparedData:
    """Contrast in training, retrieval in evaluation."""

    def model(system: System) -> ContrastiveRetrieval:
        name = ImageTextContrastive.name
        published = dict(request.recipe.objective_arguments.get(name, {}))
        return ContrastiveRetrieval(system, objective=_contrast(data, published))

    prepared = _prepared(data, request)
    return PreparedData(**{**vars(prepared), "model": model})


def pretraining(data: CaptionedImages, request: DataRequest) -> PreparedData:
    """Pairs, or pictures alone where an objective draws views of them."""
    tokenizer = data.tokenizer()
    has: dict[str, Any] = dict.fromkeys((TEXTS, *((LANGUAGE_IDS,) if data.languages else ())))
    if "images" in request.recipe.reads:
        has |= {IMAGES: None, PICTURES: None, **_of_training(data)}
    contrast = {ImageTextContrastive.name: lambda context: _contrast(data, context.arguments)}
    objectives = request.built_objectives(Offers(data.name, has, variants=contrast), tokenizer)
    views = "text" not in request.recipe.reads
    prepared = _prepared(data, request, raw=views)

    def source(split: str) -> ObjectiveSource:
        pairs = cast(PairSource, prepared.sources[split]())
        return ObjectiveSource(Pictures(pairs) if views else PlainPairs(pairs), Objectives(objectives))

    return PreparedData(
        **{
            **vars(prepared),
            "sources": {split: partial(source, split) for split in prepared.sources},
            "model": lambda system: Mixture(system, objectives, request.objectives),
            "heads": heads_of(objectives),
        }
    )


def _contrast(data: CaptionedImages, arguments: Mapping[str, Any]) -> Objective:
    return ImageTextContrastive(**{**arguments, "chunk_size": data.chunk_size})


def _prepared(data: CaptionedImages, request: DataRequest, *, raw: bool = False) -> PreparedData:
    encoding = data.text_encoding(request)
    published = request.recipe.published_sizes()
    preparation = ImagePreparation(
        data.image_size,
        mean=published.get("image_mean", CLIP_MEAN),
        std=published.get("image_std", CLIP_STD),
        interpolation=published.get("interpolation", "bicubic"),
        resize_mode=published.get("resize_mode", "shortest"),
    )
    read = partial(_pairs, data=data, preparation=None if raw else preparation)
    examples = by_split(data.files, read_retrieval)
    splits = counterfactual_splits(data.files, request, oracle=False)

    def source(split: str) -> PairSource:
        file, facts = splits[split]
        return read(examples(file), encoding=replace(encoding, facts=facts), crops=split == "train")

    return PreparedData(
        sources={split: partial(source, split) for split in splits},
        model=ContrastiveRetrieval,
        sizes={"vocab_size": len(encoding.tokenizer), "image_size": data.image_size},
        fingerprints=data.fingerprints,
        knowledge_forms=frozenset() if encoding.injector is None else frozenset({BRANCHES}),
        encoding=encoding,
        labels=_of_training(data),
        read_file=lambda path: read(read_retrieval(path), encoding=encoding, crops=False),
    )


def _pairs(
    described: Sequence[Described],
    *,
    data: CaptionedImages,
    encoding: TextEncoding,
    preparation: ImagePreparation | None,
    crops: bool,
) -> PairSource:
    said = [(image, id_, text, one.language) for image, one in enumerate(described) for id_, text in one.captions]
    size = data.candidate_pool_size or len(described)
    last = max(len(described) // size - 1, 0) if size else 0
    names = tuple(one.names[0] for one in described)
    image_of = np.array([image for image, *_ in said], dtype=np.int64)
    numbers = {
        SimilarityDistillation.name: np.arange(len(said), dtype=np.int64),
        ImageSimilarityDistillation.name: image_of,
    }
    return PairSource(
        texts=encoding.texts([TextExample(id_, (text,), language) for _, id_, text, language in said]).texts,
        provider=PictureFiles(data.pictures, names, preparation, data.image_size, data.least_area),
        captions=tuple(Captioned(id_, language, f"image-{names[image]}") for image, id_, _, language in said),
        image_of=image_of,
        pools=np.array([min(image // size, last) for image, *_ in said], dtype=np.int64),
        crops=crops,
        labels=numbers if crops else {},
    )


def _of_training(data: CaptionedImages) -> dict[str, Callable[[], Any] | None]:
    """What teachers read, by need."""
    return {
        WRITTEN_TEXTS: lambda: partial(_training_captions, data),
        STORED_PICTURES: lambda: partial(_training_pictures, data),
    }


def _training_captions(data: CaptionedImages) -> list[str]:
    """The captions in the order of the source of training."""
    return [text for one in read_retrieval(data.files["train"]) for _, text in one.captions]


def _training_pictures(data: CaptionedImages) -> PictureFiles:
    """The pictures in the order of the source of training."""
    names = tuple(one.names[0] for one in read_retrieval(data.files["train"]))
    return PictureFiles(data.pictures, names, None, data.image_size, 1)


RETRIEVAL_SUPPLY = TaskDataset(ContrastiveRetrieval, CaptionedImages, retrieval, read_retrieval)
PRETRAINING_SUPPLY = TaskDataset(None, CaptionedImages, pretraining)
