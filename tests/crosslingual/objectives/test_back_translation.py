"""Texts are restored from the system's own translations of them."""

from typing import Any

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.objectives.back_translation import BackTranslation
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError
from mm_kptm.models.generation import Writing, greedy
from mm_kptm.objectives.next_tokens import NextTokens

SPECIALS = Specials(pad=2, unknown=3, start=0, stop=1, mask=5)
TEXTS = [[0, 10, 11, 1], [0, 12, 1], [0, 13, 14, 15, 1]]
SPOKEN = [0, 1, 2]


def system() -> Any:
    sizes = {"dim": 8, "num_heads": 2, "num_layers": 1, "vocab_size": 20, "max_positions": 30, "num_languages": 3}
    return mm_kptm.build("xlm-mt", heads=["next-tokens"], seed=0, **{**sizes, "dropout": 0.0}).eval()


def inputs() -> Inputs:
    return Inputs(text=Tokens.of(TEXTS, languages=[[one] * len(text) for one, text in zip(SPOKEN, TEXTS, strict=True)]))


def test_every_text_is_translated_into_another_language() -> None:
    objective = BackTranslation(SPECIALS, 3)
    drawn = [objective.prepare(inputs(), torch.Generator().manual_seed(seed)).languages.tolist() for seed in range(30)]
    for place, own in enumerate(SPOKEN):
        assert {languages[place] for languages in drawn} == {0, 1, 2} - {own}


def test_the_loss_is_that_of_the_text_given_its_translation() -> None:
    model, objective = system(), BackTranslation(SPECIALS, 3)
    batch = objective.prepare(inputs(), torch.Generator().manual_seed(0))
    translated = objective.translate(model, batch)
    for place, (part, language) in enumerate(
        zip(translated.layout.split(translated.ids), batch.languages, strict=True)
    ):
        one = Inputs(text=Tokens.of([TEXTS[place]], languages=[[SPOKEN[place]] * len(TEXTS[place])]))
        longest = int(1.3 * max(map(len, TEXTS))) + 5
        assert part.tolist() == greedy(model, one, Writing(0, 1, longest, language=int(language)))[0]
    target = inputs().text
    expected = NextTokens().prepare(Inputs(text=translated, target=target))
    torch.testing.assert_close(objective.loss(model, batch), NextTokens().loss(model, expected))
    torch.testing.assert_close(objective.measure(model, batch), NextTokens().measure(model, expected))


def test_translating_leaves_no_gradient_and_the_mode_as_it_was() -> None:
    model, objective = system().train(), BackTranslation(SPECIALS, 3)
    loss = objective.loss(model, objective.prepare(inputs(), torch.Generator().manual_seed(0)))
    loss.backward()
    assert model.training and model.encoder.target.embed.word.weight.grad.abs().sum() > 0


def test_one_language_is_too_few() -> None:
    with pytest.raises(UserError, match=r"^back-translation translates into another language, but the data have 1$"):
        BackTranslation(SPECIALS, 1)
    with pytest.raises(UserError, match="so it needs texts with languages"):
        BackTranslation(SPECIALS, 3).prepare(Inputs(text=Tokens.of(TEXTS)), torch.Generator())
