"""Runs of words are hidden: SpanBERT's spans and MacBERT's n-grams."""

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch

from mm_kptm.batch import SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.spans import (
    CutSpans,
    RunMasking,
    WholeGrams,
    everything,
    geometric,
    touching,
    word_by_word,
)

CLS, SEP, MASK = 1, 2, 3
#: Words of one, two and three pieces in turn between markers.
UNITS = [-1, *[word for word in range(60) for _ in range(word % 3 + 1)], -1]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def texts(count: int) -> Tokens:
    return Tokens.of([[CLS, *[50] * (len(UNITS) - 2), SEP]] * count, mask_groups=[UNITS] * count)


def masking(rule: CutSpans | WholeGrams) -> RunMasking:
    together = touching if isinstance(rule, CutSpans) else word_by_word
    return RunMasking(everything(MASK, (10, 20), frozenset({CLS, SEP})), rule, together)


def alone(length: int) -> tuple[float, ...]:
    """Every run has that many words."""
    return (*[0.0] * (length - 1), 1.0)


def test_lengths_are_geometric() -> None:
    """The mean of 3.8 is the paper's."""
    lengths = geometric()
    assert math.isclose(sum(lengths), 1) and len(lengths) == 10
    assert all(math.isclose(later / earlier, 0.8) for earlier, later in pairwise(lengths))
    assert round(sum(length * chance for length, chance in enumerate(lengths, 1)), 1) == 3.8


def test_spans_take_exactly_their_share_rounded_up() -> None:
    tokens = texts(30)
    hidden, rows = masking(CutSpans()).mask(tokens, generator())
    counts = torch.bincount(tokens.layout.sequence_ids(rows.device)[rows], minlength=30)
    assert counts.tolist() == [math.ceil(0.15 * (len(UNITS) - 2))] * 30
    assert not torch.isin(rows, torch.tensor([0, len(UNITS) - 1])).any()
    assert torch.equal(hidden.ids[tokens.ids != 50], tokens.ids[tokens.ids != 50])


def test_spans_begin_with_words_and_only_the_last_one_is_cut() -> None:
    """Ends that are no ends of words: at most one a sequence."""
    for seed in range(20):
        words = [[row for row, unit in enumerate(UNITS) if unit == word] for word in range(60)]
        hidden = CutSpans()(words, generator(seed))
        torn = [word for word in words if hidden & set(word) and not set(word) <= hidden]
        assert len(torn) <= 1
        assert all(word[0] in hidden for word in torn)


def test_spans_have_the_lengths_that_were_drawn() -> None:
    """Little is hidden of much, so that few spans meet: nearly all are four words."""
    hidden = torch.zeros(4000, dtype=torch.bool)
    hidden[sorted(CutSpans(alone(4), 0.02)([[row] for row in range(4000)], generator()))] = True
    runs = Counter(touching(hidden, hidden, SequenceLayout((4000,)))[hidden].tolist())
    assert sum(runs.values()) == 80
    lengths = Counter(runs.values())
    assert lengths[4] >= 15 and set(lengths) <= {4, 5, 6, 7, 8}


def test_spans_begin_anywhere() -> None:
    """Every row is as often hidden as any other, but for the first ones, which no span reaches from the left."""
    words = [[row] for row in range(12)]
    counts = Counter(row for seed in range(3000) for row in CutSpans(alone(2), 0.15)(words, generator(seed)))
    inner = [counts[row] for row in range(1, 11)]
    assert max(inner) - min(inner) < 8 * math.sqrt(500)
    assert 150 < counts[0] < 350


def test_a_span_is_masked_replaced_or_kept_as_a_whole() -> None:
    tokens = texts(300)
    hidden, rows = masking(CutSpans()).mask(tokens, generator())
    marked = torch.zeros(len(tokens.ids), dtype=torch.bool).index_fill(0, rows, True)
    spans = touching(marked, tokens.mask_groups, tokens.layout)[rows]
    kinds: dict[int, set[str]] = {}
    for span, token in zip(spans.tolist(), hidden.ids[rows].tolist(), strict=True):
        kinds.setdefault(span, set()).add("masked" if token == MASK else "kept" if token == 50 else "replaced")
    assert all(len(kind) == 1 for kind in kinds.values())
    shares = Counter(kind for found in kinds.values() for kind in found)
    for kind, share in {"masked": 0.8, "replaced": 0.1, "kept": 0.1}.items():
        assert abs(shares[kind] / len(kinds) - share) < 4 * math.sqrt(share * (1 - share) / len(kinds))


