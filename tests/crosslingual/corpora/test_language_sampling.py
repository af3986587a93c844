"""Small languages are read more often than their share."""

import pytest
import torch

from mm_kptm.crosslingual.corpora.language_sampling import drawn, shares
from mm_kptm.errors import UserError

COUNTS = {"en": 900, "de": 90, "sw": 10}


def test_a_factor_of_one_leaves_the_shares_and_of_zero_makes_them_equal() -> None:
    assert shares(COUNTS, 1.0) == pytest.approx({"en": 0.9, "de": 0.09, "sw": 0.01})
    assert shares(COUNTS, 0.0) == pytest.approx(dict.fromkeys(COUNTS, 1 / 3))


def test_between_them_small_languages_gain() -> None:
    softened = shares(COUNTS, 0.7)
    assert sum(softened.values()) == pytest.approx(1)
    assert softened["sw"] / softened["en"] == pytest.approx((10 / 900) ** 0.7)


def test_examples_are_drawn_with_the_shares_of_their_languages() -> None:
    languages = [language for language, count in COUNTS.items() for _ in range(count)]
    chosen = drawn(languages, 0.5, 20000, torch.Generator().manual_seed(0)).tolist()
    for language, share in shares(COUNTS, 0.5).items():
        assert sum(languages[number] == language for number in chosen) / 20000 == pytest.approx(share, abs=0.015)
    assert len(set(chosen)) > 900, "every example of a language is as likely"
    assert chosen == drawn(languages, 0.5, 20000, torch.Generator().manual_seed(0)).tolist()


def test_a_language_without_text_is_refused() -> None:
    with pytest.raises(UserError, match=r"^the language sw has 0 sentences, so none can be drawn; leave it out$"):
        shares({"en": 3, "sw": 0}, 0.7)
