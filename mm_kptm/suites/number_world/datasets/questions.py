"""Number World datasets for visual and knowledge-based question answering."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial

from mm_kptm.datasets.protocol import AuxiliaryObjective, DataRequest, PreparedData, TaskDataset
from mm_kptm.knowledge.kinds.protocol import BRANCHES, CANDIDATES, ENTITIES, REGION_ENTITIES
from mm_kptm.knowledge.objectives.bridge_entity import BRIDGE_ENTITIES
from mm_kptm.preprocessing.image_text import ImageTextLayout
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.datasets.entity_vectors import (
    BASE,
    WIDTH,
    linked,
    linked_regions,
    without_facts,
    without_names,
)
from mm_kptm.suites.number_world.datasets.illustrations import illustrated_question
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.suites.number_world.datasets.stored_facts import LEARNT_FORMS, FactObjective, stated
from mm_kptm.suites.number_world.generator import baselines, knowledge, questions
from mm_kptm.suites.number_world.generator.facts import Worlds
from mm_kptm.suites.number_world.generator.language import vocabulary
from mm_kptm.suites.number_world.generator.lexicon import answers
from mm_kptm.suites.number_world.generator.questions import Question
from mm_kptm.suites.number_world.generator.scene import FEATURES, Scenes
from mm_kptm.suites.number_world.generator.splits import SIDES_OF_A_SPLIT
from mm_kptm.tasks.knowledge_use import COUNTERFACTUAL_SUFFIXES
from mm_kptm.tasks.vision.knowledge_vqa import KnowledgeVQA
from mm_kptm.tasks.vision.vqa import VQA, QuestionSource, one_answer

#: Knowledge forms: branches of names, entity vectors at names or regions, mention candidates, auxiliary fact learning.
FORMS = frozenset({BRANCHES, ENTITIES, REGION_ENTITIES, CANDIDATES, *LEARNT_FORMS})

Asked = tuple[Scenes, Sequence[Question]]


def vqa(data: NumberWorldData, request: DataRequest) -> PreparedData:
    """Visual questions about a scene."""
    prepared = _answering(VQA, data, request, cache(partial(asked_about_seen, data)), SIDES_OF_A_SPLIT)
    if not data.num_bridge_questions:
        return prepared

    def mixed() -> QuestionSource:
        return _source(data, request, "train", asked_about_seen(data, "train"), _asked_about_bridges(data))

    return replace(prepared, sources={**prepared.sources, "train": mixed})


def knowledge_vqa(data: NumberWorldData, request: DataRequest) -> PreparedData:
    """Questions about facts of the numbers in a scene, with injected facts of kind ``request.facts``."""
    worlds, learnt = data.worlds, LEARNT_FORMS.get(request.form or "")

    @cache
    def asked(split: str) -> Asked:
        return asked_about_facts(data, split, request.facts, worlds)

    counterfactual = (f"{side}{end}" for side in ("dev", "test") for end in COUNTERFACTUAL_SUFFIXES)
    prepared = _answering(KnowledgeVQA, data, request, asked, (*SIDES_OF_A_SPLIT, *counterfactual))
    scored = prepared.baselines

    def score(split: str) -> Mapping[str, float]:
        fact_questions = [question for question in asked(split)[1] if isinstance(question, knowledge.FactQuestion)]
        if request.facts == "none" or learnt is not None:
            return scored(split)
        return {**scored(split), "facts-only": baselines.accuracy(baselines.facts_only(fact_questions), fact_questions)}

    def auxiliary(make: FactObjective) -> AuxiliaryObjective:
        facts = stated(worlds.of("train"), data.asked_relations, request.facts, data.draw("stated facts"))
        return make(facts, data.languages)

    prepared = replace(
        prepared,
        baselines=score,
        knowledge_forms=FORMS,
        knowledge_bases=(BASE,),
        labels={BRIDGE_ENTITIES: lambda: data.numbers},
        auxiliary=None if learnt is None else partial(auxiliary, learnt),
    )
    if not data.num_perception_questions:
        return prepared

    def mixed() -> QuestionSource:
        about_seen = asked_about_seen(replace(data, questions=data.num_perception_questions), "train")
        return _source(data, request, "train", asked("train"), about_seen)

    return replace(prepared, sources={**prepared.sources, "train": mixed})


def _answering(
    task: type[VQA],
    data: NumberWorldData,
    request: DataRequest,
    asked: Callable[[str], Asked],
    splits: Sequence[str],
) -> PreparedData:
    labels = answers(data.numbers)

    def source(split: str) -> QuestionSource:
        return _source(data, request, split, asked(split))

    def score(split: str) -> Mapping[str, float]:
        (train_scenes, train), (test_scenes, test) = asked("train"), asked(split)
        return {
            "chance": baselines.chance(train, test),
            "majority": baselines.accuracy(baselines.majority(train, test), test),
            "question-only": baselines.accuracy(baselines.question_only(train, test), test),
            "image-only": baselines.accuracy(baselines.image_only(train, train_scenes, test, test_scenes), test),
        }

    return PreparedData(
        sources={split: partial(source, split) for split in splits},
        model=lambda system: task(system, labels, criterion=one_answer),
        sizes={"vocab_size": len(vocabulary()), "region_dim": FEATURES, "entity_dim": WIDTH},
        heads=task.heads(request.recipe, len(labels)),
        fingerprints=data.fingerprints,
        baselines=score,
        illustrate=None if data.vision != "true" else lambda split, index: illustrated_question(*asked(split), index),
    )


def asked_about_facts(
    data: NumberWorldData, split: str, facts: str, worlds: Worlds
) -> tuple[Scenes, tuple[knowledge.FactQuestion, ...]]:
    """Scenes of a split and questions about facts; a suffix in ``COUNTERFACTUAL_SUFFIXES`` selects other facts."""
    side = split.partition("-")[0]
    scenes, generated = knowledge.generate(
        data.side(side),
        data.count(side),
        data.draw("knowledge-vqa", side),
        worlds,
        facts_per_number=data.facts_per_number,
        distractors=data.distractors,
    )
    arm = COUNTERFACTUAL_SUFFIXES.get(split.removeprefix(side), facts)
    return scenes, knowledge.inject(generated, arm, worlds, data.draw("facts", split))


def _asked_about_bridges(data: NumberWorldData) -> tuple[Scenes, tuple[knowledge.FactQuestion, ...]]:
    """Scenes and wordings of fact questions, answered by the number that is meant."""
    draw = data.draw("bridge questions")
    scenes, generated = knowledge.generate(data.side("train"), data.num_bridge_questions, draw, data.worlds)
    return scenes, knowledge.about_bridges(generated, data.worlds, draw)


def asked_about_seen(data: NumberWorldData, split: str) -> tuple[Scenes, tuple[Question, ...]]:
    """Scenes of a split and visual questions about them."""
    return questions.generate(data.side(split), data.count(split), data.draw("vqa", split), numbers=data.numbers)


def _source(data: NumberWorldData, request: DataRequest, split: str, *asked: Asked) -> QuestionSource:
    """Source of questions about one or more sets of scenes, with facts in the requested form."""
    sources = [
        number_world.questions(
            scenes,
            _as_read(generated, request.form),
            answers(data.numbers),
            vision=data.vision,
            draw=data.draw("shuffled scenes", split),
            format=request.recipe.text,
            visible_matrix=request.visible_matrix,
        )
        for scenes, generated in asked
    ]
    source = sources[0] if len(sources) == 1 else number_world.joined(*sources)
    every = [question for _, generated in asked for question in generated]
    if request.form == REGION_ENTITIES:
        return linked_regions(source, every, [scenes for scenes, _ in asked])
    if request.form not in (ENTITIES, CANDIDATES):
        return source
    base = BASE if request.form == CANDIDATES else None
    before, _ = ImageTextLayout(number_world.specials(), request.recipe.text).around()
    return linked(source, every, base=base, before=len(before))


def _as_read(asked: Sequence[Question], form: str | None) -> Sequence[Question]:
    """Questions in the words that are read where facts have a form."""
    if form == BRANCHES:
        return asked
    return without_names(asked) if form == REGION_ENTITIES else without_facts(asked)


VQA_SUPPLY = TaskDataset(VQA, NumberWorldData, vqa)
KNOWLEDGE_VQA_SUPPLY = TaskDataset(KnowledgeVQA, NumberWorldData, knowledge_vqa)
