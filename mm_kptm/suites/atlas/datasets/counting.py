"""Counting: how many drawings of a concept, named in any language, stand in a scene of several.

Three concepts stand there in one to four copies each, and the question names one of them or, one time in five, another
one. So neither the number of drawings nor a repeated drawing tells the answer without the name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from mm_kptm.data.packing import Packed
from mm_kptm.datasets.illustration import Illustration
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.preprocessing.image_text import ImageTextLayout
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.random_streams import RandomStream, pick
from mm_kptm.suites.atlas.datasets.controls import nearest_concepts
from mm_kptm.suites.atlas.datasets.picture_wording import how_many
from mm_kptm.suites.atlas.datasets.scenes import (
    CELLS,
    FEATURES,
    Scene,
    in_order_of_frequency,
    num_scenes,
    of_different_families,
    scene_crops,
    scene_pixels,
    standardized,
)
from mm_kptm.suites.atlas.datasets.settings import AtlasData
from mm_kptm.suites.atlas.datasets.splits import SPLITS, split_side, train_concepts
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.vision.vqa import VQA, QuestionSource, one_answer
from mm_kptm.vision.objectives.grounding.region_grounding import MEANT_REGIONS, RegionGrounding

KINDS, MOST = 3, 4  #: concepts of a scene, and copies of each
ANSWERS = tuple(map(str, range(MOST + 1)))


@dataclass(frozen=True)
class Counted:
    """A scene and the concept that is counted in it.

    Args:
        scene: of drawings; its target is not used.
        concept: number of the asked concept.
        count: of its drawings.
    """

    scene: Scene
    concept: int
    count: int


def compose_counts(data: AtlasData, split: str, count: int, skew: int = 1) -> list[Counted]:
    """Draw scenes of three families in one to four copies each; one time in five the asked concept is of a fourth."""
    side = split_side(data, split)
    family = {number: data.atlas.concepts[number].family for number in side.concepts}
    by_frequency = in_order_of_frequency(data, side.concepts, skew)
    rolls = RandomStream(data.seed, "counts", split, count).words(count, 2 + KINDS + 3 * (KINDS + 1)).tolist()
    orders = RandomStream(data.seed, "count-cells", split, count).orders(count, CELLS * CELLS)
    found = []
    for roll, order in zip(rolls, orders, strict=True):
        *kinds, absent = of_different_families(roll[2 + KINDS :], by_frequency, family, skew, KINDS + 1)
        copies = [1 + pick(word, MOST) for word in roll[2 : 2 + len(kinds)]]
        shown = [concept for concept, many in zip(kinds, copies, strict=True) for _ in range(many)]
        asked, number = (absent, 0) if pick(roll[0], MOST + 1) == 0 else (kinds[0], copies[0])
        spoken = side.languages[pick(roll[1], len(side.languages))]
        if not data.atlas.names[spoken][asked]:
            spoken = data.languages[0]
        scene = Scene(tuple(shown), tuple(order[: len(shown)].tolist()), 0, spoken)
        found.append(Counted(scene, asked, number))
    return found


def counting(data: AtlasData, request: DataRequest) -> PreparedData:
    """How many drawings a name means in a scene."""
    tokenizer = data.tokenizer()
    layout = ImageTextLayout(tokenizer.specials, request.recipe.text, asks=True)
    encoding = TextEncoding(tokenizer, data.max_length)

    def named(split: str) -> str:
        return {"train": "iid", "test": data.split}.get(split, split.removeprefix("test-"))

    @cache
    def asked(split: str) -> tuple[Counted, ...]:
        skew = data.concept_skew if split == "train" else 1
        return tuple(compose_counts(data, named(split), num_scenes(data, split), skew))

    def question(one: Counted) -> str:
        return how_many(data.atlas.names[one.scene.language][one.concept], one.scene.language)

    def source(split: str) -> QuestionSource:
        shown = asked(split)
        crops = standardized(
            data, scene_crops(data, split_side(data, named(split)).style, [one.scene for one in shown])
        )
        pieces = [tokenizer.encode(question(one), one.scene.language).ids for one in shown]
        framings = [layout.cut(ids, max_length=data.max_length) for ids in pieces]
        return QuestionSource(
            InputSource(
                encoding.pack(framings, [one.scene.language for one in shown]),
                crops,
                np.arange(len(shown), dtype=np.int64),
                labels={RegionGrounding.name: meant_regions(shown)},
            ),
            ANSWERS,
            Packed.of(answers=[[one.count] for one in shown], tenths=[[10]] * len(shown)),
            tuple(_about(data, number, one) for number, one in enumerate(shown)),
        )

    def illustrate(split: str, index: int) -> Illustration:
        one = asked(split)[index]
        names = data.atlas.names[one.scene.language]
        return Illustration(
            question=question(one),
            pixels=scene_pixels(data, split_side(data, named(split)).style, one.scene),
            regions=tuple(names[concept] for concept in one.scene.concepts),
        )

    def baselines(split: str) -> dict[str, float]:
        return {} if split == "train" else count_controls(data, named(split), asked("train"), asked(split))

    tests = [f"test-{one}" for one in SPLITS if split_side(data, one).languages]
    return PreparedData(
        sources={split: partial(source, split) for split in ("train", "dev", "test", *tests)},
        model=lambda system: VQA(system, ANSWERS, criterion=one_answer),
        sizes={"vocab_size": len(tokenizer), "region_dim": FEATURES},
        heads=VQA.heads(request.recipe, len(ANSWERS)),
        fingerprints=data.fingerprints,
        baselines=baselines,
        labels={MEANT_REGIONS: None},
        illustrate=illustrate,
    )


def meant_regions(asked: Sequence[Counted]) -> NDArray[np.int64]:
    """1 for drawings of the asked concept, 0 for others, -1 behind the last one of a scene, [S, N]."""
    found = np.full((len(asked), KINDS * MOST), -1, np.int64)
    for row, one in zip(found, asked, strict=True):
        row[: len(one.scene.concepts)] = np.array(one.scene.concepts) == one.concept
    return found


def count_controls(data: AtlasData, split: str, train: Sequence[Counted], test: Sequence[Counted]) -> dict[str, float]:
    """Accuracy of rules that read a part of a question.

    ``chance``: of all numbers; ``majority``: the usual one; ``question-only``: the usual one for the asked concept;
    ``picture-only``: the usual one for the numbers of equal drawings in the scene; ``pixel-nearest``: how many drawings
    are nearest, pixel by pixel, to a drawing of the asked concept in training, where training shows it.
    """
    found = {
        "chance": 1 / len(ANSWERS),
        "majority": _usual(train, test, lambda one: None),
        "question-only": _usual(train, test, lambda one: one.concept),
        "picture-only": _usual(train, test, lambda one: tuple(sorted(Counter(one.scene.concepts).values()))),
    }
    side = split_side(data, split)
    if set(side.concepts) <= set(train_concepts(data)):
        nearest = nearest_concepts(data.atlas, side.style, side.concepts, data.styles)
        right = [sum(nearest[shown] == one.concept for shown in one.scene.concepts) == one.count for one in test]
        found["pixel-nearest"] = float(np.mean(right))
    return found


def _usual(train: Sequence[Counted], test: Sequence[Counted], key: Callable[[Counted], Hashable]) -> float:
    counts: defaultdict[Hashable, Counter[int]] = defaultdict(Counter)
    for one in train:
        counts[key(one)][one.count] += 1
        counts[None][one.count] += 1
    best = {seen: min(counter, key=lambda count: (-counter[count], count)) for seen, counter in counts.items()}
    return float(np.mean([best.get(key(one), best[None]) == one.count for one in test]))


def _about(data: AtlasData, number: int, one: Counted) -> Example:
    family = data.atlas.concepts[one.concept].family
    return Example(f"count-{number}", f"of-{len(one.scene.concepts)}", one.scene.language, family, str(one.count))


COUNTING = TaskDataset(VQA, AtlasData, counting)
