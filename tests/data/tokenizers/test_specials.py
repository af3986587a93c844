"""Special tokens: a tokenizer without a mask token hides no words."""

import pytest

from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError
from mm_kptm.objectives.spec import TEXTS, ObjectiveContext, Offers, build_objectives

SENTENCE = r"^a mask token is needed, but the tokenizer has none"


@pytest.mark.parametrize(
    "objective", ["masked-tokens", "masked-spans", "denoising", "masked-span-generation", "word-denoising"]
)
def test_objectives_that_hide_words_are_refused_without_a_mask_token(objective):
    of_t5 = Specials(pad=0, unknown=2, start=0, stop=1, mask=2, opens=False)
    with pytest.raises(UserError, match=SENTENCE):
        build_objectives([objective], ObjectiveContext(of_t5, 100, Offers("documents", {TEXTS: None})))


def test_the_mask_token_of_others():
    assert Specials(pad=0, unknown=100, start=101, stop=102, mask=103).mask_id == 103
