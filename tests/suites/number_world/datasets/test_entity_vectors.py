"""Facts as vectors: they stand at the names that carried them, and say what was told and nothing else."""

import pytest
import torch

from mm_kptm.batch import SequenceLayout
from mm_kptm.batch.special_entities import NULL, PADDING
from mm_kptm.data.sampler import seeded
from mm_kptm.preprocessing.inputs import mentions
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.datasets.entity_vectors import BASE, WIDTH, linked, without_facts
from mm_kptm.suites.number_world.generator import knowledge
from mm_kptm.suites.number_world.generator.language import vocabulary
from mm_kptm.suites.number_world.generator.splits import part


@pytest.fixture(scope="module")
def told(worlds):
    return knowledge.generate(part("iid", "train"), 30, RandomStream(0), worlds, facts_per_number=2)


@pytest.fixture(scope="module")
def source(told, answers):
    scenes, questions = told
    return linked(number_world.questions(scenes, without_facts(questions), answers), questions)


def test_entities_stand_at_the_names_and_nowhere_else(told, source):
    _, questions = told
    inputs = source.batch([3, 8], seeded(0)).inputs
    spelt = [vocabulary().words[number] for number in inputs.text.ids.tolist()]
    named = [spelt[place] for place in inputs.entities.linked.nonzero().squeeze(1).tolist()]
    carried = [list(dict.fromkeys(branch.anchor for branch in questions[place].branches)) for place in (3, 8)]
    assert named == [
        questions[q].words[anchor] for q, anchors in zip((3, 8), carried, strict=True) for anchor in sorted(anchors)
    ]
    assert inputs.text.attention_mask is None
    assert inputs.entities.vectors.shape == (inputs.text.rows, WIDTH)
    assert not inputs.entities.vectors[~inputs.entities.linked].any()


def test_the_same_facts_are_the_same_vector_wherever_they_are_told(told, source):
    """Two names of a world that share an owner and nothing else have vectors that share one code."""
    _, questions = told
    rows = {}
    for index, question in enumerate(questions):
        inputs = source.batch([index], seeded(0)).inputs
        for anchor in {branch.anchor for branch in question.branches}:
            facts = frozenset(branch.words for branch in question.branches if branch.anchor == anchor)
            rows.setdefault(facts, []).append(inputs.entities.vectors[anchor + 1])
    assert all(torch.equal(first, other) for first, *others in rows.values() for other in others)
    assert len({tuple(vectors[0].tolist()) for vectors in rows.values()}) == len(rows)


def test_where_nothing_is_told_nothing_is_linked(told, answers, worlds):
    scenes, questions = told
    silent = knowledge.inject(questions, "none", worlds, RandomStream(1))
    inputs = (
        linked(number_world.questions(scenes, without_facts(silent), answers), silent).batch([0, 1], seeded(0)).inputs
    )
    assert not inputs.entities.linked.any()


def test_candidates_are_the_same_entities_at_the_same_names(told, source, answers):
    """Every name is a mention of one token with one candidate; its vector is the one that fusion is given there."""
    scenes, questions = told
    fused = source.batch([3, 8], seeded(0)).inputs
    inputs = (
        linked(number_world.questions(scenes, without_facts(questions), answers), questions, base=BASE)
        .batch([3, 8], seeded(0))
        .inputs
    )
    found = inputs.candidates[BASE]
    rows = fused.entities.linked.nonzero().squeeze(1)
    assert inputs.entities is None
    assert found.spans.tolist() == [[row, row] for row in rows.tolist()]
    assert torch.equal(found.vectors, fused.entities.vectors[rows][:, None])
    assert found.layout.lengths == tuple(len({branch.anchor for branch in questions[q].branches}) for q in (3, 8))


def test_a_text_without_mentions_has_one_blank_span_between_those_that_have_some():
    numbers = torch.tensor([0, 2, 1, 0, 0, 1])
    found = mentions(numbers, SequenceLayout((3, 2, 1)), torch.tensor([[0.0], [10.0], [20.0]]))
    assert found.spans.tolist() == [[1, 1], [2, 2], [-1, -1], [5, 5]]
    assert found.layout.lengths == (2, 1, 1)
    assert found.entities.squeeze(1).tolist() == [2 + NULL, 1 + NULL, PADDING, 1 + NULL]
    assert found.vectors.flatten().tolist() == [20.0, 10.0, 0.0, 10.0]
