"""Gallery examples of a run: image, question, injected facts, predicted answer and attention.

Shapes: T token rows and R region rows of one question.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mm_kptm.data.sampler import seeded
from mm_kptm.experiment.build import Built
from mm_kptm.experiment.settings import Experiment
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.submodules import submodule
from mm_kptm.report import Box, Fact, GalleryExample, Token, picture, write_gallery
from mm_kptm.suites.number_world.datasets.questions import asked_about_facts, asked_about_seen
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.suites.number_world.generator.knowledge import FactQuestion
from mm_kptm.suites.number_world.generator.language import vocabulary, words
from mm_kptm.suites.number_world.generator.lexicon import RELATION_WORDS, surface
from mm_kptm.suites.number_world.generator.numerals import name
from mm_kptm.suites.number_world.generator.questions import Question
from mm_kptm.suites.number_world.generator.scene import HEIGHT, WIDTH, Scenes
from mm_kptm.tasks.example import Row
from mm_kptm.tasks.vision.knowledge_vqa import KnowledgeVQA
from mm_kptm.tasks.vision.vqa import Questions, QuestionSource

GALLERY = "gallery.json"


def show(settings: Experiment, built: Built, split: str, count: int, folder: Path) -> None:
    """Write the first ``count`` questions of a split as the gallery of a run in ``folder``."""
    source, encoder, task = built.source(split), built.system.encoder, built.task
    if task is None or not isinstance(source, QuestionSource) or not isinstance(encoder, SingleStream):
        raise TypeError(f"{settings.name} does not answer questions with a single stream")
    scenes, asked = _asked(settings, built, split)
    examples = []
    task.eval()
    for index in range(min(count, len(asked))):
        batch = source.batch([index], seeded(0, index))
        (row,) = task.predict(batch)
        examples.append(_example(scenes, asked[index], row, batch, _read_at_first(encoder, batch)))
    write_gallery(folder / GALLERY, examples)


def _asked(settings: Experiment, built: Built, split: str) -> tuple[Scenes, Sequence[Question]]:
    data = settings.data
    if not isinstance(data, NumberWorldData):
        raise TypeError(f"{settings.name} asks about {type(data).__name__}, not about Number World")
    if isinstance(built.task, KnowledgeVQA):
        return asked_about_facts(data, split, settings.knowledge.given, data.worlds)
    return asked_about_seen(data, split)


@torch.no_grad()
def _read_at_first(encoder: SingleStream, batch: Questions) -> Tensor:
    """Attention of the first row, which is classified, in the last layer: mean over heads, [T + R]."""
    *_, stream, _ = encoder.hidden_states(batch.inputs)
    attention = submodule(encoder, f"layers.{len(encoder.layers) - 1}.self_attention.attention", Attention)
    (shares,) = attention.weights(stream.x, stream.x, stream.attention)
    read: Tensor = shares[:, 0].mean(dim=0)
    return read


def _example(scenes: Scenes, question: Question, row: Row, batch: Questions, read: Tensor) -> GalleryExample:
    if batch.inputs.text is None:
        raise TypeError("a question has text")
    ids = batch.inputs.text.ids.tolist()
    shares = [round(share, 4) for share in read.tolist()]
    known = vocabulary().words
    return GalleryExample(
        id=question.id,
        image=picture(scenes.image(question.scene)),
        width=WIDTH,
        height=HEIGHT,
        question=question.sentence,
        answer=surface(str(row["answer"]), question.language),
        target=surface(str(row["target"]), question.language),
        correct=float(row["correct"]),
        language=question.language,
        type=question.type,
        boxes=_boxes(scenes, question, shares[len(ids) :]),
        facts=_facts(question),
        tokens=tuple(Token(known[id], share) for id, share in zip(ids, shares, strict=False)),
    )


def _boxes(scenes: Scenes, question: Question, shares: Sequence[float]) -> tuple[Box, ...]:
    things = scenes.things(question.scene)
    boxes = []
    for thing, share in zip(things, shares, strict=True):
        x1, y1, x2, y2 = thing.box
        corners = (x1 / WIDTH, y1 / HEIGHT, x2 / WIDTH, y2 / HEIGHT)
        boxes.append(Box(corners, f"{surface('colour:' + thing.colour, question.language)} {thing.value}", share))
    return tuple(boxes)


def _facts(question: Question) -> tuple[Fact, ...]:
    """Injected facts, with ``used`` set for the one that the question needs."""
    if not isinstance(question, FactQuestion):
        return ()
    language = question.facts_language
    needed = (
        words(name(question.number, language), language)[0],
        words(RELATION_WORDS[language][question.relation], language)[0],
    )
    return tuple(
        Fact(subject, relation, object, used=(subject, relation) == needed)
        for subject, (relation, object) in (
            (question.words[branch.anchor], branch.words) for branch in question.branches
        )
    )
