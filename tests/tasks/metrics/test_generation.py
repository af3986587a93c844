"""Scores of translation refuse what they cannot score."""

import pytest

from mm_kptm.errors import UserError
from mm_kptm.tasks.metrics.generation import bleu, chrf, ter


@pytest.mark.parametrize("score", [bleu, chrf, ter])
def test_every_hypothesis_needs_its_reference(score):
    with pytest.raises(UserError, match="2 hypotheses are to be scored against 1 references of set 1"):
        score(["a", "b"], [["a"]])
    with pytest.raises(UserError, match="there is nothing to score"):
        score([], [])


def test_tokenizers_that_need_a_download_are_refused():
    with pytest.raises(UserError, match="'flores200' is no tokenizer that works without a download; choose one of 13a"):
        bleu(["a"], [["a"]], tokenize="flores200")


def test_a_perfect_translation_scores_full_marks():
    texts = ["one two three four five"]
    assert bleu(texts, [texts]).score == pytest.approx(100)
    assert chrf(texts, [texts]).score == pytest.approx(100)
    assert ter(texts, [texts]).score == 0
