"""Matched and mismatched pairs."""

import math

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.objectives.pairs import ImageTextMatching, Pairs, pair_loss


def examples(count: int, image_of: list[int] | None = None) -> Inputs:
    images = count if image_of is None else max(image_of) + 1
    return Inputs(
        text=Tokens.of([[5, 6]] * count),
        regions=Regions(torch.rand(images, 6), torch.rand(images, 4), SequenceLayout((1,) * images)),
        image_of=None if image_of is None else torch.tensor(image_of),
    )


def prepare(inputs: Inputs, rate: float) -> Pairs:
    return ImageTextMatching(rate=rate).prepare(inputs, torch.Generator().manual_seed(0))


def test_the_given_share_is_mismatched() -> None:
    matched = prepare(examples(10_000), rate=0.3).matched
    assert abs(float(matched.float().mean()) - 0.7) < 4 * math.sqrt(0.3 * 0.7 / 10_000)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_matched_means_its_own_image(count: int) -> None:
    pairs = prepare(examples(count), rate=1.0)
    assert torch.equal(pairs.matched == 1, pairs.inputs.image_of == torch.arange(count))
    assert pairs.matched.sum() == (1 if count == 1 else 0), "a lone example has no other companion"


def test_another_text_about_the_same_image_is_no_mismatch() -> None:
    about = [0] * 30 + [1] * 30
    pairs, own = prepare(examples(60, about), rate=1.0), torch.tensor(about)
    assert torch.equal(pairs.matched == 1, pairs.inputs.image_of == own)
    assert 0 < pairs.matched.sum() < 60


def test_a_mismatch_is_what_the_system_sees() -> None:
    """The loss of a pair is that of the text with the image that it was given."""
    system = mm_kptm.build(
        "uniter-base",
        heads=["image-text-matching"],
        seed=0,
        dim=8,
        num_heads=2,
        num_layers=1,
        ffn_dim=8,
        vocab_size=9,
        region_dim=6,
    )
    torch.manual_seed(0)
    objective, inputs = ImageTextMatching(rate=1.0), examples(4)
    pairs = objective.prepare(inputs, torch.Generator().manual_seed(1))
    assert inputs.regions is not None and pairs.inputs.image_of is not None
    given = Regions(
        inputs.regions.features[pairs.inputs.image_of],
        inputs.regions.boxes[pairs.inputs.image_of],
        SequenceLayout((1,) * 4),
    )
    scores = system.head("image-text-matching")(system(Inputs(text=inputs.text, regions=given)).pooled)
    torch.testing.assert_close(objective.measure(system, pairs), -scores.log_softmax(-1)[:, 0])
    torch.testing.assert_close(objective.loss(system, pairs), pair_loss(scores, pairs.matched))
