"""The knowledge-use score: by label where an answer follows from a fact, by loss and agreement where none does."""

import pytest

from mm_kptm.errors import UserError
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.knowledge_use import (
    AnswerStability,
    KnowledgeUse,
    answer_stability,
    knowledge_use,
    use_of,
    with_memorised,
)

SWAPPED = [{"id": "1", "answer": "a", "correct": 1.0}, {"id": "2", "answer": "b", "correct": 0.0}]
TRUE = [{"id": "1", "answer": "a", "correct": 1.0}, {"id": "2", "answer": "c", "correct": 1.0}]


def test_knowledge_use_is_what_follows_minus_what_sticks():
    rows = [{"correct": 1.0, "memorised": 0.0}] * 3 + [
        {"correct": 0.0, "memorised": 1.0},
        {"correct": 0.0, "memorised": 0.0},
    ]
    use = knowledge_use(rows)
    assert use == KnowledgeUse(0.6, 0.2)
    assert use.score == pytest.approx(0.4)


def test_knowledge_use_needs_swapped_facts():
    with pytest.raises(
        UserError, match="knowledge use was asked for, but the facts of question q1 are not swapped ones"
    ):
        knowledge_use([{"id": "q1", "correct": 1.0}])
    with pytest.raises(UserError, match="knowledge use was asked for over no predictions"):
        knowledge_use([])


def test_where_no_answer_follows_from_facts_loss_and_agreement_are_told():
    assert answer_stability(SWAPPED, TRUE) == AnswerStability(drop=0.5, agreement=0.5)
    with pytest.raises(UserError, match="2 answers with swapped facts cannot be compared with 1 with true facts"):
        answer_stability(SWAPPED, TRUE[:1])
    with pytest.raises(UserError, match="0 answers with swapped facts"):
        answer_stability([], [])


def test_only_a_split_with_swapped_facts_is_asked_for_knowledge_use():
    def answered(split):
        assert split == "test-true"
        return TRUE

    assert use_of("test", SWAPPED, answered) == {}
    assert use_of("test-swapped", SWAPPED, answered) == {"drop": 0.5, "agreement": 0.5}
    known = [{**SWAPPED[0], "memorised": 0.0}, SWAPPED[1]]
    expected = {
        "follows_context": 1.0,
        "memorised": 0.0,
        "knowledge-use": 1.0,
        "memorisation-ratio": 0.0,
        "share_with_known_answer": 0.5,
    }
    assert use_of("test-swapped", known, answered) == expected


def test_an_answer_sticks_where_other_facts_were_told_alone():
    about = Example("1", "owner", "en", "1", target="Anna")
    assert with_memorised({"id": "1"}, about, "Boris") == {"id": "1"}
    swapped = Example("1", "owner", "en", "1", target="Anna", factual_answer="Boris")
    assert [with_memorised({"id": "1"}, swapped, answer)["memorised"] for answer in ("Boris", "Anna")] == [1.0, 0.0]
