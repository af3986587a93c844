"""Facts whose object is asked for, and who learns from them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mm_kptm
from mm_kptm.adaptation.side_adapter import adapt
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError
from mm_kptm.knowledge.objectives.fact_completion import FactCompletion, OpenFact
from mm_kptm.systems.system import System

SPECIALS = Specials(pad=1, unknown=3, start=0, stop=2, mask=29)
FACTS = [OpenFact((5, 6), 0), OpenFact((7, 8, 6), 1), OpenFact((9, 6), 2)]
SHOWN = Inputs(text=Tokens.of([[0, 9, 2]] * 16))


def system() -> System:
    torch.manual_seed(0)
    built = mm_kptm.build("bert-base", heads=[], dim=16, num_heads=2, num_layers=2, ffn_dim=32, vocab_size=30)
    built.encoder = adapt(built.encoder, ["factual"], width=8, num_heads=2, ffn_dim=16, dropout=0.0)
    built.heads[FactCompletion.name] = nn.Linear(16, 3)
    return built.eval()


def test_the_object_is_hidden_and_nothing_else_is():
    batch = FactCompletion(FACTS, SPECIALS).prepare(SHOWN, torch.Generator().manual_seed(0))
    text = batch.texts.text
    assert len(batch) == 16
    assert set(batch.objects.tolist()) == {0, 1, 2}
    assert text.ids[batch.blanks].tolist() == [SPECIALS.mask] * 16
    rows = [tuple(row.tolist()) for row in text.layout.split(text.ids)]
    said = dict(zip(rows, batch.objects.tolist(), strict=True))
    assert said == {(0, *fact.words, 29, 2): fact.object for fact in FACTS}


def test_only_the_adapters_and_the_head_learn_from_facts():
    model, completion = system(), FactCompletion(FACTS, SPECIALS)
    completion.loss(model, completion.prepare(SHOWN, torch.Generator().manual_seed(0))).backward()
    learning = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    ours = ("encoder.sides.", "encoder.fusion.", "heads.fact-completion.")
    assert learning == {name for name, _ in model.named_parameters() if name.startswith(ours)}


def test_beside_the_encoder_the_states_are_the_same():
    model = system()
    torch.testing.assert_close(model.encoder.beside(SHOWN), model(SHOWN).text)


def test_adapters_learn_facts_by_heart():
    model, completion = system(), FactCompletion(FACTS, SPECIALS)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        completion.loss(model, completion.prepare(SHOWN, generator)).backward()
        optimizer.step()
    assert completion.measure(model, completion.prepare(SHOWN, generator)).max() < 0.1


def test_facts_for_adapters_want_adapters():
    model, completion = system(), FactCompletion(FACTS, SPECIALS)
    model.encoder = mm_kptm.build("bert-base", heads=[], dim=16, num_heads=2, num_layers=1, ffn_dim=32).encoder
    with pytest.raises(UserError, match="fact-completion trains adapters, but a SingleStream has none"):
        completion.loss(model, completion.prepare(SHOWN, torch.Generator()))


def test_without_facts_there_is_nothing_to_learn():
    with pytest.raises(UserError, match="there is no fact to learn from"):
        FactCompletion([], SPECIALS)
