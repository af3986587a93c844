"""MASS's spans: which places are hidden, and what the decoder reads."""

import random
from collections import Counter

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.objectives.masked_spans import MaskedSpanGeneration, SpanPolicy
from mm_kptm.errors import UserError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("length", "share", "max_length"), [(12, 0.5, 10000), (10, 0.4, 2), (7, 0.5, 1), (2, 0.5, 3)])
def test_mass_hides_the_share_in_segments_and_never_the_first_token(length: int, share: float, max_length: int) -> None:
    policy, rng = SpanPolicy(share, max_length), random.Random(0)
    ends = Counter()
    for _ in range(600):
        places = policy.places(length, rng)
        assert len(places) == min(round(length * share), length - 1)
        assert places == sorted(set(places)) and places[0] >= 1 and places[-1] < length
        ends["start"] += places[0] == 1
        ends["end"] += places[-1] == length - 1
    assert ends["start"] >= 0.2 * 600 * 0.7 and ends["end"] >= 0.2 * 600 * 0.7


def test_mass_asks_for_one_whole_span() -> None:
    for seed in range(20):
        places = SpanPolicy().places(20, random.Random(seed))
        assert places == list(range(places[0], places[0] + 10))


def test_the_decoder_of_mass_reads_what_stands_before_each_hidden_token() -> None:
    text = Tokens.of([[1, 10, 11, 12, 13, 1], [1, 20, 21, 1]], languages=[[0] * 6, [1] * 4])
    batch = MaskedSpanGeneration(mask_id=5, vocab_size=30).prepare(Inputs(text=text), generator())
    target = batch.inputs.target
    assert target.layout.lengths == (3, 2) and len(batch) == 2
    for ids, positions, labels, sentence in zip(
        target.layout.split(target.ids),
        target.layout.split(target.positions),
        target.layout.split(batch.labels),
        text.layout.split(text.ids),
        strict=True,
    ):
        assert ids.tolist() == sentence[positions].tolist()
        assert labels.tolist() == sentence[positions + 1].tolist()
    assert target.languages.tolist() == [0, 0, 0, 1, 1]
    assert batch.sequence_ids.tolist() == [0, 0, 0, 1, 1]


def test_mass_learns_to_write_a_span() -> None:
    sizes = {"dim": 16, "num_heads": 2, "num_layers": 1, "vocab_size": 12, "max_positions": 10, "dropout": 0.0}
    system = mm_kptm.build("mass", seed=0, **sizes).train()
    objective = MaskedSpanGeneration(mask_id=5, vocab_size=12)
    text = Tokens.of([[1, 6, 7, 8, 9, 1]], languages=[[0] * 6])
    batch = objective.prepare(Inputs(text=text), generator())
    optimizer = torch.optim.Adam(system.parameters(), lr=0.01)
    first = float(objective.loss(system, batch).detach())
    for _ in range(30):
        optimizer.zero_grad()
        objective.loss(system, batch).backward()
        optimizer.step()
    assert float(objective.loss(system, batch).detach()) < first / 4


def test_mass_refuses_shares_and_inputs_that_cannot_be() -> None:
    with pytest.raises(UserError, match=r"not 1\.5 in segments of 3"):
        SpanPolicy(1.5, 3)
    with pytest.raises(UserError, match=r"^the first token of a text is never masked, but a text has no other; leave"):
        SpanPolicy().places(1, random.Random(0))
    with pytest.raises(UserError, match="needs inputs with a text and a generator"):
        MaskedSpanGeneration(mask_id=5, vocab_size=9).prepare(Inputs(text=Tokens.of([[1, 2]])))
