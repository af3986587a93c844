"""Choices, rationales, phrases and answerability: what is learnt from them, and how they are measured."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from torch import nn

from mm_kptm.batch import Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.vision.answerability import average_precision
from mm_kptm.tasks.vision.multiple_choice import UNKNOWN, ChoiceBatch, MultipleChoice
from mm_kptm.tasks.vision.nlvr2 import NLVR2, ImagePairs
from mm_kptm.tasks.vision.phrase_grounding import PhraseBatch, PhraseGrounding
from mm_kptm.tasks.vision.vcr import VCR


class Fixed(nn.Module):
    """Pooled states that are given."""

    dim = 2

    def __init__(self, states):
        super().__init__()
        self.states = states

    def forward(self, inputs, output_rows):
        from mm_kptm.batch import Encoded

        return Encoded({}, self.states)


def chosen(logits, truth, counts, **options):
    head = nn.Linear(2, logits.shape[1], bias=False)
    head.weight.data = torch.eye(logits.shape[1], 2)
    states = F.pad(logits, (0, 2 - logits.shape[1]))
    name = "retrieval" if logits.shape[1] == 1 else "vcr"
    task = MultipleChoice(System(Fixed(states), {name: head}, recipe="r", sizes={}, head_sizes={}), **options)
    about = tuple(Example(str(n), "what", "en", str(n), "" if t == UNKNOWN else str(t)) for n, t in enumerate(truth))
    inputs = Inputs(text=Tokens.of([[1]] * len(logits)))
    return task, ChoiceBatch(inputs, SequenceLayout(counts), torch.tensor(truth), about)


def test_one_logit_is_compared_over_the_choices_of_a_question():
    task, batch = chosen(torch.tensor([[1.0], [3.0], [2.0], [0.0], [5.0]]), [1, 0], (3, 2))
    expected = [-torch.tensor([1.0, 3.0, 2.0]).log_softmax(0)[1], -torch.tensor([0.0, 5.0]).log_softmax(0)[0]]
    torch.testing.assert_close(task.loss(batch), torch.stack(expected).mean())
    assert task.measure(batch)["accuracy"].tolist() == [1, 0]
    rows = task.predict(batch)
    assert [row["answer"] for row in rows] == ["1", "1"] and set(rows[1]) >= {"p0", "p1"} and "p2" not in rows[1]
    assert sum(rows[0][f"p{place}"] for place in range(3)) == pytest.approx(1)


def test_each_choice_may_be_judged_by_itself():
    logits = torch.tensor([[1.0], [3.0], [2.0], [0.0], [5.0]])
    task, batch = chosen(logits, [1, 0], (3, 2), each_choice=True)
    right = torch.tensor([0.0, 1, 0, 1, 0])
    each = F.binary_cross_entropy_with_logits(logits[:, 0], right, reduction="none")
    torch.testing.assert_close(task.loss(batch), (each[:3].mean() + each[3:].mean()) / 2)
    two = torch.randn(5, 2)
    task, batch = chosen(two, [1, 0], (3, 2))
    each = F.cross_entropy(two, right.long(), reduction="none")
    torch.testing.assert_close(task.loss(batch), (each[:3].mean() + each[3:].mean()) / 2)
    assert task.predict(batch)[0]["answer"] == str(int(two[:3, 1].argmax()))


def test_a_question_without_a_right_choice_costs_nothing():
    for options in ({}, {"each_choice": True}):
        task, batch = chosen(torch.tensor([[1.0], [3.0]]), [UNKNOWN], (2,), **options)
        assert task.loss(batch) == 0 and "correct" not in task.predict(batch)[0]


def test_both_choices_of_a_question_must_be_right():
    said = {
        "a/answer": 1,
        "a/rationale": 1,
        "b/answer": 1,
        "b/rationale": 0,
        "c/answer": 0,
        "c/rationale": 1,
        "d/answer": 1,
    }
    rows = [{"id": id_, "type": id_.partition("/")[2], "correct": float(right)} for id_, right in said.items()]
    found = VCR.summary(VCR.__new__(VCR), rows)
    assert found == {"q-a": 3 / 4, "qa-r": 2 / 3, "q-ar": 1 / 3}


def test_a_sentence_is_consistent_where_all_its_verdicts_are_right():
    rows = [{"group": group, "correct": right} for group, right in (("x", 1.0), ("x", 0.0), ("y", 1.0), ("y", 1.0))]
    assert NLVR2.summary(NLVR2.__new__(NLVR2), rows) == {"consistency": 0.5}


def test_pairs_read_the_statement_with_each_image():
    regions = Regions(torch.arange(7.0)[:, None], torch.zeros(7, 4), SequenceLayout((2, 1, 1, 3)))
    text = Tokens.of([[5, 6], [7, 8, 9]], segments=[[0, 1], [0, 1, 1]])
    batch = ImagePairs(text, regions, torch.tensor([0, 1]), ())
    pairs = batch.pairs((1, 2))
    assert pairs.text.ids.tolist() == [5, 6, 5, 6, 7, 8, 9, 7, 8, 9]
    assert pairs.text.segments.tolist() == [0, 1, 0, 1, 0, 1, 1, 0, 1, 1]
    assert pairs.regions.segments.tolist() == [1, 1, 2, 1, 2, 2, 2] and pairs.regions.layout.lengths == (2, 1, 1, 3)
    joined = batch.joined()
    assert joined.regions.layout.lengths == (3, 4) and joined.regions.segments is None and joined.text is text


class Read(PhraseGrounding):
    """Phrase grounding with scores that are given."""

    def __init__(self, scores):
        nn.Module.__init__(self)
        self.given = scores

    def forward(self, batch):
        return self.given


def test_ranks_of_phrases_and_their_loss():
    inf = float("inf")
    scores = torch.tensor([[3.0, 1.0, 2.0], [0.0, 4.0, -inf], [1.0, 1.0, -inf]])
    right = torch.tensor([[False, True, True], [True, False, False], [False, False, False]])
    regions = Regions(torch.zeros(5, 1), torch.zeros(5, 4), SequenceLayout((3, 2)))
    about = tuple(
        tuple(Example(f"{n}-{k}", "people", "en", "i", "1") for k in range(count)) for n, count in enumerate((1, 2))
    )
    captions = tuple(Example(str(n), "caption", "en", "i", "phrases") for n in range(2))
    inputs = Inputs(text=Tokens.of([[1], [1]]), regions=regions)
    batch = PhraseBatch(inputs, torch.zeros(3, dtype=torch.long), SequenceLayout((1, 2)), right, captions, about)
    task = Read(scores)
    rows = [row for own in task.phrase_rows(batch) for row in own]
    assert [row["rank"] for row in rows] == [2, 2, 0]  # nothing shows the third phrase
    assert [row["answer"] for row in rows] == ["0", "1", "0"]
    found = PhraseGrounding.summary(task, rows)
    assert found == {"recall@1": 0, "recall@5": 2 / 3, "recall@10": 2 / 3, "upper-bound": 2 / 3}
    chances = scores[0].softmax(0)
    first = (0.5 * (0.5 / chances[1]).log() + 0.5 * (0.5 / chances[2]).log()).item()
    second = -scores[1].log_softmax(0)[0].item()
    assert task.loss(batch).item() == pytest.approx((first + second + 0) / 3, rel=1e-5)
    assert task.measure(batch)["recall@1"].tolist() == [0, 0]
    assert [row["id"] for row in task.predict(batch)] == ["0", "1"]


def test_average_precision_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    for _ in range(20):
        gold = rng.integers(0, 2, 12)
        gold[0] = 1
        scores = rng.integers(0, 5, 12) / 5  # with ties
        assert average_precision(list(map(bool, gold)), scores.tolist()) == pytest.approx(
            average_precision_score(gold, scores)
        )
    with pytest.raises(UserError, match="average precision was asked for, but no example is positive"):
        average_precision([False], [0.5])
