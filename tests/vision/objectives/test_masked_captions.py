"""Captions that are learned by filling in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.tokens import Masking
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.single_stream.caption_mask import CausalCaption
from mm_kptm.vision.objectives.masked_captions import CaptionShare, MaskedCaptions
from mm_kptm.vision.objectives.soft_targets import label_smoothing_kl
from tests.vision.conftest import REGION_DIM, regions_of

MASKING = Masking(mask_id=1, pool=(5, 40), never=frozenset({2}), policy=CaptionShare())


@pytest.fixture
def oscar() -> System:
    sizes = {"dim": 16, "num_heads": 2, "num_layers": 2, "ffn_dim": 32, "vocab_size": 40, "max_positions": 20}
    return mm_kptm.build("oscar", heads=["masked-tokens"], seed=3, **sizes, region_dim=REGION_DIM, dropout=0.0)


def captions() -> Inputs:
    """[CLS] caption [SEP], then tags."""
    text = Tokens.of(
        [[2, 7, 8, 9, 3, 30, 31, 3], [2, 10, 11, 3, 32, 3]], segments=[[0] * 5 + [1] * 3, [0] * 4 + [1] * 2]
    )
    return Inputs(text=text, regions=regions_of(3, 2))


def seen(given: Inputs) -> Inputs:
    return given.with_streams(text=replace(given.text, attention_mask=CausalCaption(given.text.segments == 0)))


def test_a_word_changes_only_the_words_behind_it(oscar: System) -> None:
    given = seen(captions())
    ids = given.text.ids.clone()
    ids[2] = 20  # the second word of the first caption
    before, after = oscar(given), oscar(given.with_streams(text=replace(given.text, ids=ids)))
    changed = (before.text != after.text).any(1).nonzero().squeeze(1).tolist()
    assert changed == [2, 3, 4]
    assert torch.equal(before.regions, after.regions)


def test_tags_and_regions_are_seen_by_all_of_their_text(oscar: System) -> None:
    given = seen(captions())
    ids = given.text.ids.clone()
    ids[5] = 20  # the first tag of the first text
    before, after = oscar(given), oscar(given.with_streams(text=replace(given.text, ids=ids)))
    assert (before.text != after.text).any(1).tolist() == [True] * 8 + [False] * 6
    assert (before.regions != after.regions).any(1).tolist() == [True] * 3 + [False] * 2


@pytest.mark.parametrize(("words", "count"), [(1, 1), (9, 2), (14, 2), (15, 3), (40, 3)])
def test_oscar_hides_a_share_of_the_caption_with_its_markers(words: int, count: int) -> None:
    """round(0.15 x (words + [CLS] + [SEP])), at least 1 and at most 3."""
    given = Inputs(text=Tokens.of([[2, *range(5, 5 + words), 3, 30, 3]], segments=[[0] * (words + 2) + [1, 1]]))
    for seed in range(20):
        batch = MaskedCaptions(MASKING).prepare(given, torch.Generator().manual_seed(seed))
        assert len(batch.rows) == count
        assert int(batch.rows.min()) > 0 and int(batch.rows.max()) <= words + 1, "a word of the caption or its [SEP]"


def test_the_end_of_a_caption_is_learned() -> None:
    found = {
        label
        for seed in range(40)
        for label in MaskedCaptions(MASKING).prepare(captions(), torch.Generator().manual_seed(seed)).labels.tolist()
    }
    assert found == {7, 8, 9, 10, 11, 3}


def test_vlp_counts_the_words_alone() -> None:
    """round(0.15 x words) of words and the last [SEP]."""
    draws, may = torch.rand(12, generator=torch.Generator().manual_seed(0)), torch.ones(12, dtype=torch.bool)
    assert int(CaptionShare(beside=-1)(draws, may, SequenceLayout((12,))).sum()) == round(0.15 * 11) == 2
    assert int(CaptionShare(beside=1)(draws, may, SequenceLayout((12,))).sum()) == round(0.15 * 13) == 2
    assert int(CaptionShare(beside=-1)(draws, may, SequenceLayout((4, 8))).sum()) == 2


def test_smoothed_labels_leave_the_same_to_every_other_word() -> None:
    """Hand case: two words besides the label, uniform prediction: sum of q log(3 q)."""
    loss = label_smoothing_kl(torch.zeros(1, 3), torch.tensor([1]), smoothing=0.2)
    q = torch.tensor([0.1, 0.8, 0.1])
    torch.testing.assert_close(loss, (q * (3 * q).log()).sum().reshape(1))
    excluded = label_smoothing_kl(torch.zeros(2, 3), torch.tensor([1, 0]), smoothing=0.2, never=0)
    q = torch.tensor([0.8, 0.2])
    torch.testing.assert_close(excluded, torch.stack([(q * (3 * q).log()).sum(), torch.tensor(0.0)]))


def test_the_worst_predictions_may_be_left_out(oscar: System) -> None:
    batch = MaskedCaptions(MASKING).prepare(captions(), torch.Generator().manual_seed(0))
    losses = MaskedCaptions(MASKING).losses(oscar, batch)
    assert len(losses) == 2
    torch.testing.assert_close(MaskedCaptions(MASKING).loss(oscar, batch), losses.mean())
    torch.testing.assert_close(MaskedCaptions(MASKING, drop_worst=0.5).loss(oscar, batch), losses.min())
    torch.testing.assert_close(MaskedCaptions(MASKING).measure(oscar, batch), losses)


def test_regions_alone_have_no_caption() -> None:
    regions: Regions = regions_of(2)
    with pytest.raises(UserError, match="masked-captions masks words of captions, but the inputs have no text"):
        MaskedCaptions(MASKING).prepare(Inputs(regions=regions), torch.Generator())
