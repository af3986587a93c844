"""Scores of XTREME's tasks refuse what they cannot score, and say why."""

import pytest

from mm_kptm.errors import UserError
from mm_kptm.tasks.metrics.chunks import chunk_scores
from mm_kptm.tasks.metrics.discounted_gain import mean_ndcg, ndcg
from mm_kptm.tasks.metrics.mined_pairs import MinedPair, best_threshold, extracted, pair_scores
from mm_kptm.tasks.metrics.spans import mlqa_normalised, span_scores


def test_mlqa_has_rules_for_seven_languages_only():
    with pytest.raises(UserError, match="no rule for answers in 'th', only for ar, de, en, es, hi, vi, zh"):
        mlqa_normalised("กรุงเทพ", "th")


def test_questions_need_gold_answers():
    with pytest.raises(UserError, match="there are no questions to score"):
        span_scores({}, {})
    with pytest.raises(UserError, match="question 'q' has no gold answer"):
        span_scores({"q": "x"}, {"q": []})


def test_every_word_of_every_sentence_has_a_tag():
    with pytest.raises(UserError, match="1 sentences are predicted and 2 are gold"):
        chunk_scores([["O"]], [["O"], ["O"]])
    with pytest.raises(UserError, match="sentence 2 has 1 predicted and 2 gold tags"):
        chunk_scores([["O"], ["O"]], [["O"], ["O", "O"]])


def test_every_document_is_ranked():
    with pytest.raises(UserError, match="2 predictions rank 3 documents"):
        ndcg([1, 0, 2], [0, 1])
    with pytest.raises(UserError, match="no query has two documents"):
        mean_ndcg([([1], [1])])


def test_the_threshold_keeps_what_it_was_chosen_for():
    gold = {("a", "b"), ("c", "d")}
    candidates = [MinedPair("a", "b", 1.4), MinedPair("x", "y", 1.3), MinedPair("c", "d", 1.2)]
    kept = extracted(candidates, best_threshold(candidates, gold))
    assert pair_scores(kept, gold)["recall"] == 100.0
