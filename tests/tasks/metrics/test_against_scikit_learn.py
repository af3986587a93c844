"""The metrics that scikit-learn defines as well have its values, over random answers."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn import metrics
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import MultiLabelBinarizer

from mm_kptm.errors import UserError
from mm_kptm.tasks.metrics.classification import loose, micro
from mm_kptm.tasks.metrics.ranking import UNKNOWN, over_relations, rank, reciprocal_rank
from mm_kptm.tasks.metrics.similarity import centred, cosine, margin
from mm_kptm.tasks.metrics.tagging import exact
from mm_kptm.tasks.scores import finite_scores

LABELS = ("none", "born", "capital", "owner")


@pytest.fixture(params=range(4))
def draw(request):
    return np.random.default_rng(request.param)


def test_micro_precision_recall_and_f1_leave_out_no_relation(draw):
    answers, targets = (draw.choice(LABELS, 200, p=(0.4, 0.3, 0.2, 0.1)) for _ in range(2))
    found = micro(
        [{"answer": str(a), "target": str(t)} for a, t in zip(answers, targets, strict=True)], no_relation="none"
    )
    expected = metrics.precision_recall_fscore_support(targets, answers, labels=LABELS[1:], average="micro")
    assert list(found.values()) == pytest.approx(expected[:3])
    alone = micro(
        [{"answer": str(a), "target": str(t)} for a, t in zip(answers, targets, strict=True)], no_relation=None
    )
    assert list(alone.values()) == pytest.approx([metrics.accuracy_score(targets, answers)] * 3)


def test_loose_measures_of_sets_of_types(draw):
    given, gold = ([[t for t in "abcdef" if draw.random() < 0.4] for _ in range(100)] for _ in range(2))
    gold = [types or ["a"] for types in gold]
    found = loose([{"answer": "|".join(a), "target": "|".join(t)} for a, t in zip(given, gold, strict=True)])
    binary = MultiLabelBinarizer(classes=list("abcdef"))
    true, predicted = binary.fit_transform(gold), binary.transform(given)
    assert found["strict-accuracy"] == pytest.approx(metrics.accuracy_score(true, predicted))
    for kind, average in (("micro", "micro"), ("macro", "samples")):
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            true, predicted, average=average, zero_division=0
        )
        assert found[f"{kind}-precision"] == pytest.approx(precision)
        assert found[f"{kind}-recall"] == pytest.approx(recall)
        if kind == "micro":  # the macro one is of the mean precision and recall, not the mean over mentions
            assert found["micro-f1"] == pytest.approx(f1)


def test_ranks_and_their_precision_and_reciprocal(draw):
    scores, truth = draw.normal(size=(60, 15)), draw.integers(15, size=60)
    ranks = rank(torch.from_numpy(scores), torch.from_numpy(truth))
    for k in (1, 10):
        hits = metrics.top_k_accuracy_score(truth, scores, k=k, labels=range(15))
        assert (ranks <= k).double().mean().item() == pytest.approx(hits)
    gold = np.eye(15)[truth]  # one right answer each: average precision is the reciprocal rank
    assert (1 / ranks).mean().item() == pytest.approx(metrics.label_ranking_average_precision_score(gold, scores))
    found = over_relations([{"type": "one relation", "rank": float(at)} for at in ranks])
    assert found["mrr"] == pytest.approx(metrics.label_ranking_average_precision_score(gold, scores))
    assert found["p@1"] == pytest.approx(metrics.accuracy_score(truth, scores.argmax(1)))
    assert found["p@10"] == pytest.approx(metrics.top_k_accuracy_score(truth, scores, k=10, labels=range(15)))


def test_reciprocal_rank_of_the_best_right_candidate(draw):
    probable, right = softmax(draw.normal(size=(40, 5)), axis=1), draw.integers(5, size=40)
    rows = [
        {"group": str(q), "target": str(int(c == right[q])), "score": float(probable[q, c])}
        for q in range(40)
        for c in range(5)
    ]
    expected = metrics.label_ranking_average_precision_score(np.eye(5)[right], probable)
    assert reciprocal_rank(rows, "1") == pytest.approx(expected)


def test_names_of_one_word_are_counted_as_labels(draw):
    """Where every name is one word, exact names are the multiclass micro measure without the tag outside."""
    tags = ("O", "S-PER", "S-LOC")
    given, gold = (draw.choice(tags, (20, 8)) for _ in range(2))
    found = exact([(list(map(str, a)), list(map(str, t))) for a, t in zip(given, gold, strict=True)])
    expected = metrics.precision_recall_fscore_support(gold.ravel(), given.ravel(), labels=tags[1:], average="micro")
    assert list(found.values()) == pytest.approx(expected[:3])


def test_cosines(draw):
    left, right = (draw.normal(size=(12, 7)) for _ in range(2))
    tensors = torch.from_numpy(left), torch.from_numpy(right)
    np.testing.assert_allclose(cosine(*tensors).numpy(), cosine_similarity(left, right), atol=1e-12)
    expected = cosine_similarity(left - left.mean(0), right - right.mean(0))
    np.testing.assert_allclose(centred(*tensors).numpy(), expected, atol=1e-12)
    cosines = cosine_similarity(left, right)
    near = [np.sort(side, axis=1)[:, -4:].mean(1) for side in (cosines, cosines.T)]
    np.testing.assert_allclose(margin(*tensors).numpy(), 2 * cosines / (near[0][:, None] + near[1][None]), atol=1e-12)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_not_finite_has_no_rank(value):
    scores = torch.tensor([[0.5, 1.0, value], [0.0, 1.0, 2.0]])
    refused = pytest.raises(
        UserError, match=r"^1 of 6 scores of candidates are not finite \(the first is (nan|-?inf)\)"
    )
    with refused:
        rank(scores, torch.tensor([2, 2]))
    rows = [{"group": "q", "target": "1", "score": 0.5}, {"group": "q", "target": "0", "score": value}]
    with pytest.raises(UserError, match=r"^1 of 2 scores of candidates are not finite"):
        reciprocal_rank(rows, "1")
    assert finite_scores(scores[1], "answers") is not None


def test_an_answer_that_is_not_known_has_rank_0():
    assert rank(torch.tensor([[0.5, 1.0], [1.0, 1.0]]), torch.tensor([UNKNOWN, 1])).tolist() == [0, 2]
