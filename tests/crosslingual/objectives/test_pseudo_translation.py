"""Masked tokens are predicted from the other sentence alone, and from translations that the model makes up."""

from dataclasses import replace
from typing import Any

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.objectives.masking import xlm_masking
from mm_kptm.crosslingual.objectives.pseudo_translation import BackTranslatedMaskedTokens, CrossAttentionMaskedTokens
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError

SPECIALS = Specials(pad=1, unknown=3, start=0, stop=2, mask=29, between=2)
MASKING = xlm_masking(SPECIALS, 30, rate=0.4)


def system() -> Any:
    sizes = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 8, "vocab_size": 30, "max_positions": 40}
    return mm_kptm.build("ernie-m-base", heads=["masked-tokens"], seed=0, **{**sizes, "dropout": 0.0}).eval()


def inputs() -> Inputs:
    texts = [[0, 10, 11, 12, 13, 2], [0, 14, 15, 2]]
    return Inputs(text=Tokens.of(texts), target=Tokens.of([[0, 20, 21, 2], [0, 22, 23, 24, 2]]))


def test_a_masked_token_is_predicted_from_the_other_sentence_alone() -> None:
    model, objective = system(), CrossAttentionMaskedTokens(MASKING, separators=(2,))
    batch = objective.prepare(inputs(), torch.Generator().manual_seed(2))
    text = batch.inputs.text
    assert text.ids.tolist()[5:7] == [2, 2] or 5 in batch.rows.tolist() or 6 in batch.rows.tolist()
    before = objective.losses(model, batch)
    sides = text.attention_mask.sides
    first = (sides[batch.rows] == 0) & (batch.sequence_ids == 0)
    assert first.any() and (~first).any()
    clean = torch.ones(text.rows, dtype=torch.bool)
    clean[batch.rows] = False
    other = text.ids.clone()
    changed = clean & (sides == 0) & (text.layout.sequence_ids(text.ids.device) == 0)
    other[changed] = 17
    after = objective.losses(model, replace(batch, inputs=Inputs(text=replace(text, ids=other))))
    torch.testing.assert_close(after[first], before[first])
    across = (sides[batch.rows] == 1) & (batch.sequence_ids == 0)
    assert not across.any() or not torch.allclose(after[across], before[across])


def test_pseudo_tokens_are_those_behind_the_whole_text_and_never_special() -> None:
    model, objective = system(), BackTranslatedMaskedTokens(MASKING, SPECIALS, count=3)
    batch = objective.prepare(inputs(), torch.Generator().manual_seed(0))
    assert [part.tolist() for part in batch.extended.layout.split(batch.extended.ids)] == [
        [0, 10, 11, 12, 13, 2, 29, 29, 29],
        [0, 14, 15, 2, 29, 29, 29],
    ], "the first stage sees the unmasked text"
    found = objective.pseudo_tokens(model, batch.extended)
    assert found.shape == (6,) and not set(found.tolist()) & {0, 1, 2, 3, 29}
    with torch.no_grad():
        model.head("masked-tokens").bias[19] = 50.0
    assert objective.pseudo_tokens(model, batch.extended).tolist() == [19] * 6
    assert not model.training


def test_masked_tokens_are_predicted_beside_the_pseudo_tokens() -> None:
    model, objective = system(), BackTranslatedMaskedTokens(MASKING, SPECIALS, count=2)
    batch = objective.prepare(inputs(), torch.Generator().manual_seed(0))
    pseudo = objective.pseudo_tokens(model, batch.extended).tolist()
    hidden = [part.tolist() for part in batch.inputs.text.layout.split(batch.inputs.text.ids)]
    whole = Tokens.of([[*hidden[0], *pseudo[:2]], [*hidden[1], *pseudo[2:]]])
    rows = torch.tensor([row + 2 * int(row >= 6) for row in batch.rows.tolist()])
    scores = model.head("masked-tokens")(model(Inputs(text=whole)).text[rows])
    expected = torch.nn.functional.cross_entropy(scores, batch.labels, reduction="none")
    torch.testing.assert_close(objective.losses(model, batch), expected)
    assert objective.measure(model, batch).shape == (2,)


def test_at_least_one_pseudo_token_is_made() -> None:
    with pytest.raises(UserError, match=r"^back-translated-masked-tokens appends at least one pseudo token to a text"):
        BackTranslatedMaskedTokens(MASKING, SPECIALS, count=0)
