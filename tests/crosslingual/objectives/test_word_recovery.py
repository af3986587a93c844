"""Word recovery: an example by hand, padding that does not exist, and what is refused."""

from typing import Any

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, SequenceLayout, Tokens
from mm_kptm.crosslingual.objectives.word_recovery import TranslatedWords, WordRecovery
from mm_kptm.errors import UserError

SMALL = {"dim": 8, "num_heads": 2, "num_layers": 1, "vocab_size": 20, "max_positions": 12, "dropout": 0.0}


def system() -> Any:
    return mm_kptm.build("unicoder", heads=("masked-tokens", "word-recovery"), seed=0, **SMALL)


def inputs() -> Inputs:
    text = Tokens.of([[1, 5, 6, 1], [1, 7, 1]], languages=[[0] * 4, [1] * 3])
    return Inputs(text=text, target=Tokens.of([[1, 8, 1], [1, 9, 10, 11, 1]], languages=[[1] * 3, [0] * 5]))


def test_words_are_weighted_as_by_hand() -> None:
    rebuild = TranslatedWords(2)
    with torch.no_grad():
        rebuild.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    x, y = torch.eye(2), torch.tensor([[1.0, 1.0], [0.0, 2.0]])
    expected = torch.tensor([[0.5, 1.5], [0.1192, 1.8808]])
    torch.testing.assert_close(rebuild(x, y, SequenceLayout((2,)), SequenceLayout((2,))), expected, atol=1e-4, rtol=0)


def test_every_word_is_named_from_the_translation_alone() -> None:
    model, objective = system(), WordRecovery()
    batch = objective.prepare(inputs())
    losses = objective.losses(model, batch)
    assert losses.shape == (7,)
    torch.testing.assert_close(objective.measure(model, batch), torch.stack([losses[:4].mean(), losses[4:].mean()]))
    objective.loss(model.train(), batch).backward()
    assert model.head("word-recovery").weight.grad.any()


def test_texts_without_their_translations_are_refused() -> None:
    with pytest.raises(UserError, match="the inputs need a text and a target"):
        WordRecovery().prepare(Inputs(text=inputs().text))
    with pytest.raises(UserError, match="every text needs its translation, but there are 2 and 1"):
        WordRecovery().prepare(Inputs(text=inputs().text, target=Tokens.of([[1, 1]])))
    translator = mm_kptm.build("xnlg", seed=0, num_decoder_layers=1, **SMALL)
    with pytest.raises(UserError, match="needs pairs and an encoder of one stream"):
        WordRecovery().loss(translator, WordRecovery().prepare(inputs()))
