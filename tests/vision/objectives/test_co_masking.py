"""Aligned words of a caption and its translation are masked together, or each token by itself."""

import pytest
import torch

from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.tokens import Bernoulli, Masking
from mm_kptm.vision.objectives.co_masking import VisualTranslationLanguageModeling

MASKING = Masking(4, (5, 30), frozenset({0, 2, 3}), policy=Bernoulli(0.4), mask_share=1.0, random_share=0.0)
#: [CLS] two words [SEP] [CLS] three words [SEP]: the words of the caption are 0 and 1, the last one has no partner
GROUPS = [-1, 0, 1, -1, -1, 1, 0, -1, -1]
IDS = [2, 10, 11, 3, 2, 20, 21, 22, 3]


def masked(share: float, seed: int) -> set[int]:
    objective = VisualTranslationLanguageModeling(MASKING, share=share)
    inputs = Inputs(text=Tokens.of([IDS], mask_groups=[GROUPS]))
    return set(objective.prepare(inputs, torch.Generator().manual_seed(seed)).rows.tolist())


def test_aligned_words_are_masked_together_and_those_without_partner_never():
    found = [masked(1.0, seed) for seed in range(60)]
    assert all((1 in rows) == (6 in rows) and (2 in rows) == (5 in rows) and 7 not in rows for rows in found)
    assert {frozenset(rows) for rows in found} == {
        frozenset(),
        frozenset({1, 6}),
        frozenset({2, 5}),
        frozenset({1, 2, 5, 6}),
    }


def test_otherwise_every_token_is_masked_by_itself():
    found = [masked(0.0, seed) for seed in range(60)]
    assert any(7 in rows for rows in found) and any((1 in rows) != (6 in rows) for rows in found)
    assert not any(rows & {0, 3, 4, 8} for rows in found)


def test_texts_without_alignment_and_shares_that_are_none_are_refused():
    inputs = Inputs(text=Tokens.of([IDS]))
    with pytest.raises(UserError, match=r"masks aligned words, but the inputs have no text with mask groups$"):
        VisualTranslationLanguageModeling(MASKING).prepare(inputs, torch.Generator())
    with pytest.raises(UserError, match=r"^a share of 2 of the examples is no probability; choose one from 0 to 1$"):
        VisualTranslationLanguageModeling(MASKING, share=2)
