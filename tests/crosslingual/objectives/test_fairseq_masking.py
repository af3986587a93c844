"""fairseq's masking: how many tokens are hidden, and what is shown in their place."""

import pytest
import torch

from mm_kptm.batch import Tokens
from mm_kptm.crosslingual.objectives.fairseq_masking import FairseqMasking
from mm_kptm.errors import UserError

MASK = 99


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_fairseq_hides_the_share_on_average_and_the_ends_too() -> None:
    masking = FairseqMasking(mask_id=MASK, vocab_size=100)
    text = Tokens.of([[0, *range(10, 19), 2]] * 2000)
    hidden, rows = masking.mask(text, generator())
    counts = torch.bincount(text.layout.sequence_ids(rows.device)[rows], minlength=2000)
    assert set(counts.tolist()) == {1, 2}, "11 * 0.15 = 1.65"
    assert abs(float(counts.double().mean()) - 1.65) < 0.03
    assert {0, 10} <= set(text.layout.offsets_in_sequence(rows.device)[rows].tolist())
    changed = hidden.ids != text.ids
    assert not changed[[row for row in range(text.rows) if row not in set(rows.tolist())]].any()
    shown = hidden.ids[rows]
    assert abs(float((shown == MASK).double().mean()) - 0.8) < 0.02
    assert abs(float((shown == text.ids[rows]).double().mean()) - 0.1) < 0.02
    swapped = shown[(shown != text.ids[rows]) & (shown != MASK)]
    assert swapped.min() >= 4


def test_fairseq_shares_are_shares() -> None:
    with pytest.raises(UserError, match=r"rate is 0.15, keep_share 0.7 and random_share 0.5"):
        FairseqMasking(mask_id=MASK, vocab_size=100, keep_share=0.7, random_share=0.5)
