"""What is hidden: fairseq's masking, MASS's spans, mBART's noise."""

import random
from collections import Counter

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.pretraining.denoising import Denoising, Infilling
from mm_kptm.crosslingual.pretraining.fairseq_masking import FairseqMasking
from mm_kptm.crosslingual.pretraining.language_codes import code_last, last_moved_first, written
from mm_kptm.crosslingual.pretraining.masked_spans import MaskedSpans, SpanChoice
from mm_kptm.errors import UserError

MASK = 99


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_fairseq_hides_the_share_on_average_and_the_ends_too() -> None:
    masking = FairseqMasking(mask=MASK, vocab_size=100)
    text = Tokens.of([[0, *range(10, 19), 2]] * 2000)
    hidden, rows = masking.hide(text, generator())
    counts = torch.bincount(text.layout.owners(rows.device)[rows], minlength=2000)
    assert set(counts.tolist()) == {1, 2}, "11 * 0.15 = 1.65"
    assert abs(float(counts.double().mean()) - 1.65) < 0.03
    assert {0, 10} <= set(text.layout.places(rows.device)[rows].tolist())
    changed = hidden.ids != text.ids
    assert not changed[[row for row in range(text.rows) if row not in set(rows.tolist())]].any()
    shown = hidden.ids[rows]
    assert abs(float((shown == MASK).double().mean()) - 0.8) < 0.02
    assert abs(float((shown == text.ids[rows]).double().mean()) - 0.1) < 0.02
    swapped = shown[(shown != text.ids[rows]) & (shown != MASK)]
    assert swapped.min() >= 4


def test_fairseq_shares_are_shares() -> None:
    with pytest.raises(UserError, match=r"rate is 0.15, kept 0.7 and swapped 0.5"):
        FairseqMasking(mask=MASK, vocab_size=100, kept=0.7, swapped=0.5)


@pytest.mark.parametrize(("length", "share", "longest"), [(12, 0.5, 10000), (10, 0.4, 2), (7, 0.5, 1), (2, 0.5, 3)])
def test_mass_hides_the_share_in_segments_and_never_the_first_token(length: int, share: float, longest: int) -> None:
    choice, rng = SpanChoice(share, longest), random.Random(0)
    ends = Counter()
    for _ in range(600):
        places = choice.places(length, rng)
        assert len(places) == min(round(length * share), length - 1)
        assert places == sorted(set(places)) and places[0] >= 1 and places[-1] < length
        ends["start"] += places[0] == 1
        ends["end"] += places[-1] == length - 1
    assert ends["start"] >= 0.2 * 600 * 0.7 and ends["end"] >= 0.2 * 600 * 0.7


def test_mass_asks_for_one_whole_span() -> None:
    for seed in range(20):
        places = SpanChoice().places(20, random.Random(seed))
        assert places == list(range(places[0], places[0] + 10))


def test_the_decoder_of_mass_reads_what_stands_before_each_hidden_token() -> None:
    text = Tokens.of([[1, 10, 11, 12, 13, 1], [1, 20, 21, 1]], languages=[[0] * 6, [1] * 4])
    puzzle = MaskedSpans(mask=5, vocab_size=30).puzzle(Inputs(text=text), generator())
    target = puzzle.inputs.target
    assert target.layout.lengths == (3, 2) and len(puzzle) == 2
    for ids, positions, labels, sentence in zip(
        target.layout.split(target.ids),
        target.layout.split(target.positions),
        target.layout.split(puzzle.labels),
        text.layout.split(text.ids),
        strict=True,
    ):
        assert ids.tolist() == sentence[positions].tolist()
        assert labels.tolist() == sentence[positions + 1].tolist()
    assert target.languages.tolist() == [0, 0, 0, 1, 1]
    assert puzzle.owners.tolist() == [0, 0, 0, 1, 1]


