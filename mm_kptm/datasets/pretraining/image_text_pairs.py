"""Image-text pretraining data: captions of images, optional questions, and stored region features."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from mm_kptm.data.formats.captions import Described
from mm_kptm.data.formats.jsonl import AskedImage, read_retrieval, read_vqa
from mm_kptm.datasets.pretraining.image_text_inputs import ImageTextInputs
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import RegionFiles, check_mask_rate, fingerprints
from mm_kptm.datasets.skips import Skips
from mm_kptm.datasets.stored_regions import region_sizes
from mm_kptm.errors import UserError
from mm_kptm.io.collected import OneByOne
from mm_kptm.objectives.mixture import Mixture, MixtureBatch, Objective, Objectives
from mm_kptm.systems.labels import name_labels
from mm_kptm.systems.system import System
from mm_kptm.tasks.pretraining import ObjectiveSource, SourcesOfObjectives, heads_of
from mm_kptm.train.protocol import Source
from mm_kptm.vision.objectives.answer_pretraining import QuestionAnswering
from mm_kptm.vision.objectives.image_text_contrast import IMAGES
from mm_kptm.vision.objectives.random_pixel_sampling import RandomPixelSampling

NO_REGIONS = "is an image of which the store has no regions"


@dataclass(frozen=True, kw_only=True)
class ImageTextPairs(RegionFiles):
    """Lines of JSON, each an image and its captions; questions beside them where an objective answers some."""

    name: Literal["image-text-pairs"]
    max_length: int = 60  #: pieces of a text that are read, special ones included
    questions: Path | None = None  #: training questions with answers, as own data of VQA; texts like captions
    dev_questions: Path | None = None  #: the same for dev
    tags: bool = False  #: whether the names of an image's objects stand behind every text about it, as Oscar reads them
    caption_pairs: bool = False  #: whether another caption of the image stands behind each, as VisualBERT reads two
    class_names: Path | None = None  #: names of the detector's classes but the background, one a line, in their order
    translated: Path | None = None  #: training captions beside their translations, with the words that are aligned
    dev_translated: Path | None = None  #: the same for dev
    switch: Path | None = None  #: translations of words by language, into which words of captions are switched (M3P)
    switch_rate: float | None = None  #: share of the words that are switched; null: one word a caption
    texts: Path | None = None  #: training texts without images, a sentence a line, a blank line between documents
    dev_texts: Path | None = None  #: the same for dev
    texts_length: int = 64  #: pieces of such a text, as in VL-BERT
    token_store: Path | None = None
    """A folder for the tokenized texts, built on first use, which all processes map; null: in memory of each."""
    num_objects: int = 1600  #: classes of the detector, without a background; Visual Genome's unless given
    num_attributes: int = 400  #: its attributes
    mask_rate: float = 0.15  #: the share of tokens that is masked
    random_pixels: int | None = None  #: so many cells of an image's grid are seen, drawn anew; Pixel-BERT sees 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.random_pixels is not None and self.random_pixels < 1:
            raise UserError(f"data.random_pixels is {self.random_pixels} but must be 1 or more, or null for all cells")
        if self.texts_length < 1:
            raise UserError(f"data.texts_length is {self.texts_length} but must be 1 piece or more")
        check_mask_rate(self.mask_rate)
        second = {"tags": self.tags, "questions": self.questions is not None, "switch": self.switch is not None}
        if self.caption_pairs and (other := next((name for name, there in second.items() if there), None)):
            raise UserError(
                f"data.caption_pairs puts a second caption behind every text, which leaves no place for data.{other}; "
                "leave one of the two out"
            )

    def captions(self, split: str) -> Callable[[], Iterable[Described]]:
        """Reads the images of a split with their captions."""
        return partial(OneByOne(read_retrieval), self.files[split])

    @property
    def read_questions(self) -> Callable[[Path], Iterable[AskedImage]]:
        """Reads the questions of a file."""
        return OneByOne(read_vqa)

    @property
    def skips_missing(self) -> bool:
        """Whether images that the store lacks are left out, as where addresses of the web have died."""
        return False

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of the data and the settings that affect them."""
        parts = ("questions", "dev_questions", "class_names", "translated", "dev_translated", "switch", "texts")
        asked = {part: getattr(self, part) for part in (*parts, "dev_texts")}
        named = {name: path for name, path in asked.items() if path is not None}
        return {**super().fingerprints, **fingerprints(named)}


def pretraining(data: ImageTextPairs, request: DataRequest) -> PreparedData:
    """Captions with their images, in the order of the file."""
    tokenizer = data.tokenizer()
    pairs = ImageTextInputs(data, tokenizer, request)
    offers = pairs.offers
    if "regions" in request.recipe.reads:
        offers = replace(offers, has={**offers.has, IMAGES: None})
    plain = request.built_objectives(offers, tokenizer, data.mask_rate)
    objectives: dict[str, Objective] = dict(plain)
    if (count := data.random_pixels) is not None:
        objectives = {name: RandomPixelSampling(one, count=count) for name, one in plain.items()}

    def source(split: str) -> Source[MixtureBatch]:
        captions = pairs.source(split)
        own = {name: read for name, read in pairs.own_inputs.items() if name in objectives}
        if not own:
            return ObjectiveSource(captions, Objectives(objectives))
        inputs = dict.fromkeys(objectives, captions) | {name: read(split) for name, read in own.items()}
        return SourcesOfObjectives(inputs, objectives)

    def model(system: System) -> Mixture:
        if QuestionAnswering.name in system.heads and data.questions is not None:
            name_labels(system, {QuestionAnswering.name: pairs.answers})  # a task may start from them
        return Mixture(system, objectives, request.objectives)

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=model,
        sizes={"vocab_size": len(tokenizer), **region_sizes(pairs.store)},
        heads=heads_of(plain),
        fingerprints=data.fingerprints,
        skipped=lambda split: Skips({NO_REGIONS: pairs.skipped[split]} if pairs.skipped.get(split) else {}),
    )


PRETRAINING_SUPPLY = TaskDataset(None, ImageTextPairs, pretraining)
