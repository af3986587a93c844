"""Number World datasets for two images, entailment by an image, choices, rationales and phrases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from mm_kptm.data.packing import Packed
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.preprocessing.image_text import ImageTextLayout
from mm_kptm.preprocessing.inputs import InputSource, RegionCrops
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.datasets.image_texts import laid_out
from mm_kptm.suites.number_world.datasets.other_sources import seen
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.suites.number_world.generator import scene_statements as generator
from mm_kptm.suites.number_world.generator.language import vocabulary
from mm_kptm.suites.number_world.generator.scene import FEATURES, Scenes
from mm_kptm.suites.number_world.generator.scene_statements import Choosing
from mm_kptm.suites.number_world.generator.splits import SIDES_OF_A_SPLIT, Part
from mm_kptm.suites.number_world.generator.statements import VERDICTS
from mm_kptm.systems.system import System
from mm_kptm.systems.text_format import TextFormat
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.heads import Heads
from mm_kptm.tasks.labelling import LabelledSource
from mm_kptm.tasks.vision.multiple_choice import ChoiceSource, MultipleChoice
from mm_kptm.tasks.vision.nlvr2 import NLVR2, ImagePairSource
from mm_kptm.tasks.vision.nlvr2 import VERDICTS as TRUTHS
from mm_kptm.tasks.vision.phrase_grounding import PhraseGrounding, PhraseSource
from mm_kptm.tasks.vision.vcr import AFTER, ANSWER, RATIONALE, VCR
from mm_kptm.tasks.vision.visual_entailment import VisualEntailment
from mm_kptm.train.protocol import Source, Trainable


def nlvr2(data: NumberWorldData, request: DataRequest) -> PreparedData:
    """Do two scenes both show a number?"""

    def source(side: str) -> ImagePairSource:
        scenes, said = generator.pair_statements(*_asked(data, side, "pairs"), numbers=data.numbers)
        return ImagePairSource(
            texts=laid_out([((one.words,), one.language) for one in said], request.recipe.text),
            pictures=_pictures(data, side, scenes),
            left=np.array([one.left for one in said], dtype=np.int64),
            right=np.array([one.right for one in said], dtype=np.int64),
            truth=np.array([int(one.holds) for one in said], dtype=np.int64),
            about=tuple(
                Example(one.id, "pair", one.language, " ".join(one.words), TRUTHS[int(one.holds)]) for one in said
            ),
        )

    return _prepared(data, source, NLVR2, NLVR2.heads(request.recipe), lambda side: {"chance": 0.5})


def visual_entailment(data: NumberWorldData, request: DataRequest) -> PreparedData:
    """Does a scene entail a sentence about the colour of a number?"""

    def source(side: str) -> LabelledSource:
        scenes, said = generator.entailed(*_asked(data, side, "entailed"), numbers=data.numbers)
        texts = laid_out([((one.sentence.words,), one.language) for one in said], request.recipe.text)
        shown = InputSource(texts, _pictures(data, side, scenes), np.arange(len(said)))
        truth = Packed.of(labels=[[VERDICTS.index(one.verdict)] for one in said])
        about = [Example(one.id, one.verdict, one.language, f"scene-{one.scene}", one.verdict) for one in said]
        return LabelledSource(shown, VERDICTS, truth, tuple(about))

    heads = VisualEntailment.heads(request.recipe, len(VERDICTS))
    return _prepared(data, source, partial(VisualEntailment, labels=VERDICTS), heads, _majority(source))


def multiple_choice(data: NumberWorldData, request: DataRequest) -> PreparedData:
    """Which of a few answers is right?"""

    def source(side: str) -> ChoiceSource:
        scenes, asked = generator.choosing(*_asked(data, side, "choices"), numbers=data.numbers)
        return _choices(asked, _pictures(data, side, scenes), request.recipe.text)

    model = partial(MultipleChoice, segments=request.recipe.text.choice_segments)
    return _prepared(data, source, model, MultipleChoice.heads(request.recipe), _chance(source))


def vcr(data: NumberWorldData, request: DataRequest) -> PreparedData:
    """Which answer is right, and which sentence says why?"""

    def source(side: str) -> ChoiceSource:
        scenes, asked = generator.reasoned(*_asked(data, side, "rationales"), numbers=data.numbers)
        both = [
            (part, kind, part.question if kind == ANSWER else (*part.question, *answer.candidates[answer.right]))
            for answer, rationale in asked
            for part, kind in ((answer, ANSWER), (rationale, RATIONALE))
        ]
        examples = [
            Choosing(f"{part.id}{AFTER}{kind}", kind, part.language, part.scene, words, part.candidates, part.right)
            for part, kind, words in both
        ]
        return _choices(examples, _pictures(data, side, scenes), request.recipe.text)

    model = partial(VCR, segments=request.recipe.text.choice_segments)
    return _prepared(data, source, model, VCR.heads(request.recipe), _chance(source))


def phrase_grounding(data: NumberWorldData, request: DataRequest) -> PreparedData:
    """Which region does each phrase of a caption mean?"""

    def source(side: str) -> PhraseSource:
        scenes, said = generator.phrased(*_asked(data, side, "phrases"), numbers=data.numbers)
        pictures = _pictures(data, side, scenes)
        before, _ = ImageTextLayout(number_world.specials(), request.recipe.text).around()
        counts = pictures.lengths[[one.scene for one in said]].tolist()
        return PhraseSource(
            shown=InputSource(
                laid_out([((one.words,), one.language) for one in said], request.recipe.text),
                pictures,
                np.array([one.scene for one in said], dtype=np.int64),
            ),
            ends=Packed.of(ends=[[len(before) + end for end in one.ends] for one in said]),
            right=Packed.of(
                right=[
                    [int(region == row) for region in one.regions for row in range(count)]
                    for one, count in zip(said, counts, strict=True)
                ]
            ),
            about=tuple(Example(one.id, "caption", one.language, f"scene-{one.scene}", "phrases") for one in said),
            phrases=tuple(
                tuple(
                    Example(f"{one.id}-{at}", "phrase", one.language, f"scene-{one.scene}", str(region))
                    for at, region in enumerate(one.regions)
                )
                for one in said
            ),
        )

    def chance(side: str) -> Mapping[str, float]:
        regions = [len(own) for own in source(side).phrases]  # every region has its phrase
        return {"chance": len(regions) / sum(regions)}

    return _prepared(data, source, PhraseGrounding, _head(request, PhraseGrounding.HEADS), chance)


def _choices(asked: Sequence[Choosing], pictures: RegionCrops, format: TextFormat) -> ChoiceSource:
    counts = [len(one.candidates) for one in asked]
    texts = [((one.question, candidate), one.language) for one in asked for candidate in one.candidates]
    scenes = np.repeat(np.array([one.scene for one in asked], dtype=np.int64), counts)
    return ChoiceSource(
        shown=InputSource(laid_out(texts, format, segments=format.choice_segments), pictures, scenes),
        offsets=np.cumsum([0, *counts]),
        truth=np.array([one.right for one in asked], dtype=np.int64),
        about=tuple(Example(one.id, one.type, one.language, f"scene-{one.scene}", str(one.right)) for one in asked),
    )


def _asked(data: NumberWorldData, side: str, what: str) -> tuple[Part, int, RandomStream]:
    return data.side(side), data.count(side), data.draw(what, side)


def _pictures(data: NumberWorldData, side: str, scenes: Scenes) -> RegionCrops:
    return seen(scenes, data.vision, data.draw("shuffled crops", side))


def _head(request: DataRequest, names: tuple[str, ...]) -> Heads:
    return {name: {} for name in names if name in request.recipe.heads}


def _majority(source: Callable[[str], LabelledSource]) -> Callable[[str], Mapping[str, float]]:
    def score(side: str) -> Mapping[str, float]:
        usual = Counter(about.target for about in source("train").about).most_common(1)[0][0]
        targets = [about.target for about in source(side).about]
        return {"majority": targets.count(usual) / len(targets)}

    return score


def _chance(source: Callable[[str], ChoiceSource]) -> Callable[[str], Mapping[str, float]]:
    return lambda side: {"chance": float((1 / np.diff(source(side).offsets)).mean())}


def _prepared(
    data: NumberWorldData,
    source: Callable[[str], Source[Any]],
    model: Callable[[System], Trainable[Any]],
    heads: Heads,
    baselines: Callable[[str], Mapping[str, float]],
) -> PreparedData:
    return PreparedData(
        sources={side: partial(source, side) for side in SIDES_OF_A_SPLIT},
        model=model,
        sizes={"vocab_size": len(vocabulary()), "region_dim": FEATURES},
        heads=heads,
        fingerprints=data.fingerprints,
        baselines=baselines,
    )


NLVR2_SUPPLY = TaskDataset(NLVR2, NumberWorldData, nlvr2)
ENTAILMENT_SUPPLY = TaskDataset(VisualEntailment, NumberWorldData, visual_entailment)
CHOICE_SUPPLY = TaskDataset(MultipleChoice, NumberWorldData, multiple_choice)
VCR_SUPPLY = TaskDataset(VCR, NumberWorldData, vcr)
PHRASES_SUPPLY = TaskDataset(PhraseGrounding, NumberWorldData, phrase_grounding)