def test_mass_learns_to_write_a_span() -> None:
    sizes = {"dim": 16, "num_heads": 2, "num_layers": 1, "vocab_size": 12, "max_positions": 10, "dropout": 0.0}
    system = mm_kptm.build("mass", seed=0, **sizes).train()
    objective = MaskedSpans(mask=5, vocab_size=12)
    text = Tokens.of([[1, 6, 7, 8, 9, 1]], languages=[[0] * 6])
    puzzle = objective.puzzle(Inputs(text=text), generator())
    optimizer = torch.optim.Adam(system.parameters(), lr=0.01)
    first = float(objective.loss(system, puzzle).detach())
    for _ in range(30):
        optimizer.zero_grad()
        objective.loss(system, puzzle).backward()
        optimizer.step()
    assert float(objective.loss(system, puzzle).detach()) < first / 4


def test_mass_refuses_shares_and_inputs_that_cannot_be() -> None:
    with pytest.raises(UserError, match=r"not 1\.5 in segments of 3"):
        SpanChoice(1.5, 3)
    with pytest.raises(UserError, match="needs inputs with a text and a generator"):
        MaskedSpans(mask=5, vocab_size=9).puzzle(Inputs(text=Tokens.of([[1, 2]])))


def test_infilling_hides_the_share_of_the_words_behind_one_mask_a_span() -> None:
    noise = Infilling(mask=MASK, stop=2)
    words = [[number, number] for number in range(10, 50)] + [[2]]
    for seed in range(30):
        shown = noise.noised(words, generator(seed))
        kept = [token for token in shown if token not in (MASK, 2)]
        assert len(kept) == 2 * (40 - 14), "14 of 40 words, of two pieces each"
        assert kept == sorted(kept) and shown[-1] == 2
        assert 1 <= shown.count(MASK) <= 30


def test_sentences_change_places_whole() -> None:
    noise = Infilling(mask=MASK, stop=2, share=0.0)
    words = [[10], [11], [2], [20], [2], [30], [31], [2]]
    seen = {tuple(noise.noised(words, generator(seed))) for seed in range(60)}
    assert len(seen) == 6
    assert (20, 2, 30, 31, 2, 10, 11, 2) in seen
    assert set(Infilling(MASK, 2, 0.0, permute=False).noised(words, generator())) == {10, 11, 2, 20, 30, 31}


def test_denoising_restores_the_text_and_keeps_the_language_last() -> None:
    text = Tokens.of([[10, 11, 12, 13, 14, 15, 2, 57], [20, 21, 2, 22, 2, 58]])
    puzzle = Denoising(Infilling(mask=MASK, stop=2)).puzzle(Inputs(text=text), generator())
    source, target = puzzle.inputs.text, puzzle.inputs.target
    assert [part[-1].item() for part in source.layout.split(source.ids)] == [57, 58]
    assert MASK in source.ids
    assert [part.tolist() for part in target.layout.split(target.ids)] == [
        [57, 10, 11, 12, 13, 14, 15, 2, 57],
        [58, 20, 21, 2, 22, 2, 58],
    ]
    assert puzzle.labels.tolist() == text.ids.tolist()


def test_pieces_of_a_word_are_hidden_together() -> None:
    units = [[0, 0, 1, 1, 2, 2, 3, 3, -1, -1]]
    text = Tokens.of([[10, 10, 11, 11, 12, 12, 13, 13, 2, 57]], units=units)
    for seed in range(20):
        puzzle = Denoising(Infilling(mask=MASK, stop=2)).puzzle(Inputs(text=text), generator(seed))
        counts = Counter(puzzle.inputs.text.ids.tolist())
        assert all(counts[word] in (0, 2) for word in range(10, 14))


def test_denoising_refuses_what_cannot_be() -> None:
    with pytest.raises(UserError, match=r"not 2 in spans of 3\.5"):
        Infilling(mask=MASK, stop=2, share=2)
    with pytest.raises(UserError, match="needs inputs with a text and a generator"):
        Denoising(Infilling(mask=MASK, stop=2)).puzzle(Inputs(text=Tokens.of([[5, 2, 57]])))


def test_a_decoder_reads_the_language_first_and_predicts_it_last() -> None:
    labels = code_last([[7, 8]], stop=2, code=57)
    assert last_moved_first(labels) == [[57, 7, 8, 2]]
    assert written(labels).ids.tolist() == [57, 7, 8, 2, 57]
