"""Answers that were pretrained are found again."""

import pytest
import torch

from mm_kptm.errors import UserError
from mm_kptm.nn.heads import Classifier
from mm_kptm.vision.objectives.answer_pretraining import draw_answers, matching_answers, plain_answer, reuse_answers

KNOWN = ["man", "2", "gray", "sentence-tree", "10"]


@pytest.mark.parametrize(
    ("answer", "plain"),
    [
        ("Yes.", "yes"),
        ("the man", "man"),
        ("An apple", "apple"),
        ("two", "2"),
        ("A two.", "2"),
        ("grey", "gray"),
        ("ten", "10"),
        ("eleven", "eleven"),
        ("theory", "theory"),
        ("no. 5", "no. 5"),
        ("", ""),
    ],
)
def test_answers_are_written_as_the_pretraining_list_writes_them(answer: str, plain: str) -> None:
    assert plain_answer(answer) == plain


def test_answers_are_matched_by_what_they_say() -> None:
    assert matching_answers(["Two.", "grey", "dog", "the man"], KNOWN).tolist() == [1, 2, -1, 0]


def test_a_head_knows_the_answers_it_was_pretrained_on() -> None:
    torch.manual_seed(0)
    pretrained, head = Classifier(8, 5), Classifier(8, 4)
    rows = torch.randn(3, 8)
    assert reuse_answers(head, ["ten", "dog", "a man", "sentence-tree"], pretrained, KNOWN) == 3
    scores, expected = head(rows), pretrained(rows)
    torch.testing.assert_close(scores[:, [0, 2, 3]], expected[:, [4, 0, 3]])
    assert (scores[:, 1] == 0).all(), "a new answer starts from zero"
    assert all(parameter.requires_grad for parameter in head.parameters())


def test_heads_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="the head has 4 answers, but 2 are named"):
        reuse_answers(Classifier(8, 4), ["a", "b"], Classifier(8, 5), KNOWN)
    with pytest.raises(UserError, match="the head has 5 answers, but 1 are named"):
        reuse_answers(Classifier(8, 2), ["a", "b"], Classifier(8, 5), ["x"])
    with pytest.raises(UserError, match=r"a head of width \[16, 8\] cannot start from one of width \[32, 16\]"):
        reuse_answers(Classifier(8, 2), ["a", "b"], Classifier(16, 5), KNOWN)


def test_answers_are_drawn_by_their_scores() -> None:
    scores = torch.tensor([[0.0, 0.3, 0.9], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]).repeat(2000, 1)
    drawn = draw_answers(scores, torch.Generator().manual_seed(0)).view(2000, 3)
    assert (drawn[:, 1] == -1).all() and (drawn[:, 2] == 0).all() and (drawn[:, 0] > 0).all()
    assert abs((drawn[:, 0] == 2).float().mean() - 0.75) < 0.03
    assert draw_answers(torch.zeros(2, 3), torch.Generator()).tolist() == [-1, -1]
