"""Words are hidden with what is known of them, and all of it is sought."""

from dataclasses import replace

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError
from mm_kptm.knowledge.lexicons.sentiwordnet import (
    NEGATIVE,
    NEUTRAL,
    OTHER,
    POSITIVE,
    UNGRADED,
    SentimentText,
    SentimentWord,
    felt_tokens,
)
from mm_kptm.knowledge.objectives.label_aware_mlm import LabelAwareWords
from mm_kptm.objectives.tokens import Masking
from mm_kptm.systems.system import System

GOOD, BAD = SentimentWord((10, 11), 1, POSITIVE), SentimentWord((12,), 1, NEGATIVE)
TABLE, OF = SentimentWord((13,), 3, NEUTRAL), SentimentWord((14,), OTHER, NEUTRAL)
SPECIALS = Specials(pad=1, unknown=3, start=0, stop=2, mask=4, between=2)  #: of RoBERTa
MASKING = Masking(3, pool=(20, 30), never=frozenset({0, 1, 2}))
SIZES = {"dim": 16, "num_heads": 2, "num_layers": 1, "ffn_dim": 24, "vocab_size": 30, "max_positions": 40}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inputs(*texts: SentimentText) -> Inputs:
    return Inputs(text=felt_tokens(texts, SPECIALS, max_length=10**6))


@pytest.fixture(scope="module")
def system() -> System:
    return mm_kptm.build("sentilare", seed=0, **SIZES)


def test_words_that_feel_like_something_are_hidden_more_often() -> None:
    given = inputs(SentimentText((BAD, OF, TABLE, BAD) * 5000))
    batch = LabelAwareWords(MASKING).prepare(given, seeded())
    counts = torch.bincount(batch.words, minlength=30)
    assert abs(counts[12] / 10_000 - 0.3) < 0.02
    assert abs(counts[13] / 5000 - 0.15) < 0.02 and abs(counts[14] / 5000 - 0.15) < 0.02


def test_the_pieces_of_a_word_are_hidden_and_treated_together() -> None:
    given = inputs(SentimentText((GOOD, OF) * 2000))
    batch = LabelAwareWords(MASKING).prepare(given, seeded())
    assert batch.inputs.text is not None and given.text is not None
    starts = (given.text.ids == 10).nonzero().flatten()
    before, after = given.text.ids, batch.inputs.text.ids
    hidden = torch.isin(starts, batch.rows)
    assert torch.equal(hidden, torch.isin(starts + 1, batch.rows))
    masked, kept = ((after[starts] == value) & hidden for value in (3, 10))
    assert (after[starts + 1][masked] == 3).all() and (after[starts + 1][kept] == 11).all()
    shares = [part.sum() / hidden.sum() for part in (masked, kept)]
    assert abs(shares[0] - 0.8) < 0.05 and abs(shares[1] - 0.1) < 0.04
    assert torch.equal(after[starts][~hidden], before[starts][~hidden])


def test_a_hidden_word_loses_what_is_known_of_it_unless_it_stays_in_sight() -> None:
    given = inputs(SentimentText((BAD, TABLE) * 1000, 3))
    batch = LabelAwareWords(MASKING, late=0.0).prepare(given, seeded())
    assert batch.inputs.text is not None and given.text is not None
    marks, known = batch.inputs.text.token_labels, given.text.token_labels
    assert marks is not None and known is not None
    stays = batch.inputs.text.ids == given.text.ids
    assert torch.equal(marks["part"] == known["part"], stays)
    assert (marks["part"][~stays] == OTHER).all() and (marks["polarity"][~stays] == NEUTRAL).all()
    assert torch.equal(marks["polarity"][stays], known["polarity"][stays])
    assert stays[batch.rows].any(), "some of the hidden ones stay"
    assert torch.equal(marks["grade"], known["grade"]), "the grade is given"
    assert torch.equal(batch.parts, known["part"][batch.rows])
    assert torch.equal(batch.polarities, known["polarity"][batch.rows])


def test_nothing_but_the_word_is_sought_of_one_of_which_nothing_is_known() -> None:
    batch = LabelAwareWords(MASKING).prepare(inputs(SentimentText((OF, TABLE, BAD) * 300)), seeded())
    plain = batch.words == 14
    assert plain.any() and torch.equal(batch.parts < 0, plain) and torch.equal(batch.polarities < 0, plain)
    assert (batch.polarities[batch.words == 13] == NEUTRAL).all(), "of a noun it is sought that it feels like nothing"


