"""Whole sentences and their translations: told from hard negatives, and ranked above those of the batch."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.objectives.sentence_pairs import ParaphraseClassification, TranslationRanking
from mm_kptm.errors import UserError
from mm_kptm.nn.pooling import mean

SMALL = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 8, "vocab_size": 30, "max_positions": 20, "dropout": 0.0}


def system(**sizes: Any) -> Any:
    return mm_kptm.build("xlm-r-base", heads=["paraphrase-classification"], seed=0, **{**SMALL, **sizes})


def inputs(count: int = 4) -> Inputs:
    texts = [[0, 10 + number, 2] for number in range(count)]
    return Inputs(text=Tokens.of(texts), target=Tokens.of([[0, 20 + number, 2] for number in range(count)]))


def test_the_negative_is_the_most_similar_wrong_translation() -> None:
    model, objective = system(), ParaphraseClassification()
    word = model.encoder.embed.text.word
    with torch.no_grad():
        word.weight[20] = word.weight[10]  # its own translation is nearest, but is no negative
        word.weight[22] = word.weight[10] + 0.01
    batch = objective.prepare(inputs(), torch.Generator().manual_seed(0))
    assert objective.hard_negatives(model, batch)[0] == 2
    assert (objective.hard_negatives(model, batch) != torch.arange(4)).all()


def test_the_classes_say_which_pairs_are_translations() -> None:
    model, objective = system().eval(), ParaphraseClassification()
    batch = objective.prepare(inputs(), torch.Generator().manual_seed(1))
    assert 0 < int(batch.own.sum()) < 4
    head = model.head("paraphrase-classification")
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([0.0, 1.0]))
    expected = F.cross_entropy(torch.tensor([[0.0, 1.0]] * 4), batch.own.long(), reduction="none")
    torch.testing.assert_close(objective.measure(model, batch), expected)
    alone = objective.prepare(inputs(1), torch.Generator().manual_seed(3))
    assert objective.measure(model, alone).item() == pytest.approx(float(-torch.tensor([0.0, 1.0]).log_softmax(0)[1]))


def test_a_share_of_wrong_pairs_is_one() -> None:
    with pytest.raises(UserError, match=r"^paraphrase-classification shows a share of the sentences"):
        ParaphraseClassification(rate=1.0)


def test_ranking_is_the_additive_margin_softmax() -> None:
    model, objective = system().eval(), TranslationRanking(scale=5.0, margin=0.2)
    given = inputs(3)
    batch = objective.prepare(given)
    sides = [
        F.normalize(mean(model(Inputs(text=side)).text, side.layout), dim=-1) for side in (given.text, given.target)
    ]
    cosines = sides[0] @ sides[1].T
    for number in range(3):
        own = (5 * (cosines[number, number] - 0.2)).exp()
        others = [j for j in range(3) if j != number]
        forward = own / (own + (5 * cosines[number, others]).exp().sum())
        back = own / (own + (5 * cosines[others, number]).exp().sum())
        expected = -(forward.log() + back.log()) / 2
        torch.testing.assert_close(objective.measure(model, batch)[number], expected)


def test_ranking_brings_translations_together() -> None:
    model, objective = system().train(), TranslationRanking()
    batch = objective.prepare(inputs(4))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        loss = objective.loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("objective", [ParaphraseClassification(), TranslationRanking()])
def test_sentences_without_translations_are_refused(objective: Any) -> None:
    with pytest.raises(UserError, match="reads a text and its translation, so the inputs need a text and a target"):
        objective.prepare(Inputs(text=Tokens.of([[0, 2]])), torch.Generator())
