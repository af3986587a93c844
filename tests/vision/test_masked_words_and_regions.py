"""VL-BERT's pretraining in one pass."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mm_kptm.batch import Inputs, Regions, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.pairs import ImageTextMatching
from mm_kptm.objectives.tokens import Bernoulli, Masking
from mm_kptm.vision.pretraining.masked_words_and_regions import (
    MaskedWordsAndRegions,
    RegionHiding,
    over_all,
    over_examples,
    soft_cross_entropy,
)
from tests.vision.conftest import regions_of
from tests.vision.test_vl_bert import small

MASKING = Masking(mask_id=1, pool=(5, 40), never=frozenset({2, 3}), choice=Bernoulli(0.5), alike=True)


def many(regions: int = 4000) -> Regions:
    return regions_of(*[4] * (regions // 4))


def test_regions_are_hidden_as_published() -> None:
    """0.15 are chosen and 0.9 of these hidden: of 4,000 regions, within four standard deviations."""
    regions = many()
    covered, named = RegionHiding().hide(regions, torch.Generator().manual_seed(0))
    chosen, hidden = int(named.sum()), int(covered.hidden.sum())
    assert abs(chosen - 600) < 4 * (4000 * 0.15 * 0.85) ** 0.5
    assert abs(hidden - 0.9 * chosen) < 4 * (chosen * 0.09) ** 0.5
    assert not (covered.hidden & ~named).any()
    assert covered.features[covered.hidden].abs().sum() == 0 and covered.classes is None
    assert torch.equal(covered.features[~covered.hidden], regions.features[~covered.hidden])


def test_the_whole_image_is_never_chosen_where_it_is_a_region() -> None:
    hiding = RegionHiding(choice=Bernoulli(1.0), spares_first=True)
    covered, named = hiding.hide(regions_of(2, 3), torch.Generator().manual_seed(0))
    assert named.tolist() == [False, True, False, True, True]
    assert not covered.hidden[[0, 2]].any()


def test_a_region_whose_classes_do_not_sum_to_one_is_hidden_but_not_named() -> None:
    regions = regions_of(3)
    regions = replace(regions, classes=regions.classes * torch.tensor([[1.0], [0.95], [0.85]]))
    covered, named = RegionHiding(choice=Bernoulli(1.0), masked=1.0).hide(regions, torch.Generator())
    assert covered.hidden.all() and named.tolist() == [True, True, False]


def test_soft_cross_entropy_of_a_sure_detector_is_that_of_its_class() -> None:
    logits, labels = torch.randn(4, 7), torch.tensor([0, 3, 6, 3])
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(soft_cross_entropy(logits, torch.eye(7)[labels]), expected)


def test_the_two_means() -> None:
    """Losses 1, 2, 3 of the first example and 6 of the third of three."""
    losses, owners = torch.tensor([1.0, 2.0, 3.0, 6.0]), torch.tensor([0, 0, 0, 2])
    torch.testing.assert_close(over_all(losses, owners, 3), torch.tensor(3.0))
    expected = (6 / 3.0001 + 6 / 1.0001) / 2.0001
    torch.testing.assert_close(over_examples(losses, owners, 3), torch.tensor(expected))
    assert over_all(losses[:0], owners[:0], 3) == over_examples(losses[:0], owners[:0], 3) == 0


def test_a_shared_region_is_named_for_every_text_that_sees_it(inputs: Inputs) -> None:
    objective = MaskedWordsAndRegions(MASKING, RegionHiding(choice=Bernoulli(1.0)))
    shared = replace(inputs, regions=regions_of(4, 2), image_of=torch.tensor([1, 0, 1]))
    puzzle = objective.puzzle(shared, torch.Generator().manual_seed(0))
    assert puzzle.region_owners.tolist() == [0, 0, 1, 1, 1, 1, 2, 2]
    assert torch.equal(puzzle.classes[:2], puzzle.classes[6:])
    system = small()
    parts = objective.parts(system, puzzle)
    assert list(parts) == ["masked-tokens", "masked-region-classes"] == list(objective.heads)
    torch.testing.assert_close(objective.loss(system, puzzle), sum(parts.values()))
    assert objective.measure(system, puzzle).shape == (3,)


def test_text_alone_is_masked_token_prediction(inputs: Inputs) -> None:
    objective = MaskedWordsAndRegions(MASKING)
    puzzle = objective.puzzle(replace(inputs, regions=None), torch.Generator().manual_seed(0))
    assert list(objective.parts(small(), puzzle)) == ["masked-tokens"] and len(puzzle.rows)


def test_matching_is_asked_only_on_request(inputs: Inputs) -> None:
    plain = MaskedWordsAndRegions(MASKING).puzzle(inputs, torch.Generator().manual_seed(0))
    assert plain.matched is None and plain.inputs.image_of is None
    asked = MaskedWordsAndRegions(MASKING, matching=ImageTextMatching(rate=1.0))
    puzzle = asked.puzzle(inputs, torch.Generator().manual_seed(0))
    assert puzzle.matched.tolist() == [0, 0, 0]
    assert asked.heads[-1] == "image-text-matching"


def test_a_word_is_hidden_whole_and_alike() -> None:
    """All pieces of a word are masked, replaced or kept together."""
    text = Tokens.of([[2, *range(5, 35), 3]], units=[[-1, *(number // 3 for number in range(30)), -1]])
    hidden = MaskedWordsAndRegions(MASKING).puzzle(Inputs(text=text), torch.Generator().manual_seed(0))
    ids = hidden.inputs.text.ids[1:-1].view(10, 3)
    chosen = torch.zeros(32, dtype=torch.bool).index_fill(0, hidden.rows, value=True)[1:-1].view(10, 3)
    assert torch.equal(chosen.any(1), chosen.all(1)) and chosen.any()
    masked = ids == 1
    assert torch.equal(masked.any(1), masked.all(1)) and masked.any()


def test_regions_without_classes_are_refused(inputs: Inputs) -> None:
    bare = replace(inputs, regions=replace(inputs.regions, classes=None))
    with pytest.raises(
        UserError, match="hidden regions are named as the detector did, but the regions carry no classes"
    ):
        MaskedWordsAndRegions(MASKING).puzzle(bare, torch.Generator())
