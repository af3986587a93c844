"""InfoWord: what is masked, what is cut out, and what is contrasted."""

from __future__ import annotations

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError
from mm_kptm.objectives.ngram_contrast import NgramContrast

SPECIALS = Specials(pad=0, unknown=1, start=2, stop=3, mask=4)
TEXT = Inputs(text=Tokens.of([[2, 7, 8, 9, 10, 3], [2, 11, 12, 3, 13, 3], [2, 3]]))


def drawn(seed: int, **more: int) -> list[tuple[list[int], list[int]]]:
    batch = NgramContrast(SPECIALS, **more).prepare(TEXT, torch.Generator().manual_seed(seed))
    anchors, ngrams = batch.anchors.text, batch.ngrams.text
    return [
        (one.tolist(), other.tolist())
        for one, other in zip(anchors.layout.split(anchors.ids), ngrams.layout.split(ngrams.ids), strict=True)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_an_ngram_is_hidden_from_its_sentence_and_stands_alone(seed: int) -> None:
    pairs = drawn(seed)
    assert len(pairs) == 2, "a text without a word has no n-gram"
    for (anchor, ngram), original in zip(pairs, ([2, 7, 8, 9, 10, 3], [2, 11, 12, 3, 13, 3]), strict=True):
        hidden = [word for word, shown in zip(original, anchor, strict=True) if shown == 4]
        assert ngram == [2, *hidden, 3]
        assert hidden and 3 not in hidden
        assert [word for word in anchor if word != 4] == [word for word in original if word not in hidden]


def test_lengths_are_bounded() -> None:
    assert {len(ngram) - 2 for seed in range(20) for _, ngram in drawn(seed, longest=1)} == {1}
    assert max(len(ngram) - 2 for seed in range(20) for _, ngram in drawn(seed)) == 4


def test_the_loss_is_info_nce_of_products_of_first_states() -> None:
    system = mm_kptm.build("infoword", seed=0, heads=[], num_layers=1, dim=8, num_heads=2, ffn_dim=8, vocab_size=20)
    objective = NgramContrast(SPECIALS)
    batch = objective.prepare(TEXT, torch.Generator().manual_seed(0))
    anchors, ngrams = (
        torch.stack([rows[0] for rows in one.text.layout.split(system(one).text)])
        for one in (batch.anchors, batch.ngrams)
    )
    scores = anchors @ ngrams.T
    expected = -(scores.diagonal() - scores.logsumexp(1)).mean()
    torch.testing.assert_close(objective.loss(system, batch), expected)
    torch.testing.assert_close(objective.measure(system, batch).mean(), expected)
    other = NgramContrast(SPECIALS, estimator="jsd").loss(system, batch)
    assert not torch.allclose(other, expected)


def test_what_cannot_be_contrasted_is_said() -> None:
    one = Inputs(text=Tokens.of([[2, 7, 3], [2, 3]]))
    with pytest.raises(UserError, match="but 1 of 2 sentences of a batch have a word; take larger batches"):
        NgramContrast(SPECIALS).prepare(one, torch.Generator())
    with pytest.raises(UserError, match="estimated by jsd, dv, infonce, not by 'mine'"):
        NgramContrast(SPECIALS, estimator="mine")
    with pytest.raises(UserError, match="an n-gram has one token at least, but longest is 0"):
        NgramContrast(SPECIALS, longest=0)
