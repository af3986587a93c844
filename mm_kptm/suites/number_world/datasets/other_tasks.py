"""Number World datasets for retrieval, grounding, entailment, entity typing and relation classification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache, partial

from mm_kptm.datasets.illustration import Illustration
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.suites.number_world.datasets import other_sources as texts
from mm_kptm.suites.number_world.datasets.illustrations import illustrated_scene
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.suites.number_world.generator import captions, statements
from mm_kptm.suites.number_world.generator.language import vocabulary
from mm_kptm.suites.number_world.generator.scene import FEATURES, Scenes
from mm_kptm.suites.number_world.generator.splits import SIDES_OF_A_SPLIT
from mm_kptm.tasks.heads import requested_heads
from mm_kptm.tasks.knowledge.entity_typing import EntityTyping
from mm_kptm.tasks.knowledge.relation_classification import RelationClassification
from mm_kptm.tasks.labelling import LabelledSource, Labelling
from mm_kptm.tasks.text.entailment import Entailment
from mm_kptm.tasks.vision.grounding import ExpressionSource, Grounding
from mm_kptm.tasks.vision.retrieval import CaptionSource, Retrieval, choice


def retrieval(data: NumberWorldData, request: DataRequest) -> PreparedData:
    """Image-text retrieval: one caption per scene, with hard negatives of every caption."""

    @cache
    def generated(side: str) -> tuple[Scenes, tuple[captions.Caption, ...]]:
        part = data.side(side)
        return captions.captions(
            part, data.count(side), data.draw("retrieval", side), numbers=data.numbers, languages=part.languages
        )

    def source(side: str) -> CaptionSource:
        part = data.side(side)
        scenes, described = generated(side)
        pictures = texts.seen(scenes, data.vision, data.draw("shuffled crops", side))
        return texts.captions(pictures, described, part.languages, pool=data.candidate_pool_size)

    return PreparedData(
        sources={side: partial(source, side) for side in SIDES_OF_A_SPLIT},
        model=partial(Retrieval, criterion=choice, ranking=data.ranking),
        sizes={"vocab_size": len(vocabulary()), "region_dim": FEATURES},
        heads=requested_heads(request.recipe, Retrieval.HEADS),
        fingerprints=data.fingerprints,
        baselines=lambda side: {
            "chance-recall@1": 1 / min(data.candidate_pool_size, data.count(side)),
            "chance-near-miss": 0.5,
        },
        illustrate=_scenes_of(data, generated),
    )


def grounding(data: NumberWorldData, request: DataRequest) -> PreparedData:
    """Grounding of expressions that refer to one number of a scene."""

    @cache
    def generated(side: str) -> tuple[Scenes, tuple[captions.Referring, ...]]:
        return captions.referring(data.side(side), data.count(side), data.draw("referring", side), numbers=data.numbers)

    def source(side: str) -> ExpressionSource:
        scenes, pointed = generated(side)
        return texts.expressions(texts.seen(scenes, data.vision, data.draw("shuffled crops", side)), pointed)

    def chance(side: str) -> Mapping[str, float]:
        lengths = source(side).right.lengths
        return {"chance": float((1 / lengths).mean())}

    return PreparedData(
        sources={side: partial(source, side) for side in SIDES_OF_A_SPLIT},
        model=Grounding,
        sizes={"vocab_size": len(vocabulary()), "region_dim": FEATURES},
        heads=requested_heads(request.recipe, Grounding.HEADS),
        fingerprints=data.fingerprints,
        baselines=chance,
        illustrate=_scenes_of(data, generated),
    )


def _scenes_of(
    data: NumberWorldData,
    generated: Callable[[str], tuple[Scenes, tuple[captions.Caption, ...] | tuple[captions.Referring, ...]]],
) -> Callable[[str, int], Illustration] | None:
    """The scene of every text, where the model sees it."""

    def illustrate(side: str, index: int) -> Illustration:
        scenes, said = generated(side)
        return illustrated_scene(scenes, said[index].scene, data.languages[0])

    return illustrate if data.vision == "true" else None


def entailment(data: NumberWorldData, request: DataRequest) -> PreparedData:
    """Natural language inference about the positions and sizes of two numbers."""

    def source(side: str) -> LabelledSource:
        part, draw = data.side(side), data.draw("entailment", side)
        return texts.entailment(statements.entailment(part, data.count(side), draw, numbers=data.numbers))

    return _labelling(Entailment, statements.VERDICTS, data, request, source)


def entity_typing(data: NumberWorldData, request: DataRequest) -> PreparedData:
    """Entity typing of numbers mentioned in sentences."""
    worlds = data.worlds

    def source(side: str) -> LabelledSource:
        return texts.typing(statements.typing(data.side(side), data.count(side), data.draw("typing", side), worlds))

    return _labelling(EntityTyping, statements.ENTITY_TYPES, data, request, source)


def relation_classification(data: NumberWorldData, request: DataRequest) -> PreparedData:
    """Classification of the relation that a sentence states about a number."""
    worlds = data.worlds

    def source(side: str) -> LabelledSource:
        return texts.related(statements.related(data.side(side), data.count(side), data.draw("related", side), worlds))

    return _labelling(RelationClassification, statements.STATED_RELATIONS, data, request, source)


def _labelling(
    task: type[Labelling],
    labels: tuple[str, ...],
    data: NumberWorldData,
    request: DataRequest,
    source: Callable[[str], LabelledSource],
) -> PreparedData:
    def majority(side: str) -> Mapping[str, float]:
        usual = Counter(about.target for about in source("train").about).most_common(1)[0][0]
        targets = [about.target for about in source(side).about]
        return {"majority": targets.count(usual) / len(targets)}

    return PreparedData(
        sources={side: partial(source, side) for side in SIDES_OF_A_SPLIT},
        model=lambda system: task(system, labels),
        sizes={"vocab_size": len(vocabulary())},
        heads=task.heads(request.recipe, len(labels)),
        fingerprints=data.fingerprints,
        baselines=majority,
    )


RETRIEVAL_SUPPLY = TaskDataset(Retrieval, NumberWorldData, retrieval)
GROUNDING_SUPPLY = TaskDataset(Grounding, NumberWorldData, grounding)
ENTAILMENT_SUPPLY = TaskDataset(Entailment, NumberWorldData, entailment)
TYPING_SUPPLY = TaskDataset(EntityTyping, NumberWorldData, entity_typing)
RELATION_SUPPLY = TaskDataset(RelationClassification, NumberWorldData, relation_classification)
