"""Words are hidden with what they mean, and both are sought."""

import math

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.knowledge.lexicons.supersenses import SUPERSENSES, SenseVocabulary
from mm_kptm.knowledge.objectives.masked_senses import MaskedSenses, sense_losses
from mm_kptm.objectives.tokens import Masking
from mm_kptm.systems.system import System

#: 0-3 markers, 4-9 words of two meanings, 10-19 words of one, 20-29 of none.
SENSES = SenseVocabulary(torch.zeros(30, len(SUPERSENSES), dtype=torch.bool), torch.zeros(30, dtype=torch.bool))
SENSES.allowed[4:10, 5] = SENSES.allowed[4:10, 7] = True
SENSES.allowed[10:20, 5:15] = torch.eye(10, dtype=torch.bool)
MASKING = Masking(3, pool=(4, 30), never=frozenset({0, 1, 2}))
SIZES = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 12, "vocab_size": 30, "max_positions": 200}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def system() -> System:
    system = mm_kptm.build("sensebert", seed=0, **SIZES)
    system.encoder.embed.text.allow(SENSES)
    return system


def test_the_loss_is_that_of_any_allowed_sense_and_of_all_alike() -> None:
    """At probabilities 1/2, 1/4, 1/8, 1/8 with the first two allowed: -log 3/4 and -(log 1/2 + log 1/4) / 2."""
    scores = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log().repeat(3, 1) + 7
    allowed = torch.tensor([[True, True, False, False], [True, False, False, False], [False] * 4])
    expected = [-math.log(3 / 4) - (math.log(1 / 2) + math.log(1 / 4)) / 2, 2 * math.log(2), 0.0]
    torch.testing.assert_close(sense_losses(scores, allowed), torch.tensor(expected))


def test_what_means_nothing_moves_no_score() -> None:
    scores = torch.randn(2, 4, generator=seeded(), requires_grad=True)
    sense_losses(scores, torch.tensor([[False] * 4, [True] + [False] * 3])).sum().backward()
    assert scores.grad is not None and not scores.grad[0].any() and scores.grad.isfinite().all()


def test_half_of_the_words_of_one_meaning_are_hidden_first() -> None:
    """Of 100 rows 15 are hidden, 6 of them may be favoured; where there are 8 words of one meaning, 4 are."""
    text = [1, *range(10, 18), *[25] * 90, 2]
    counts = []
    for seed in range(200):
        batch = MaskedSenses(MASKING, SENSES).prepare(Inputs(text=Tokens.of([text])), seeded(seed))
        assert len(batch.rows) == 15
        counts.append(int(((batch.labels >= 10) & (batch.labels < 20)).sum()))
    # the 11 rows that are left are any of 94, so that some of the other four are hidden besides
    assert min(counts) == 4 and abs(sum(counts) / 200 - (4 + 11 * 4 / 94)) < 0.2
    many = Inputs(text=Tokens.of([[10] * 40 + [25] * 60]))
    favoured = MaskedSenses(MASKING, SENSES, most=0.4)._favoured(many.text, SENSES.allowed[many.text.ids], seeded())
    assert len(favoured) == 6, "at most 40 % of what is hidden"


def test_no_word_of_one_meaning_is_favoured_over_another() -> None:
    inputs = Inputs(text=Tokens.of([[*range(10, 20), *[25] * 30]]))
    hidden = torch.zeros(30)
    for seed in range(500):
        labels = MaskedSenses(MASKING, SENSES).prepare(inputs, seeded(seed)).labels
        hidden += torch.bincount(labels, minlength=30)
    words = hidden[10:20]
    assert words.min() > 0.75 * words.mean() and words.max() < 1.25 * words.mean()


def test_a_puzzle_says_what_the_hidden_words_may_mean(system: System) -> None:
    inputs = Inputs(text=Tokens.of([[1, 4, 12, 25, 13, 2], [1, 25, 2]]))
    batch = MaskedSenses(MASKING, SENSES, rate=0.5).prepare(inputs, seeded())
    assert torch.equal(batch.allowed, SENSES.allowed[batch.labels])
    assert torch.equal(inputs.text.ids[batch.rows], batch.labels)
    again = MaskedSenses(MASKING, SENSES, rate=0.5).prepare(inputs, seeded())
    assert torch.equal(again.rows, batch.rows) and torch.equal(again.inputs.text.ids, batch.inputs.text.ids)
    words, senses = MaskedSenses(MASKING, SENSES).losses(system, batch)
    some = batch.allowed.any(-1)
    expected = words.mean() + senses[some].mean()
    torch.testing.assert_close(MaskedSenses(MASKING, SENSES).loss(system, batch), expected)


def test_a_text_without_meaning_has_the_loss_of_its_words(system: System) -> None:
    objective = MaskedSenses(MASKING, SENSES, rate=0.5)
    batch = objective.prepare(Inputs(text=Tokens.of([[25, 26, 27, 28]])), seeded())
    words, senses = objective.losses(system, batch)
    assert not senses.any()
    torch.testing.assert_close(objective.loss(system, batch), words.mean())
    assert objective.measure(system, batch).shape == (1,)


def test_each_example_is_measured_on_its_own_words(system: System) -> None:
    objective = MaskedSenses(MASKING, SENSES, rate=0.5)
    batch = objective.prepare(Inputs(text=Tokens.of([[10, 11, 25, 26], [4, 12, 13, 14]])), seeded())
    words, senses = objective.losses(system, batch)
    second = batch.sequence_ids == 1
    expected = words[second].mean() + senses[second & batch.allowed.any(-1)].mean()
    torch.testing.assert_close(objective.measure(system, batch)[1], expected)


def test_what_cannot_be_hidden_is_refused() -> None:
    objective = MaskedSenses(MASKING, SENSES)
    with pytest.raises(UserError, match=r"^masked-senses hides text, but the inputs have none$"):
        objective.prepare(Inputs(), seeded())
    with pytest.raises(UserError, match=r"^the text has the id 30, but senses are known of 30 pieces$"):
        objective.prepare(Inputs(text=Tokens.of([[4, 30]])), seeded())


def test_eight_sentences_are_learned_by_heart() -> None:
    """Words and supersenses of fixed puzzles can be told; what is left is the uniform part of words of two meanings."""
    system = mm_kptm.build("sensebert", seed=0, **{**SIZES, "dim": 32, "ffn_dim": 64, "dropout": 0.0})
    system.encoder.embed.text.allow(SENSES)
    draw = seeded(1)
    texts = [[1, *torch.randint(10, 30, (8,), generator=draw).tolist(), 2] for _ in range(8)]
    objective = MaskedSenses(MASKING, SENSES, rate=0.3)
    batch = objective.prepare(Inputs(text=Tokens.of(texts)), seeded())
    system.train()
    optimiser = torch.optim.Adam([weight for weight in system.parameters() if weight.requires_grad], lr=1e-2)
    for _ in range(80):
        optimiser.zero_grad()
        loss = objective.loss(system, batch)
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1
