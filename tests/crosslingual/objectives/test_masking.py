"""What XLM hides."""

import torch

from mm_kptm.batch import Tokens
from mm_kptm.crosslingual.objectives.masking import xlm_masking
from mm_kptm.data.tokenizers.protocol import Specials

SPECIALS = Specials(pad=2, unknown=3, start=1, stop=1, mask=5)
TEXT = Tokens.of([[1, 20, 1, 1, 30, 1], [1, 14, 1]] * 400)


def test_the_first_of_a_sequence_is_never_hidden_and_an_inner_end_is() -> None:
    _, rows = xlm_masking(SPECIALS, 40, rate=1.0).mask(TEXT, torch.Generator().manual_seed(0))
    assert rows.tolist() == [row for row in range(TEXT.rows) if TEXT.positions[row] > 0]


def test_each_other_token_is_hidden_by_itself() -> None:
    _, rows = xlm_masking(SPECIALS, 40).mask(TEXT, torch.Generator().manual_seed(0))
    assert abs(len(rows) / (400 * 7) - 0.15) < 0.02


def test_a_random_token_may_be_any_of_the_vocabulary() -> None:
    hidden, rows = xlm_masking(SPECIALS, 40, rate=1.0).mask(TEXT, torch.Generator().manual_seed(0))
    assert set(hidden.ids[rows].tolist()) == set(range(40))
