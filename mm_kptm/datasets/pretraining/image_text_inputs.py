"""What the files of image-text pretraining give to objectives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from mm_kptm.batch import Inputs
from mm_kptm.data.formats.vision.translated_captions import read_translated_captions
from mm_kptm.data.packing import Packed, PackedTexts
from mm_kptm.data.token_store import Tokenized
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.datasets.pretraining.caption_texts import (
    answer_classes,
    plain_texts,
    tags_of_images,
    texts_alone,
    tokenized_captions,
    usual_answer,
)
from mm_kptm.datasets.pretraining.document_segments import PlainTexts
from mm_kptm.datasets.pretraining.multilingual_captions import SwitchedCaptions, caption_pairs, read_translations
from mm_kptm.datasets.protocol import DataRequest
from mm_kptm.datasets.stored_regions import (
    CLASSES,
    DETECTED,
    ImageStore,
    detector_outputs,
    provider_of,
)
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines
from mm_kptm.objectives.spec import (
    LANGUAGE_IDS,
    REGION_FEATURES,
    REGIONS,
    TEXTS,
    Offers,
)
from mm_kptm.preprocessing.image_text import ImageTextLayout
from mm_kptm.preprocessing.inputs import MARK, InputSource, RegionProvider
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.preprocessing.tokenized_captions import ANSWER as OF_ANSWER
from mm_kptm.preprocessing.tokenized_captions import (
    IMAGE,
    LANGUAGE,
    WITHOUT_IMAGE,
    ImageTextTokenizer,
    TextsAboutImages,
)
from mm_kptm.train.protocol import Source
from mm_kptm.vision.features.store import RegionStore
from mm_kptm.vision.objectives.co_masking import TRANSLATED_CAPTIONS, VisualTranslationLanguageModeling
from mm_kptm.vision.objectives.lxmert import ANSWER, ANSWERS
from mm_kptm.vision.objectives.masked_objects import DETECTED_OBJECTS
from mm_kptm.vision.objectives.masked_regions import REGION_CLASSES
from mm_kptm.vision.objectives.part_contrast import CAPTION_PAIRS, OBJECT_TAGS
from mm_kptm.vision.objectives.region_words import REGION_NAMES
from mm_kptm.vision.objectives.vl_bert import TEXTS_WITHOUT_IMAGES, VlBertTexts

if TYPE_CHECKING:
    from mm_kptm.datasets.pretraining.image_text_pairs import ImageTextPairs

REMEDIES = {
    REGION_FEATURES: "pictures have none before the model reads them; give data.features, or leave the objective out",
    LANGUAGE_IDS: "name the languages of the encoder, in the order of their ids, as data.languages",
    REGION_CLASSES: f"give the folder of data.features a {CLASSES}.npy, the detector's distribution for every region",
    DETECTED_OBJECTS: f"give the folder of data.features {', '.join(f'{name}.npy' for name in DETECTED)}",
    REGION_NAMES: "name a file of the names of the detector's classes, one a line, as data.class_names",
    TRANSLATED_CAPTIONS: "name captions and their translations, a JSON object a line, as data.translated",
    TEXTS_WITHOUT_IMAGES: "name some, a sentence a line, as data.texts",
    CAPTION_PAIRS: "let data.caption_pairs be true, and give images of two captions or more",
    OBJECT_TAGS: "let data.tags be true, and give the folder of data.features object_names.npy and names.json",
    ANSWERS: "name questions and their answers, a JSON object a line, as data.questions",
}


@dataclass(frozen=True, eq=False)
class ImageTextInputs:
    """Files of the settings, each read on first use."""

    data: ImageTextPairs
    tokenizer: Tokenizer
    request: DataRequest
    skipped: dict[str, int] = field(default_factory=dict)  #: images that the store lacks, by split

    @cached_property
    def store(self) -> ImageStore:
        """The images by name, with what a detector said of them where that is stored."""
        return self.data.store(self.request)

    @cached_property
    def detections(self) -> Mapping[str, NDArray[np.generic]]:
        """What a detector said of every region, by column; nothing of pictures."""
        found = detector_outputs(self.store)
        return {} if found is None else found.columns

    @cached_property
    def provider(self) -> RegionProvider:
        """The regions of a batch, or its pictures."""
        return provider_of(self.store, detections=True)

    @cached_property
    def answers(self) -> tuple[str, ...]:
        """The usual answers of the training questions, in alphabetical order."""
        asked = () if self.data.questions is None else self.data.read_questions(self.data.questions)
        found = sorted({usual_answer(one.answers) for one in asked if one.answers})
        if len(found) < 2:
            raise UserError(
                f"{self.data.questions} has {len(found)} different answers; there must be two at least to choose from"
            )
        return tuple(found)

    @property
    def offers(self) -> Offers:
        """What these files offer to objectives."""
        has: dict[str, Callable[[], object] | None] = {TEXTS: None, REGIONS: None}
        if isinstance(self.store, RegionStore):
            has[REGION_FEATURES] = None
        if self.data.languages:
            has[LANGUAGE_IDS] = None
        columns = self.detections
        if CLASSES in columns:
            has[REGION_CLASSES] = lambda: int(columns[CLASSES].shape[1])
        if self.data.class_names is not None:
            has[REGION_NAMES] = self._names
        if all(name in columns for name in DETECTED):
            has[DETECTED_OBJECTS] = self._detected
        if self.data.tags:
            has[OBJECT_TAGS] = None
        if self.data.caption_pairs:
            has[CAPTION_PAIRS] = None
        if self.data.questions is not None:
            has[ANSWERS] = lambda: self.answers
        if self.data.translated is not None:
            has[TRANSLATED_CAPTIONS] = None
        if self.data.texts is not None:
            has[TEXTS_WITHOUT_IMAGES] = None
        return Offers(self.data.name, has, REMEDIES)

    def source(self, split: str) -> Source[Inputs]:
        """Every caption, and behind them every question, with its image.

        Raises:
            UserError: a file cannot be read, or the store lacks an image.
        """
        found = self._tokenized(split)
        of_texts = {"languages": found.of_sequences[LANGUAGE]} if self.data.languages else {}
        if self.data.questions is not None:
            of_texts[f"{MARK}{ANSWER}"] = found.of_sequences[OF_ANSWER]
        texts = PackedTexts(found.rows.offsets, found.rows.columns, of_texts)
        about = cast(NDArray[np.integer], found.of_sequences[IMAGE])
        shown = InputSource(texts, self.provider, about)
        if self.data.switch is None or split != "train":
            return shown
        return SwitchedCaptions(
            shown,
            texts_alone(self._read(split), self._files(split), folder=self._folder(f"{split}-texts")),
            self.tokenizer,
            self.data.max_length,
            read_translations(self.data.switch),
            word_rate=self.data.switch_rate,
        )

    @property
    def own_inputs(self) -> dict[str, Callable[[str], Source[Inputs]]]:
        """Inputs of objectives that read something else than captions, by split."""
        return {VisualTranslationLanguageModeling.name: self.translated, VlBertTexts.name: self.plain_texts}

    def translated(self, split: str) -> InputSource:
        """Captions beside their translations, with their images.

        Raises:
            UserError: the split has none, a file cannot be read, or the store lacks an image.
        """
        path = {"train": self.data.translated, "dev": self.data.dev_translated}.get(split)
        if path is None:
            raise UserError(
                f"{self.data.name} has no translated captions of {split}; name some as data.dev_translated, or leave "
                f"{VisualTranslationLanguageModeling.name} out"
            )
        examples = read_translated_captions(path)
        encoding = TextEncoding(self.tokenizer, self.data.max_length, self.data.languages)
        places = self.store.places_of(one.image for one in examples)
        return caption_pairs(examples, encoding, lambda texts: InputSource(texts.texts, self.provider, places))

    def plain_texts(self, split: str) -> PlainTexts:
        """Texts without images.

        Raises:
            UserError: the split has none, or the file cannot be read.
        """
        path = {"train": self.data.texts, "dev": self.data.dev_texts}.get(split)
        if path is None:
            raise UserError(
                f"{self.data.name} has no texts without images of {split}; name some as data.dev_texts, or leave "
                f"{VlBertTexts.name} out"
            )
        folder = self._folder(f"{split}-without-images")
        return plain_texts(self.data, self.tokenizer, path, max_length=self.data.texts_length, folder=folder)

    def _tokenized(self, split: str) -> Tokenized:
        """The texts of a split, out of the token store of the data if they have one.

        Raises:
            UserError: all images are missing where missing ones are left out.
        """
        data, items = self.data, self._read(split)
        layout = ImageTextLayout(self.tokenizer.specials, self.request.recipe.text)
        tokenize = ImageTextTokenizer(self.tokenizer, layout, data.max_length, data.languages, self._tags)
        found = tokenized_captions(data, items, tokenize, self._files(split), folder=self._folder(split))
        self.skipped[split] = found.dropped.get(WITHOUT_IMAGE, 0)
        if not len(found.rows) and data.caption_pairs:
            raise UserError("data.caption_pairs needs images of two captions or more, but every image has one")
        if not len(found.rows) and self.skipped[split]:
            names = next(iter(items.described())).names
            raise UserError(
                f"{self.store.folder} has regions of none of the {self.skipped[split]} images of {data.files[split]}; "
                f"they are looked for by names such as {', '.join(names[:2])}"
            )
        return found

    def _files(self, split: str) -> dict[str, Path]:
        """The files of the texts of a split."""
        asked = {"training questions": self.data.questions}  # answers are numbered by them
        if split == "dev":
            asked["questions"] = self.data.dev_questions
        return {"captions": self.data.files[split], **{name: path for name, path in asked.items() if path is not None}}

    def _folder(self, name: str) -> Path | None:
        return None if self.data.token_store is None else self.data.token_store / name

    def _read(self, split: str) -> TextsAboutImages:
        """The texts of a split before they are tokenized."""
        path = {"train": self.data.questions, "dev": self.data.dev_questions}.get(split)
        described = self.data.captions(split)
        if path is None:
            return TextsAboutImages(described, self.store, self.data.skips_missing, pairs=self.data.caption_pairs)
        asked = partial(self.data.read_questions, path)
        answers = answer_classes(asked(), self.answers)
        return TextsAboutImages(described, self.store, self.data.skips_missing, asked, answers)

    @cached_property
    def _tags(self) -> Packed | None:
        """The names of the objects of every image; None where they are not asked for."""
        return tags_of_images(self.store, self.tokenizer) if self.data.tags else None

    def _names(self) -> list[tuple[int, ...]]:
        """The tokens of the name of every class of the detector."""
        lines = numbered_lines(self.data.class_names) if self.data.class_names is not None else ()
        return [self.tokenizer.encode(name.strip()).ids for _, name in lines]

    def _detected(self) -> dict[str, int]:
        """The sizes of a head that names objects and attributes."""
        sizes = {"num_objects": self.data.num_objects, "num_attributes": self.data.num_attributes}
        for (size, count), column in zip(sizes.items(), DETECTED[::2], strict=True):
            ids = self.detections[column]
            if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < count:
                raise UserError(
                    f"{column}.npy holds numbers from {int(ids.min())} to {int(ids.max())}, but data.{size} is "
                    f"{count}; they count from 0, without a background"
                )
        return sizes
