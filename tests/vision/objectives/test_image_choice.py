"""The choice of the image of a caption among images of the batch."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import mm_kptm
from mm_kptm.batch import POOLED_ONLY, Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.systems.system import System
from mm_kptm.vision.objectives.image_choice import ImageChoice

SIZES: dict[str, Any] = {
    "dim": 8,
    "num_heads": 2,
    "num_layers": 1,
    "vocab_size": 20,
    "max_positions": 12,
    "region_dim": 6,
    "dropout": 0.0,
}


def examples(count: int, image_of: list[int] | None = None) -> Inputs:
    images = count if image_of is None else max(image_of) + 1
    draws = torch.Generator().manual_seed(1)
    return Inputs(
        text=Tokens.of([[5, 6 + number] for number in range(count)]),
        regions=Regions(
            torch.rand(images, 6, generator=draws),
            torch.rand(images, 4, generator=draws),
            SequenceLayout((1,) * images),
        ),
        image_of=None if image_of is None else torch.tensor(image_of),
    )


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def system() -> System:
    made = mm_kptm.build("m3p", heads=["image-text-matching"], seed=0, **SIZES)
    for number, parameter in enumerate(made.parameters()):
        torch.nn.init.normal_(parameter, std=0.5, generator=drawn(number))
    return made


@pytest.mark.parametrize(("count", "candidates"), [(7, 4), (3, 4), (2, 2), (1, 4)])
def test_every_caption_has_its_own_image_first_and_others_once(count: int, candidates: int) -> None:
    batch = ImageChoice(candidates=candidates).prepare(examples(count), drawn())
    assert batch.image_of.shape == (count, min(count, candidates)) and len(batch) == count
    assert torch.equal(batch.image_of[:, 0], torch.arange(count))
    assert all(len(set(row)) == len(row) for row in batch.image_of.tolist())
    assert torch.equal(batch.wrong.sum(1), torch.full((count,), min(count, candidates) - 1))


def test_other_captions_give_every_image_alike() -> None:
    found = torch.cat([ImageChoice(candidates=2).prepare(examples(4), drawn(n)).image_of[:, 1] for n in range(500)])
    assert min(torch.bincount(found)) > 400


@torch.no_grad()
def test_the_loss_is_the_choice_and_each_pair(system: System) -> None:
    objective = ImageChoice(candidates=3, choice_weight=2.0, pair_weight=0.5)
    inputs = examples(4)
    batch = objective.prepare(inputs, drawn())
    expected = []
    for caption, images in enumerate(batch.image_of.tolist()):
        scores = []
        for image in images:
            pair = Inputs(text=Tokens.of([[5, 6 + caption]]), regions=inputs.regions, image_of=torch.tensor([image]))
            mismatched, matched = system.head("image-text-matching")(system(pair, POOLED_ONLY).pooled)[0]
            scores.append(matched - mismatched)
        logits = torch.stack(scores)
        right = torch.tensor([1.0, 0.0, 0.0])
        expected.append(2 * -logits.log_softmax(0)[0] + 0.5 * F.binary_cross_entropy(logits.sigmoid(), right))
    torch.testing.assert_close(objective.measure(system, batch), torch.stack(expected))
    torch.testing.assert_close(objective.loss(system, batch), torch.stack(expected).mean())


@torch.no_grad()
def test_another_caption_of_the_same_image_is_no_candidate(system: System) -> None:
    objective = ImageChoice(candidates=3)
    batch = objective.prepare(examples(3, [0, 0, 0]), drawn())
    assert not batch.wrong.any()
    pair = ImageChoice(candidates=3, choice_weight=0.0).measure(system, batch)
    torch.testing.assert_close(objective.measure(system, batch), pair)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"candidates": 1}, "image-choice needs two candidates at least, not 1"),
        (
            {"pair_weight": -1.0},
            "the weights of image-choice must be 0 or more, one of them positive, not 1.0 and -1.0",
        ),
        ({"pair_weight": 0.0, "choice_weight": 0.0}, "one of them positive, not 0.0 and 0.0"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ImageChoice(**arguments)
