"""Regions are told in the tokens of the names that a detector gives them."""

from dataclasses import replace

import pytest
import torch

from mm_kptm.errors import UserError
from mm_kptm.vision.objectives.region_words import MaskedRegionWords
from tests.vision.small import three_texts

NAMES = [(7, 8), (9,), (7,)]


def test_shares_of_classes_become_shares_of_tokens():
    objective = MaskedRegionWords(NAMES)
    assert objective.tokens.tolist() == [7, 8, 9]
    regions = three_texts().regions
    classes = torch.zeros(regions.layout.total, 4)
    classes[0] = torch.tensor([0.5, 0.2, 0.2, 0.1])  # half of it background, which names nothing
    classes[1:, 2] = 1.0
    told = objective.targets(replace(regions, classes=classes))
    torch.testing.assert_close(told[0], torch.tensor([0.2 / 0.5, 0.1 / 0.5, 0.2 / 0.5]))
    torch.testing.assert_close(told[1], torch.tensor([0.0, 0.0, 1.0]))
    scores = torch.full((1, 12), -50.0)
    scores[0, 9] = 50.0
    assert objective.elements(scores, told[1:2]).abs().max() < 1e-6


def test_classes_without_names_are_refused():
    with pytest.raises(UserError, match=r"^masked-region-words predicts tokens of names, but no class of the regions"):
        MaskedRegionWords([(), ()])
    regions = three_texts().regions
    with pytest.raises(UserError, match=r"needs the detector's classes of every region, but the regions carry none$"):
        MaskedRegionWords(NAMES).targets(replace(regions, classes=None))
    wrong = replace(regions, classes=torch.ones(regions.layout.total, 9))
    with pytest.raises(UserError, match=r"^the regions have 9 classes with their background, but 3 have names; name"):
        MaskedRegionWords(NAMES).targets(wrong)
