"""Tasks have the losses that each system was published with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import mm_kptm
from mm_kptm.batch import Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.vision import retrieval
from mm_kptm.tasks.vision.grounding import Expressions, Grounding
from mm_kptm.tasks.vision.retrieval import Retrieval
from mm_kptm.tasks.vision.vqa import VQA, each_answer, one_answer
from mm_kptm.vision.objectives.soft_targets import answer_kl

SIZES: dict[str, Any] = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 12, "vocab_size": 20, "region_dim": 4}
NARROW = {"region_states": 8, "region_heads": 2, "num_region_layers": 1, "region_ffn_dim": 8, "cross_dim": 8}


def small(name: str, heads: Any = ()) -> System:
    more = {**NARROW, "cross_heads": 2, "num_cross_layers": 1} if name == "vilbert" else {}
    more |= {"visual_dim": 8, "box_frequencies": 2} if name == "vl-bert" else {}
    return mm_kptm.build(name, heads=heads, seed=0, **SIZES, **more)


@pytest.mark.parametrize(
    ("name", "loss"), [("visualbert", answer_kl), ("vl-bert", each_answer), ("uniter", each_answer)]
)
def test_answers_of_soft_scores(name: str, loss: Any) -> None:
    answers = ("yes", "no")
    system = small(name, VQA.heads(mm_kptm.catalogue()[f"{name}-base"], 2))
    assert VQA(system, answers).criterion is loss
    assert VQA(system, answers, criterion=one_answer).criterion is one_answer


@pytest.mark.parametrize(
    ("name", "loss"),
    [("uniter", retrieval.margin), ("vilbert", retrieval.choice), ("oscar", retrieval.each_pair)],
)
def test_pairs_of_retrieval(name: str, loss: Any) -> None:
    assert Retrieval(small(name)).criterion is loss


def test_each_pair_is_the_cross_entropy_of_two_classes() -> None:
    right, wrong = torch.randn(5, 2), torch.randn(2, 5, 2)
    found = retrieval.each_pair(right[:, 1] - right[:, 0], wrong[..., 1] - wrong[..., 0])
    positive = F.cross_entropy(right, torch.ones(5, dtype=torch.long), reduction="none")
    negatives = [F.cross_entropy(one, torch.zeros(5, dtype=torch.long), reduction="none") for one in wrong]
    torch.testing.assert_close(found, (positive + sum(negatives) / 2) / 2)


def expressions() -> Expressions:
    """Two expressions about images of two and three regions."""
    layout = SequenceLayout((2, 3))
    torch.manual_seed(0)
    regions = Regions(torch.randn(5, 4), torch.rand(5, 4).sort(1).values, layout)
    overlaps = torch.tensor([0.7, 0.4, 0.0, 0.5, 0.9])
    about = (Example("1", "expression", "en", "a", "0"), Example("2", "expression", "en", "b", "2"))
    inputs = Inputs(text=Tokens.of([[1, 7, 2], [1, 8, 9, 2]]), regions=regions)
    return Expressions(inputs, torch.tensor([0, 2]), overlaps >= 0.5, about, overlaps)


def test_regions_of_expressions() -> None:
    batch = expressions()
    for name in ("uniter", "vl-bert", "vilbert"):
        task = Grounding(small(name, ["grounding"])).eval()
        with torch.no_grad():
            scores, loss = task(batch.inputs), task.loss(batch)
        if name == "uniter":
            expected = torch.stack(
                [F.cross_entropy(scores[:2], torch.tensor(0)), F.cross_entropy(scores[2:], torch.tensor(2))]
            )
            torch.testing.assert_close(loss, expected.mean())
        elif name == "vl-bert":  # the mean over all regions
            torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(scores, batch.right.float()))
        else:  # summed over the regions of an image; overlaps below a half count as none
            target = torch.tensor([0.7, 0.0, 0.0, 0.5, 0.9])
            each = F.binary_cross_entropy_with_logits(scores, target, reduction="none")
            torch.testing.assert_close(loss, each.sum() / 2)
