"""Visual question answering learns, measures and writes down what it answers."""

import math

import pytest
import torch

import mm_kptm
from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.generator import questions as asking
from mm_kptm.suites.number_world.generator.splits import part
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.vision.vqa import VQA, Questions, each_answer, one_answer


@pytest.fixture(scope="module")
def source(answers):
    scenes, asked = asking.generate(part("iid", "train"), 40, RandomStream(0), numbers=20)
    return number_world.questions(scenes, asked, answers)


@pytest.mark.parametrize(("criterion", "steps"), [(each_answer, 200), (one_answer, 60)])
def test_eight_questions_are_learnt_by_heart(source, reader, answers, criterion, steps):
    task = VQA(reader(), answers, criterion=criterion).train()
    batch = source.batch(range(8), seeded(0))
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        task.loss(batch).backward()
        optimizer.step()
    assert task.measure(batch)["accuracy"].tolist() == [1.0] * 8
    assert all(row["correct"] == 1 and row["answer"] == row["target"] for row in task.predict(batch))


def test_untrained_losses_are_those_of_a_guess():
    scores = torch.eye(3, 5)
    torch.testing.assert_close(one_answer(torch.zeros(3, 5), scores), torch.full((3,), math.log(5)))
    torch.testing.assert_close(each_answer(torch.zeros(3, 5), scores), torch.full((3,), 5 * math.log(2)))


def test_a_question_without_a_known_answer_costs_no_choice():
    assert one_answer(torch.randn(1, 4), torch.zeros(1, 4)).item() == 0


def test_soft_scores_are_what_the_best_answer_is_worth(source, reader, answers):
    task = VQA(reader(), answers)
    batch = source.batch(range(4), seeded(0))
    best = task(batch.inputs).argmax(dim=1)
    worth = torch.tensor([0.3, 0.6, 0.9, 1.0])
    scores = torch.zeros_like(batch.scores).scatter(1, best[:, None], worth[:, None])
    torch.testing.assert_close(task.measure(Questions(batch.inputs, scores, batch.about))["accuracy"], worth)


def test_the_published_head_is_used_where_there_is_one(reader, answers):
    assert VQA(reader(), answers).head.name == "vqa"
    fresh = VQA(reader(heads=()), answers)
    assert fresh.head.fresh is not None
    assert VQA.heads(mm_kptm.catalogue()["bert-base"], 5) == {}


def test_a_head_for_other_answers_is_refused(reader, answers):
    message = (
        r"the head vqa of uniter-base scores 7 answers, but there are \d+ to choose from; build it with num_answers"
    )
    with pytest.raises(UserError, match=message):
        VQA(reader(heads={"vqa": {"num_answers": 7}}), answers)


def test_predictions_come_in_the_order_of_the_source(source, reader, answers):
    task = VQA(reader(), answers).train()
    rows = task.predictions(source, batch_size=7)
    assert [row["id"] for row in rows] == [about.id for about in source.about]
    alone = [task.eval().predict(source.batch([index], seeded(0)))[0] for index in range(5)]
    assert rows[:5] == alone
    assert set(rows[0]) == {"id", "type", "language", "group", "answer", "target", "correct"}


def test_predicting_leaves_the_mode_as_it_was(source, reader, answers):
    task = VQA(reader(), answers)
    for mode in (True, False):
        task.train(mode)
        task.predictions(source, batch_size=40)
        assert task.training == mode


def test_ten_people_decide_what_is_correct(reader, answers):
    about = Example("1", "what", "en", "1", "red", given_answers=("red",) * 2 + ("blue",) * 8)
    assert VQA(reader(), answers).row(about, "red")["correct"] == pytest.approx(0.6)


def test_batches_move_between_devices(source):
    batch = source.batch(range(3), seeded(0)).to("meta")
    assert batch.scores.is_meta and batch.inputs.text.ids.is_meta and len(batch) == 3
