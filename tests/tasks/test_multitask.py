"""Objectives beside a task: one loss, the task's own measures, and gradients from both."""

import pytest
import torch

from mm_kptm.errors import UserError
from mm_kptm.objectives.mixture import Objectives
from mm_kptm.objectives.tokens import MaskedTokens, Masking
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.generator import questions
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES
from mm_kptm.suites.number_world.generator.parallel import corpus
from mm_kptm.suites.number_world.generator.splits import part
from mm_kptm.tasks.multitask import MultiTask, MultiTaskBatch
from mm_kptm.tasks.pretraining import ObjectiveSource
from mm_kptm.tasks.text.sentence_retrieval import ParallelSentences
from mm_kptm.tasks.vision.vqa import VQA, one_answer


@pytest.fixture
def objectives():
    specials = number_world.specials()
    pool = (0, len(number_world.tokenizer()))
    return {"masked-tokens": MaskedTokens(Masking(specials.mask, pool=pool, never=specials.never_masked))}


@pytest.fixture
def source(answers):
    made = questions.generate(part("iid", "train"), 24, RandomStream(0), numbers=20)
    return number_world.questions(*made, answers)


@pytest.fixture
def joint(reader, answers, objectives):
    heads = {"vqa": {"num_answers": len(answers)}, "masked-tokens": {}}
    return MultiTask(VQA(reader(heads=heads), answers, criterion=one_answer), objectives, {"masked-tokens": 0.5})


def batch_of(joint, source, seed=0) -> MultiTaskBatch:
    return joint.training_source(source).batch(range(8), torch.Generator().manual_seed(seed))


def test_the_loss_is_the_task_and_the_weighted_objectives(joint, source):
    batch = batch_of(joint, source)
    alone = joint.objectives["masked-tokens"].loss(joint.task.system, batch.batches.by_name["masked-tokens"])
    torch.testing.assert_close(joint.loss(batch), joint.task.loss(batch.examples) + 0.5 * alone)


def test_the_task_sees_its_words_whole(joint, source):
    batch = batch_of(joint, source)
    plain = source.batch(range(8), torch.Generator())
    assert torch.equal(batch.examples.inputs.text.ids, plain.inputs.text.ids)
    assert not torch.equal(batch.batches.by_name["masked-tokens"].inputs.text.ids, plain.inputs.text.ids)


def test_puzzles_follow_from_the_generator(joint, source):
    one, again, other = (
        batch_of(joint, source, seed).batches.by_name["masked-tokens"].inputs.text.ids for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_both_heads_learn_from_one_step(joint, source):
    joint.loss(batch_of(joint, source)).backward()
    for head in ("vqa", "masked-tokens"):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in joint.task.system.head(head).parameters())


def test_it_is_measured_as_its_task_is(joint, source):
    plain = source.batch(range(8), torch.Generator())
    torch.testing.assert_close(joint.eval().measure(plain), joint.task.measure(plain))


def test_its_source_counts_as_the_task_does(joint, source):
    both = joint.training_source(source)
    assert len(both) == len(source)
    assert [both.length(place) for place in range(5)] == [source.length(place) for place in range(5)]
    assert len(batch_of(joint, source).to("cpu")) == 8


def test_batches_of_two_inputs_make_no_puzzles(reader, objectives):
    spoken = number_world.translations(corpus("train", 5, RandomStream(0), numbers=20, languages=LANGUAGES), LANGUAGES)
    joint = MultiTask(ParallelSentences(reader(heads={"masked-tokens": {}})), objectives, {"masked-tokens": 1.0})
    with pytest.raises(UserError, match=r"beside a task whose batches \(Translations\) hold no single inputs"):
        joint.training_source(spoken).batch([0], torch.Generator())


def test_a_task_of_weight_zero_is_measured_alone(reader, answers, objectives, source):
    others = ObjectiveSource(source.shown, Objectives(objectives))
    heads = {"vqa": {"num_answers": len(answers)}, "masked-tokens": {}}
    task = VQA(reader(heads=heads), answers, criterion=one_answer)
    losses = []
    for weight in (0.0, 0.5):
        joint = MultiTask(task, objectives, {"masked-tokens": 1.0}, lambda: others, weight)
        batch = batch_of(joint, source)
        losses.append(joint.loss(batch))
        assert joint.measure(batch.examples).keys() == task.measure(batch.examples).keys()
    torch.testing.assert_close(losses[1] - losses[0], 0.5 * task.loss(batch.examples))
