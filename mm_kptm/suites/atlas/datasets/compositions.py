"""Questions about drawings that Unicode composes of a person and a thing: who is in the picture, what do they have?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from numpy.typing import NDArray

from mm_kptm.data.packing import Packed
from mm_kptm.datasets.illustration import Illustration
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.preprocessing.image_text import ImageTextLayout
from mm_kptm.preprocessing.inputs import InputSource, RegionCrops
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.random_streams import RandomStream, pick
from mm_kptm.suites.atlas.data.drawings import SIZE, Pixels
from mm_kptm.suites.atlas.datasets.composition_settings import SPLITS, AtlasCompositionsData, Composition
from mm_kptm.suites.atlas.datasets.controls import drawn_small
from mm_kptm.suites.atlas.datasets.drawings import changed
from mm_kptm.suites.atlas.datasets.picture_wording import PICTURE_QUESTIONS, WHAT
from mm_kptm.systems.recipe import Recipe
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.vision.vqa import VQA, QuestionSource, one_answer

GRID = 4  #: regions along a side of a drawing
PATCH = SIZE // GRID  #: side of a region in pixels
REGIONS = GRID * GRID + 1  #: of a drawing: its parts, and the whole in as few pixels
FEATURES = PATCH * PATCH * 3


@dataclass(frozen=True)
class Asked:
    """A question in one language about one variant of a drawing."""

    about: Composition
    language: str
    style: str
    variant: int = 0


def asked_of(data: AtlasCompositionsData, split: str) -> list[Asked]:
    """Questions of a split: drawn at random in training, each one in every language otherwise."""
    chosen, styles = data.asked(split)
    if split != "train":
        return [Asked(one, language, style) for style in styles for language in data.languages for one in chosen]
    kinds = defaultdict(list)
    for one in chosen:
        kinds[one.kind].append(one)
    order = sorted(kinds)
    rolls = RandomStream(data.seed, "compositions").words(data.questions, 5).tolist()
    found = []
    for kind, which, language, style, variant in rolls:
        of_kind = kinds[order[pick(kind, len(order))]]
        found.append(
            Asked(
                of_kind[pick(which, len(of_kind))],
                data.languages[pick(language, len(data.languages))],
                styles[pick(style, len(styles))],
                pick(variant, data.variants),
            )
        )
    return found


def composed_vqa(data: AtlasCompositionsData, request: DataRequest) -> PreparedData:
    """Who is in a drawing, and what they have; training sees the things alone as well."""

    def named(split: str) -> str:
        return {"train": "train", "dev": "iid", "test": data.split}.get(split, split.removeprefix("test-"))

    @cache
    def asked(split: str) -> tuple[Asked, ...]:
        return tuple(asked_of(data, split))

    def source(split: str) -> QuestionSource:
        return _questions(data, asked(named(split)), request.recipe, variants=data.variants if split == "train" else 1)

    def illustrate(split: str, index: int) -> Illustration:
        one = asked(named(split))[index]
        names = data.atlas.names[one.language]
        pixels = data.atlas.pixels(one.style)[data.atlas.place(one.style)[one.about.concept.code]]
        return Illustration(
            question=PICTURE_QUESTIONS[one.language][one.about.kind],
            pixels=pixels.repeat(4, axis=0).repeat(4, axis=1),
            wording=lambda code: names[data.atlas.index[code]],
        )

    return PreparedData(
        sources={
            split: partial(source, split) for split in ("train", "dev", "test", *(f"test-{one}" for one in SPLITS))
        },
        model=lambda system: VQA(system, data.answers, criterion=one_answer),
        sizes={"vocab_size": len(data.tokenizer()), "region_dim": FEATURES},
        heads=VQA.heads(request.recipe, len(data.answers)),
        fingerprints=data.fingerprints,
        baselines=lambda split: {} if split == "train" else composition_controls(data, named(split)),
        illustrate=illustrate,
    )


def regions_of(drawings: Pixels) -> NDArray[np.uint8]:
    """Each drawing as GRID x GRID regions, row by row, and as a whole in as few pixels, [N * REGIONS, FEATURES]."""
    count = len(drawings)
    apart = drawings.reshape(count, GRID, PATCH, GRID, PATCH, 3).swapaxes(2, 3).reshape(count, -1, FEATURES)
    means = drawings.reshape(count, PATCH, GRID, PATCH, GRID, 3).mean(axis=(2, 4)).round().astype(np.uint8)
    return np.concatenate([apart, means.reshape(count, 1, FEATURES)], axis=1).reshape(-1, FEATURES)


def region_boxes(count: int) -> NDArray[np.float32]:
    """The boxes of the regions of ``count`` drawings, [count * REGIONS, 4]."""
    corners = [(column / GRID, row / GRID) for row in range(GRID) for column in range(GRID)]
    boxes = np.array([*((x, y, x + 1 / GRID, y + 1 / GRID) for x, y in corners), (0, 0, 1, 1)], np.float32)
    return np.tile(boxes, (count, 1))


def composition_controls(data: AtlasCompositionsData, split: str) -> dict[str, float]:
    """Accuracy of rules that are learnt by counting.

    ``chance``: of all answers to that kind of question; ``majority``: the usual answer; ``question-only``: the usual
    one to the kind of question; ``picture-only``: the usual one to the drawing, whatever is asked; ``pixel-nearest``:
    the answer to the same question about the training drawing that differs least, pixel by pixel.
    """
    train, test = data.asked("train")[0], data.asked(split)[0]
    kinds = defaultdict(set)
    for one in data.compositions:
        if one.kind != WHAT:
            kinds[one.kind].add(one.answer)
    return {
        "chance": float(np.mean([1 / len(kinds[one.kind]) for one in test])),
        "majority": _usual(train, test, lambda one: None),
        "question-only": _usual(train, test, lambda one: one.kind),
        "picture-only": _usual(train, test, lambda one: one.concept.code),
        "pixel-nearest": _nearest(data, train, test, data.asked(split)[1][0]),
    }


def _usual(train: Sequence[Composition], test: Sequence[Composition], key: Callable[[Composition], Hashable]) -> float:
    counts: defaultdict[Hashable, Counter[str]] = defaultdict(Counter)
    for one in train:
        if one.kind != WHAT:
            counts[key(one)][one.answer] += 1
    best = {seen: min(counter, key=lambda code: (-counter[code], code)) for seen, counter in counts.items()}
    return float(np.mean([best.get(key(one)) == one.answer for one in test]))


def _nearest(
    data: AtlasCompositionsData, train: Sequence[Composition], test: Sequence[Composition], style: str
) -> float:
    right = []
    for kind in sorted({one.kind for one in test}):
        known = [(one, hand) for one in train if one.kind == kind for hand in data.styles]
        rows = np.concatenate([drawn_small(data.atlas, hand, [one.concept.code]) for one, hand in known])
        for one in test:
            if one.kind == kind:
                nearest = int(np.abs(rows - drawn_small(data.atlas, style, [one.concept.code])).mean(axis=1).argmin())
                right.append(known[nearest][0].answer == one.answer)
    return float(np.mean(right))


def _questions(data: AtlasCompositionsData, asked: Sequence[Asked], recipe: Recipe, *, variants: int) -> QuestionSource:
    drawn = sorted({(one.style, one.about.concept.code) for one in asked})
    places = {key: number for number, key in enumerate(drawn)}
    whole = np.stack([data.atlas.pixels(style)[data.atlas.place(style)[code]] for style, code in drawn])
    rows = [whole]
    values = torch.from_numpy(whole).permute(0, 3, 1, 2).float() / 255
    generator = torch.Generator().manual_seed(data.seed)
    for _ in range(variants - 1):
        rows.append((changed(values, generator) * 255).round().byte().permute(0, 2, 3, 1).numpy())
    drawings = np.stack(rows, axis=1).reshape(-1, *whole.shape[1:])
    offsets = np.arange(len(drawings) + 1, dtype=np.int64) * REGIONS
    crops = RegionCrops(regions_of(drawings), region_boxes(len(drawings)), offsets)
    shown = np.array([places[one.style, one.about.concept.code] * variants + one.variant for one in asked], np.int64)
    numbers = {code: number for number, code in enumerate(data.answers)}
    return QuestionSource(
        InputSource(_texts(data, asked, recipe), crops, shown),
        data.answers,
        Packed.of(answers=[[numbers[one.about.answer]] for one in asked], tenths=[[10]] * len(asked)),
        tuple(_about(number, one) for number, one in enumerate(asked)),
    )


def _texts(data: AtlasCompositionsData, asked: Sequence[Asked], recipe: Recipe) -> Packed:
    tokenizer = data.tokenizer()
    layout = ImageTextLayout(tokenizer.specials, recipe.text, asks=True)
    pieces = {
        (language, kind): tokenizer.encode(text, language).ids
        for language in data.languages
        for kind, text in PICTURE_QUESTIONS[language].items()
    }
    framings = [layout.cut(pieces[one.language, one.about.kind], max_length=data.max_length) for one in asked]
    return TextEncoding(tokenizer, data.max_length).pack(framings, [one.language for one in asked])


def _about(number: int, one: Asked) -> Example:
    return Example(
        id=f"composition-{number:05d}",
        type=one.about.kind,
        language=one.language,
        group=one.about.concept.family,
        target=one.about.answer,
    )


COMPOSED_VQA = TaskDataset(VQA, AtlasCompositionsData, composed_vqa)
