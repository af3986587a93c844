"""The entity between two hops is named by the pooled state, with a pass of its own or with that of the task."""

import pytest
import torch
import torch.nn.functional as F

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.knowledge.objectives.bridge_entity import BridgeEntity
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.generator import knowledge
from mm_kptm.suites.number_world.generator.splits import part
from mm_kptm.systems.system import System
from mm_kptm.tasks.multitask import MultiTask
from mm_kptm.tasks.vision.knowledge_vqa import KnowledgeVQA
from mm_kptm.tasks.vision.vqa import one_answer

NAME = BridgeEntity.name
TEXT = Tokens.of([[0, 5, 2], [0, 6, 2], [0, 7, 2]])


def system(num_entities: int = 4) -> System:
    sizes = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 8, "vocab_size": 10}
    return mm_kptm.build("bert-base", heads={NAME: {"num_entities": num_entities}}, seed=0, **sizes)


def labelled(*entities: int) -> Inputs:
    return Inputs(text=TEXT, labels={NAME: torch.tensor(entities)})


def test_the_loss_is_that_of_the_questions_of_two_hops() -> None:
    model, objective = system(), BridgeEntity(4)
    batch = objective.prepare(labelled(2, -1, 3))
    scores = model.head(NAME)(model(batch.inputs).pooled)
    expected = F.cross_entropy(scores[[0, 2]], torch.tensor([2, 3]), reduction="none")
    measured = objective.measure(model, batch)
    torch.testing.assert_close(measured[[0, 2]], expected)
    assert measured[1] == 0
    torch.testing.assert_close(objective.loss(model, batch), expected.mean())


def test_without_a_question_of_two_hops_the_loss_is_zero_and_has_a_gradient() -> None:
    model, objective = system(), BridgeEntity(4)
    loss = objective.loss(model, objective.prepare(labelled(-1, -1, -1)))
    loss.backward()
    assert loss == 0 and not model.head(NAME).weight.grad.any()


def test_inputs_without_labels_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"^bridge-entity predicts the entity between the two hops of a question, which these"
    ):
        BridgeEntity(4).prepare(Inputs(text=TEXT))


def test_beside_a_task_one_pass_gives_what_two_give(reader, answers, worlds) -> None:
    scenes, asked = knowledge.generate(part("world", "train"), 12, RandomStream(0), worlds)
    source = number_world.questions(scenes, asked, answers)
    heads = {"vqa": {"num_answers": len(answers)}, NAME: {"num_entities": 20}}
    model, objective = reader(heads=heads), BridgeEntity(20)
    task = KnowledgeVQA(model, answers, criterion=one_answer)
    both = MultiTask(task, {NAME: objective}, {NAME: 0.5})
    passes: list[int] = []
    model.register_forward_hook(lambda *_: passes.append(1))
    batch = both.training_source(source).batch(range(12), seeded(0))
    loss = both.loss(batch)
    assert len(passes) == 1
    prepared = objective.prepare(batch.examples.inputs)
    torch.testing.assert_close(loss, task.loss(batch.examples) + 0.5 * objective.loss(model, prepared))
