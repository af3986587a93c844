"""Blanks are filled from candidates, ranked, and averaged over relations as LAMA does, on cases counted by hand."""

import pytest
import torch

import mm_kptm
from mm_kptm.data.packing import Packed
from mm_kptm.errors import UserError
from mm_kptm.systems.discovery import find
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.knowledge.cloze import Blanks, CandidateWords, FillBlanks, first_blanks
from mm_kptm.tasks.metrics.ranking import over_relations, rank

SCORES = torch.tensor([[0.1, 0.9, 0.5, 0.5], [2.0, 2.0, 2.0, 2.0], [0.0, 1.0, 2.0, 3.0]])


def test_ranks_count_from_one_and_the_first_of_equal_scores_is_the_better():
    assert rank(SCORES, torch.tensor([1, 2, 0])).tolist() == [1, 3, 4]
    assert rank(SCORES, torch.tensor([2, 0, -1])).tolist() == [2, 1, 0]
    assert rank(SCORES, torch.tensor([3, 3, 3])).tolist() == [3, 4, 1]
    best = SCORES.argmax(dim=1)
    assert rank(SCORES, best).tolist() == [1, 1, 1]  # what is answered has rank 1, equal scores or not


def test_every_relation_counts_once():
    rows = [{"type": "born", "rank": at} for at in (1, 1, 1, 12)] + [{"type": "died", "rank": at} for at in (2, 0)]
    found = over_relations(rows)
    assert found["p@1"] == pytest.approx((3 / 4 + 0) / 2)
    assert found["p@10"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert found["mrr"] == pytest.approx(((3 + 1 / 12) / 4 + (1 / 2) / 2) / 2)


def test_the_first_blank_of_the_sentence_is_asked_and_none_in_facts():
    texts = Packed.of(ids=[[9, 4, 9, 4], [4, 9], [4, 7], [7, 7]], branches=[[1, 0, 0, 0], [0, 0], [0, 0], [0, 0]])
    assert first_blanks(texts, 9).tolist() == [2, 1, -1, -1]
    assert first_blanks(Packed(texts.offsets, {"ids": texts.columns["ids"]}), 9).tolist() == [0, 1, -1, -1]


def test_a_system_without_a_head_for_masked_tokens_is_refused():
    lacking = next(recipe for recipe in mm_kptm.catalogue().values() if "masked-tokens" not in recipe.heads)
    with pytest.raises(UserError, match=rf"but {lacking.name} has no head for them; systems that have: .*bert-base"):
        FillBlanks.heads(lacking)
    system = mm_kptm.build("bert-base", heads={}, num_layers=1, dim=8, num_heads=2, ffn_dim=8, vocab_size=20)
    with pytest.raises(UserError, match=r"bert-base was built without the head 'masked-tokens'"):
        FillBlanks(system, CandidateWords(("a", "b"), (5, 6)))


def test_the_published_head_fills_the_blank_and_only_candidates_are_given():
    heads = FillBlanks.heads(find("bert-base"))
    system = mm_kptm.build("bert-base", heads=heads, num_layers=1, dim=8, num_heads=2, ffn_dim=8, vocab_size=20).eval()
    task = FillBlanks(system, CandidateWords(("six", "five", "seven"), (6, 5, 7)))
    inputs = mm_kptm.batch.Inputs(text=mm_kptm.batch.Tokens.of([[2, 4, 9, 3], [2, 8, 4, 3]]))
    rows = torch.tensor([1, 6])
    with torch.no_grad():
        full = system.head("masked-tokens")(system(inputs).text)
        torch.testing.assert_close(task(inputs, rows), full[rows][:, [6, 5, 7]])
    about = (Example("1", "r", "en", "1", "five", factual_answer="six"), Example("2", "r", "en", "2", ""))
    batch = Blanks(inputs, rows, torch.tensor([1, -1]), about)
    told, asked = task.predict(batch)
    assert told["correct"] == task.measure(batch)["accuracy"][0] == float(told["answer"] == "five")
    assert told["memorised"] == float(told["answer"] == "six")
    assert asked.keys().isdisjoint({"target", "correct", "rank", "memorised"}) and batch.labelled == (True, False)
    assert task.loss(batch) == task.measure(batch)["loss"][0]
    alone = Blanks(inputs, rows, torch.tensor([1, 0]), (about[0], about[0]))
    assert task.measure(alone)["memorised"].tolist() == [row["memorised"] for row in task.predict(alone)]
