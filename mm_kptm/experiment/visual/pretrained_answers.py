"""Answers of a pretrained question-answering head as the start of those of a task (Tan and Bansal 2019, LXMERT)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from mm_kptm.datasets.vision.answer_list import read_answers
from mm_kptm.errors import UserError, notice
from mm_kptm.experiment.settings import EncoderSettings
from mm_kptm.nn.heads import Classifier
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.saved import read_saved
from mm_kptm.systems.system import System
from mm_kptm.tasks.vision.vqa import VQA
from mm_kptm.train.protocol import Trainable, module_of
from mm_kptm.vision.objectives.answer_pretraining import QuestionAnswering, reuse_answers

PRETRAINED, TASK = QuestionAnswering.name, "vqa"


def known_answers(asked: EncoderSettings, recipe: Recipe, heads: Mapping[str, Mapping[str, int]]) -> tuple[str, ...]:
    """The answers of the pretrained head in their order; none where a task's answers do not start from it.

    Weights that this suite pretrained know their answers; those of a published file are named by ``known_answers``.

    Args:
        asked: settings of the encoder.
        recipe: of the encoder.
        heads: that the task needs.

    Raises:
        UserError: answers are named, but there are no weights, or the task or the system does not have such a head.
    """
    fits = TASK in heads and PRETRAINED in recipe.heads and PRETRAINED not in heads  # which is trained on, then
    if asked.known_answers is not None:
        if asked.weights is None or not fits:
            lacking = (
                "there are no encoder.weights" if asked.weights is None else f"{recipe.name} has none in this task"
            )
            raise UserError(
                f"encoder.known_answers is {asked.known_answers}, answers that a pretrained head {PRETRAINED} knows, "
                f"but {lacking}; leave it out"
            )
        return read_answers(asked.known_answers)
    saved = None if asked.weights is None or not fits else read_saved(asked.weights)
    return () if saved is None or TASK in saved.heads else tuple(saved.labels.get(PRETRAINED, ()))


def start_answers(system: System, model: Trainable[Any], known: tuple[str, ...]) -> None:
    """Start the answers of a task from the same ones of the pretrained head, which is left out afterwards."""
    if not known:
        return
    task = next((part for part in module_of(model).modules() if isinstance(part, VQA)), None)
    if task is not None:
        head, pretrained = (cast(Classifier, system.head(name)) for name in (TASK, PRETRAINED))
        shared = reuse_answers(head, task.answers, pretrained, known)
        notice(f"{shared} of {len(task.answers)} answers start from those that {PRETRAINED} was pretrained on")
    del system.heads[PRETRAINED]
    for kept in (system.head_sizes, system.labels):
        kept.pop(PRETRAINED, None)
