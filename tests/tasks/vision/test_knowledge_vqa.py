"""Facts hang from words, and it shows whether a model follows the facts it is told."""

import pytest
import torch

from mm_kptm.data.sampler import seeded
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.generator import knowledge
from mm_kptm.suites.number_world.generator.splits import part
from mm_kptm.tasks.vision.knowledge_vqa import KnowledgeVQA
from mm_kptm.tasks.vision.vqa import one_answer


@pytest.fixture(scope="module")
def asked(worlds):
    return knowledge.generate(part("world", "train"), 30, RandomStream(1), worlds)


@pytest.fixture(scope="module")
def source(asked, worlds, answers):
    scenes, questions = asked

    def of(arm):
        return number_world.questions(scenes, knowledge.inject(questions, arm, worlds, RandomStream(2)), answers)

    return of


def test_facts_hang_from_their_word_and_are_seen_by_it_alone(asked, source):
    question = asked[1][0]
    tokens = source("true").batch([0], seeded(0)).inputs.text
    length = 2 + len(question.words) + sum(len(branch.words) for branch in question.branches)
    assert len(tokens.ids) == length
    rows = torch.arange(length)
    seen = tokens.attention_mask.mask_mod(rows[:, None], rows[None, :])
    trunk = tokens.attention_mask.branches == 0
    assert trunk.sum() == 2 + len(question.words)
    assert tokens.positions[trunk].tolist() == list(range(2 + len(question.words)))
    anchor = question.branches[0].anchor + 1  # behind [CLS]
    fact = (~trunk).nonzero()[0].item()
    assert tokens.positions[fact] == anchor + 1
    assert seen[fact].nonzero().flatten().tolist() == [fact - 1, fact, fact + 1]


def test_without_facts_nothing_is_hidden(source):
    assert source("none").batch([0, 1], seeded(0)).inputs.text.attention_mask is None


def test_arms_differ_in_facts_alone(source):
    true, swapped = (source(arm).batch([0, 1, 2], seeded(0)) for arm in ("true", "swapped"))
    trunk = true.inputs.text.attention_mask.branches == 0
    assert torch.equal(true.inputs.text.ids[trunk], swapped.inputs.text.ids[trunk])
    assert not torch.equal(true.inputs.text.ids, swapped.inputs.text.ids)
    assert torch.equal(true.inputs.regions.features, swapped.inputs.regions.features)
    assert not (true.scores.bool() & swapped.scores.bool()).any()
    assert [about.factual_answer for about in swapped.about] == [about.target for about in true.about]


def test_eight_questions_are_learnt_and_swapped_facts_show_what_was_learnt(source, reader, answers):
    task = KnowledgeVQA(reader(), answers, criterion=one_answer).train()
    batch = source("true").batch(range(8), seeded(0))
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        task.loss(batch).backward()
        optimizer.step()
    assert task.measure(batch)["accuracy"].mean() == 1
    assert "memorised" not in task.measure(batch)
    swapped = source("swapped").batch(range(8), seeded(0))
    measured, rows = task.measure(swapped), task.predict(swapped)
    assert [row["memorised"] for row in rows] == measured["memorised"].tolist()
    assert [row["correct"] for row in rows] == measured["accuracy"].tolist()
    assert (measured["memorised"] + measured["accuracy"] <= 1).all()
