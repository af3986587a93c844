"""Visual7W's questions with four answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

import numpy as np

from mm_kptm.data.formats.vision.visual7w import ChoiceQuestion, read_visual7w
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import ImageSettings, fingerprints
from mm_kptm.datasets.stored_regions import ImageStore
from mm_kptm.datasets.vision.sources import encoding_of, parts_about_images, sizes_of, stored
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.vision.multiple_choice import UNKNOWN, ChoiceSource, MultipleChoice


@dataclass(frozen=True, kw_only=True)
class Visual7wData(ImageSettings):
    """Visual7W's file of telling questions, which says the split of every image."""

    name: Literal["visual7w"]
    questions: Path  #: a file such as dataset_v7w_telling.json
    max_length: int = 60  #: pieces of question and answer that are read, special ones included
    each_choice: bool = False  #: whether every answer is judged by itself, as VL-BERT is trained


def choices(
    examples: Sequence[ChoiceQuestion], encoding: TextEncoding, store: ImageStore, *, segments: Sequence[int] = ()
) -> ChoiceSource:
    """Questions, each read with every one of its choices.

    Raises:
        UserError: the store lacks an image.
    """
    counts = [len(one.choices) for one in examples]
    said = [((one.question, choice), one.language) for one in examples for choice in one.choices]
    places = np.repeat(stored(store, [one.image for one in examples]), counts)
    return ChoiceSource(
        parts_about_images(encoding, store, said, places, segments=segments),
        np.cumsum([0, *counts]),
        np.array([UNKNOWN if one.answer is None else one.answer for one in examples], dtype=np.int64),
        tuple(
            Example(
                one.id, one.type, one.language, f"image-{one.image[0]}", "" if one.answer is None else str(one.answer)
            )
            for one in examples
        ),
    )


def multiple_choice(data: Visual7wData, request: DataRequest) -> PreparedData:
    """Questions about photographs with four answers each (Zhu et al. 2016)."""
    store, encoding = data.store(request), encoding_of(data, request.recipe)
    segments = request.recipe.text.choice_segments

    @cache
    def splits() -> Mapping[str, list[ChoiceQuestion]]:
        found: dict[str, list[ChoiceQuestion]] = {}
        for one in read_visual7w(data.questions):
            found.setdefault(one.split, []).append(one)
        return found

    def source(split: str) -> ChoiceSource:
        return choices(splits()[split], encoding, store, segments=segments)

    return PreparedData(
        sources={split: partial(source, split) for split in splits()},
        model=lambda system: MultipleChoice(system, each_choice=data.each_choice, segments=segments),
        sizes=sizes_of(encoding, store),
        heads=MultipleChoice.heads(request.recipe),
        fingerprints=fingerprints({"questions": data.questions, **data.tokenizer_files}),
        baselines=lambda split: {"chance": float(np.mean([1 / len(one.choices) for one in splits()[split]]))},
        read_file=lambda path: choices(read_visual7w(path), encoding, store, segments=segments),
    )


VISUAL7W_SUPPLY = TaskDataset(MultipleChoice, Visual7wData, multiple_choice, read_visual7w)