def test_grams_are_of_whole_words_within_their_share() -> None:
    words = [[row for row, unit in enumerate(UNITS) if unit == word] for word in range(60)]
    for seed in range(20):
        hidden = WholeGrams()(words, generator(seed))
        assert all(set(word) <= hidden or hidden.isdisjoint(word) for word in words)
        assert len(hidden) == round(0.15 * 120)  # words of one row fill what is left


def test_grams_share_no_word() -> None:
    """Gaps that are shorter than a gram stay, however much may be hidden."""
    counts = {len(WholeGrams(alone(3), 0.99)([[row] for row in range(12)], generator(seed))) for seed in range(40)}
    assert min(counts) < 10 and max(counts) == 12


def test_grams_are_of_one_to_four_words_in_the_shares_of_the_paper() -> None:
    """Forty words of a thousand, so that few grams touch and few are made shorter to fit."""
    runs: Counter[int] = Counter()
    for seed in range(100):
        hidden = torch.zeros(1000, dtype=torch.bool)
        hidden[sorted(WholeGrams(rate=0.04)([[row] for row in range(1000)], generator(seed)))] = True
        runs.update(Counter(touching(hidden, hidden, SequenceLayout((1000,)))[hidden].tolist()).values())
    shares = [runs[length] / sum(runs.values()) for length in range(1, 5)]
    assert all(abs(share - told) < 0.04 for share, told in zip(shares, (0.4, 0.3, 0.2, 0.1), strict=True)), shares


def test_a_word_is_decided_on_by_itself_in_a_gram() -> None:
    tokens = texts(200)
    hidden, rows = masking(WholeGrams()).mask(tokens, generator())
    kinds: dict[int, set[str]] = {}
    for word, token in zip(tokens.mask_groups[rows].tolist(), hidden.ids[rows].tolist(), strict=True):
        kinds.setdefault(word, set()).add("masked" if token == MASK else "kept" if token == 50 else "replaced")
    assert all(len(kind) == 1 for kind in kinds.values())
    neighbours = [(kinds[word], kinds[word + 1]) for word in kinds if word + 1 in kinds]
    assert any(one != other for one, other in neighbours)


def test_touching_rows_of_two_sequences_are_two_units() -> None:
    hidden = torch.tensor([False, True, True, True, False, True])
    assert touching(hidden, hidden, SequenceLayout((3, 3))).tolist() == [-1, 0, 0, 1, -1, 2]


@pytest.mark.parametrize("rule", [CutSpans(), WholeGrams()])
@pytest.mark.parametrize("sequences", [[], [[]], [[CLS, SEP]]])
def test_nothing_can_be_hidden_in_nothing(rule: CutSpans | WholeGrams, sequences: list[list[int]]) -> None:
    tokens = Tokens.of(sequences)
    hidden, rows = masking(rule).mask(tokens, generator())
    assert len(rows) == 0 and torch.equal(hidden.ids, tokens.ids)


@pytest.mark.parametrize("rule", [CutSpans(), WholeGrams()])
def test_a_seed_gives_the_same_runs(rule: CutSpans | WholeGrams) -> None:
    first, again, other = (masking(rule).mask(texts(3), generator(seed))[0].ids for seed in (4, 4, 5))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("rule", [CutSpans, WholeGrams])
def test_what_cannot_be_drawn_is_refused(rule: type[CutSpans] | type[WholeGrams]) -> None:
    with pytest.raises(UserError, match=r"^the chances of lengths are \[0.5, -0.1\]; none may be negative and one"):
        rule((0.5, -0.1))
    with pytest.raises(UserError, match=r"^a share of 1.5 was to be masked, but it must lie above 0 and below 1$"):
        rule(rate=1.5)
