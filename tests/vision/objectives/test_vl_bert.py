"""VL-BERT's pretraining in one pass."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mm_kptm.batch import Inputs, Regions, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.pairs import ImageTextMatching
from mm_kptm.objectives.tokens import Bernoulli, Masking
from mm_kptm.vision.objectives.vl_bert import (
    VlBertPretraining,
    VlBertRegionMasking,
    mean_over_examples,
    mean_over_predictions,
    soft_cross_entropy,
)
from tests.vision.conftest import regions_of
from tests.vision.test_vl_bert import small

MASKING = Masking(mask_id=1, pool=(5, 40), never=frozenset({2, 3}), policy=Bernoulli(0.5), mask_units_alike=True)


def many(regions: int = 4000) -> Regions:
    return regions_of(*[4] * (regions // 4))


def test_regions_are_hidden_as_published() -> None:
    """0.15 are chosen and 0.9 of these hidden: of 4,000 regions, within four standard deviations."""
    regions = many()
    covered, named = VlBertRegionMasking().mask(regions, torch.Generator().manual_seed(0))
    chosen, hidden = int(named.sum()), int(covered.masked.sum())
    assert abs(chosen - 600) < 4 * (4000 * 0.15 * 0.85) ** 0.5
    assert abs(hidden - 0.9 * chosen) < 4 * (chosen * 0.09) ** 0.5
    assert not (covered.masked & ~named).any()
    assert covered.features[covered.masked].abs().sum() == 0 and covered.classes is None
    assert torch.equal(covered.features[~covered.masked], regions.features[~covered.masked])


def test_the_whole_image_is_never_chosen_where_it_is_a_region() -> None:
    hiding = VlBertRegionMasking(policy=Bernoulli(1.0), spares_first=True)
    covered, named = hiding.mask(regions_of(2, 3), torch.Generator().manual_seed(0))
    assert named.tolist() == [False, True, False, True, True]
    assert not covered.masked[[0, 2]].any()


def test_a_region_whose_classes_do_not_sum_to_one_is_hidden_but_not_named() -> None:
    regions = regions_of(3)
    regions = replace(regions, classes=regions.classes * torch.tensor([[1.0], [0.95], [0.85]]))
    covered, named = VlBertRegionMasking(policy=Bernoulli(1.0), mask_share=1.0).mask(regions, torch.Generator())
    assert covered.masked.all() and named.tolist() == [True, True, False]


def test_soft_cross_entropy_of_a_sure_detector_is_that_of_its_class() -> None:
    logits, labels = torch.randn(4, 7), torch.tensor([0, 3, 6, 3])
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(soft_cross_entropy(logits, torch.eye(7)[labels]), expected)


def test_the_two_means() -> None:
    """Losses 1, 2, 3 of the first example and 6 of the third of three."""
    losses, owners = torch.tensor([1.0, 2.0, 3.0, 6.0]), torch.tensor([0, 0, 0, 2])
    torch.testing.assert_close(mean_over_predictions(losses, owners, 3), torch.tensor(3.0))
    expected = (6 / 3.0001 + 6 / 1.0001) / 2.0001
    torch.testing.assert_close(mean_over_examples(losses, owners, 3), torch.tensor(expected))
    assert mean_over_predictions(losses[:0], owners[:0], 3) == mean_over_examples(losses[:0], owners[:0], 3) == 0


def test_a_shared_region_is_named_for_every_text_that_sees_it(inputs: Inputs) -> None:
    objective = VlBertPretraining(MASKING, VlBertRegionMasking(policy=Bernoulli(1.0)))
    shared = replace(inputs.with_streams(regions=regions_of(4, 2)), image_of=torch.tensor([1, 0, 1]))
    batch = objective.prepare(shared, torch.Generator().manual_seed(0))
    assert batch.region_sequence_ids.tolist() == [0, 0, 1, 1, 1, 1, 2, 2]
    assert torch.equal(batch.classes[:2], batch.classes[6:])
    system = small()
    parts = objective.parts(system, batch)
    assert list(parts) == ["masked-tokens", "masked-region-classes"] == list(objective.heads)
    torch.testing.assert_close(objective.loss(system, batch), sum(parts.values()))
    assert objective.measure(system, batch).shape == (3,)


def test_text_alone_is_masked_token_prediction(inputs: Inputs) -> None:
    objective = VlBertPretraining(MASKING)
    batch = objective.prepare(inputs.with_streams(regions=None), torch.Generator().manual_seed(0))
    assert list(objective.parts(small(), batch)) == ["masked-tokens"] and len(batch.rows)


def test_matching_is_asked_only_on_request(inputs: Inputs) -> None:
    plain = VlBertPretraining(MASKING).prepare(inputs, torch.Generator().manual_seed(0))
    assert plain.matched is None and plain.inputs.image_of is None
    asked = VlBertPretraining(MASKING, matching=ImageTextMatching(rate=1.0))
    batch = asked.prepare(inputs, torch.Generator().manual_seed(0))
    assert batch.matched.tolist() == [0, 0, 0]
    assert asked.heads[-1] == "image-text-matching"


def test_a_word_is_hidden_whole_and_alike() -> None:
    """All pieces of a word are masked, replaced or kept together."""
    text = Tokens.of([[2, *range(5, 35), 3]], mask_groups=[[-1, *(number // 3 for number in range(30)), -1]])
    hidden = VlBertPretraining(MASKING).prepare(Inputs(text=text), torch.Generator().manual_seed(0))
    ids = hidden.inputs.text.ids[1:-1].view(10, 3)
    chosen = torch.zeros(32, dtype=torch.bool).index_fill(0, hidden.rows, value=True)[1:-1].view(10, 3)
    assert torch.equal(chosen.any(1), chosen.all(1)) and chosen.any()
    masked = ids == 1
    assert torch.equal(masked.any(1), masked.all(1)) and masked.any()


def test_regions_without_classes_are_refused(inputs: Inputs) -> None:
    bare = inputs.with_streams(regions=replace(inputs.regions, classes=None))
    with pytest.raises(
        UserError, match="masked regions are named as the detector did, but the regions carry no classes"
    ):
        VlBertPretraining(MASKING).prepare(bare, torch.Generator())