def test_a_grade_is_given_or_sought_but_not_both() -> None:
    texts = [SentimentText((TABLE, BAD), number % 5) for number in range(500)] + [SentimentText((OF,))] * 20
    given = inputs(*texts)
    batch = LabelAwareWords(MASKING).prepare(given, seeded())
    assert batch.inputs.text is not None and batch.inputs.text.token_labels is not None and given.text is not None
    assert abs(len(batch.firsts) / 500 - 0.2) < 0.06
    assert torch.equal(batch.grades, batch.graded % 5) and (batch.graded < 500).all()
    assert torch.equal(batch.firsts, given.text.layout.starts(batch.firsts.device)[batch.graded])
    owners = given.text.layout.sequence_ids(batch.firsts.device)
    told = (batch.inputs.text.token_labels["grade"] != UNGRADED).nonzero().flatten()
    assert set(owners[told].tolist()) == set(range(500)) - set(batch.graded.tolist())


def test_a_seed_decides_the_puzzle() -> None:
    given = inputs(SentimentText((GOOD, BAD, OF) * 20, 2), SentimentText((TABLE,) * 30, 1))
    first, again, other = (LabelAwareWords(MASKING).prepare(given, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.rows, again.rows) and torch.equal(first.inputs.text.ids, again.inputs.text.ids)
    assert not torch.equal(first.rows, other.rows)


def test_the_loss_is_the_sum_of_the_means_of_all_that_is_sought(system: System) -> None:
    objective = LabelAwareWords(MASKING, polar=0.7, others=0.5, late=0.9)
    batch = objective.prepare(
        inputs(*[SentimentText((GOOD, BAD, OF, TABLE) * 4, grade) for grade in range(5)]), seeded()
    )
    found = objective.losses(system, batch)
    assert list(found) == list(LabelAwareWords.heads) and all(len(losses) for losses, _ in found.values())
    total = sum(losses.mean().item() for losses, _ in found.values())
    assert objective.loss(system, batch).item() == pytest.approx(total, rel=1e-5)
    each = objective.measure(system, batch)
    assert each.shape == (5,)
    words, owners = found["masked-tokens"]
    grades, graded = found["grade"]
    text = int(graded[0])
    sums = sum(losses[own == text].mean() for losses, own in found.values())
    torch.testing.assert_close(each[text], sums)
    assert len(words) == len(owners) and len(grades) == len(batch.firsts)


def test_a_batch_of_which_nothing_but_words_is_sought_has_a_finite_loss(system: System) -> None:
    objective = LabelAwareWords(MASKING, others=0.9)
    batch = objective.prepare(inputs(SentimentText((OF,) * 9)), seeded())
    found = objective.losses(system, batch)
    assert [len(losses) for losses, _ in found.values()][1:] == [0, 0, 0]
    torch.testing.assert_close(objective.loss(system, batch), found["masked-tokens"][0].mean())


@pytest.mark.parametrize("strange", [Inputs(), Inputs(text=Tokens.of([[0, 5, 2]]))])
def test_a_text_of_which_nothing_is_known_is_refused(strange: Inputs) -> None:
    with pytest.raises(
        UserError, match=r"^label-aware-words masks words with labels part, polarity, grade, but the text has none; add"
    ):
        LabelAwareWords(MASKING).prepare(strange, seeded())


def test_eight_texts_are_learned_by_heart() -> None:
    """Words, parts of speech, polarities and grades of fixed puzzles."""
    system = mm_kptm.build("sentilare", seed=0, **{**SIZES, "dim": 32, "ffn_dim": 64, "dropout": 0.0}).train()
    draw = seeded(1)
    texts = []
    for number in range(8):
        pieces, parts, felts = (torch.randint(low, high, (6,), generator=draw).tolist() for low, high in
                                ((10, 30), (0, 5), (0, 3)))  # fmt: skip
        words = tuple(SentimentWord((one,), part, feel) for one, part, feel in zip(pieces, parts, felts, strict=True))
        texts.append(SentimentText(words, number % 5))
    objective = LabelAwareWords(replace(MASKING, pool=(10, 30)), polar=0.4, others=0.3, late=0.5)
    batch = objective.prepare(inputs(*texts), seeded())
    optimiser = torch.optim.Adam(system.parameters(), lr=1e-2)
    for _ in range(80):
        optimiser.zero_grad()
        loss = objective.loss(system, batch)
        loss.backward()
        optimiser.step()
    assert len(batch.firsts) > 2 and loss.item() < 0.1
