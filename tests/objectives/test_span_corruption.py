"""Span corruption against a plain implementation of the published description."""

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch

from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.data.tokenizers.tokenizer_json import t5_specials
from mm_kptm.errors import UserError
from mm_kptm.objectives.span_corruption import (
    SpanCorruption,
    noise_counts,
    noise_mask,
    raw_lengths,
    sentinels_of,
)

SPECIALS = t5_specials(pad=0, unknown=2, stop=1)
SENTINELS = list(range(999, 899, -1))


def round_half_even(number: float) -> int:
    below = math.floor(number)
    rest = number - below
    return below + (rest > 0.5 or (rest == 0.5 and below % 2 == 1))


def every_mask(length: int, density: float, mean_length: float) -> set[tuple[int, ...]]:
    """All masks that can be drawn, by going through the borders of kept and noise parts."""
    noise = min(max(round_half_even(length * density), 1), length - 1)
    spans = max(round_half_even(noise / mean_length), 1)

    def cuts(items: int) -> list[list[int]]:
        found = []
        for borders in combinations(range(1, items), spans - 1):
            ends = [0, *borders, items]
            found.append([ends[place + 1] - ends[place] for place in range(spans)])
        return found

    return {
        tuple(bit for one, other in zip(kept, hidden, strict=True) for bit in [0] * one + [1] * other)
        for kept in cuts(length - noise)
        for hidden in cuts(noise)
    }


@pytest.mark.parametrize(("length", "density", "mean_length"), [(12, 0.3, 2.0), (9, 0.5, 2.0), (2, 0.15, 3.0)])
def test_every_way_to_cut_is_equally_likely(length: int, density: float, mean_length: float) -> None:
    rng, masks = np.random.RandomState(0), every_mask(length, density, mean_length)
    draws = 200 * len(masks)
    found = Counter(
        tuple(noise_mask(length, rng, density=density, mean_length=mean_length).astype(int)) for _ in range(draws)
    )
    assert found.keys() == masks
    assert all(abs(count - 200) < 5 * math.sqrt(200) for count in found.values()), found


@pytest.mark.parametrize("length", [1, 2, 3, 10, 30, 31, 100, 568])
def test_counts_are_rounded_to_even(length: int) -> None:
    mask = noise_mask(length, np.random.RandomState(length))
    assert len(mask) == length
    if length < 2:
        assert not mask.any()
        return
    noise = min(max(round_half_even(length * 0.15), 1), length - 1)
    assert noise_counts(length) == (noise, max(round_half_even(noise / 3), 1))
    assert mask.sum() == noise and not mask[0] and mask[-1]


@pytest.mark.parametrize("opens", [False, True])
def test_both_sides_make_the_text_again(opens: bool) -> None:
    specials = Specials(pad=0, unknown=2, start=3, stop=1, mask=2, opens=True) if opens else SPECIALS
    texts = [list(range(10, 10 + length)) for length in (1, 2, 7, 40, 150)]
    framed = [[*([specials.start] if opens else []), *text, specials.stop] for text in texts]
    objective = SpanCorruption(specials, SENTINELS)
    batch = objective.prepare(Inputs(text=Tokens.of(framed)), torch.Generator().manual_seed(5))
    shown, told = (
        [part.tolist() for part in side.layout.split(side.ids)] for side in (batch.inputs.text, batch.inputs.target)
    )
    for text, encoder, decoder in zip(texts, shown, told, strict=True):
        assert decoder[0] == specials.start and encoder[-1] == decoder[-1] == specials.stop
        spans: dict[int, list[int]] = {}
        for token in decoder[1:-1]:
            if token in SENTINELS:
                spans[token] = []
            else:
                spans[list(spans)[-1]].append(token)
        used = [token for token in encoder if token in SENTINELS]
        assert used == SENTINELS[: len(used)] and (len(text) == 1 or list(spans) == used)
        again = [one for token in encoder[int(opens) : -1] for one in spans.get(token, [token])]
        assert again == text
        assert len(decoder) - 2 - len(spans) == (0 if len(text) == 1 else noise_counts(len(text))[0])
    assert batch.labels.tolist() == [token for decoder in told for token in decoder[1:]]


def test_the_same_seed_masks_the_same() -> None:
    inputs = Inputs(text=Tokens.of([[*range(10, 200), 1]] * 3, languages=[[4] * 191] * 3))
    objective = SpanCorruption(SPECIALS, SENTINELS)
    first, same, other = (objective.prepare(inputs, torch.Generator().manual_seed(seed)).inputs for seed in (1, 1, 2))
    assert torch.equal(first.text.ids, same.text.ids) and torch.equal(first.target.ids, same.target.ids)
    assert not torch.equal(first.text.ids, other.text.ids)
    assert set(first.text.languages.tolist()) == set(first.target.languages.tolist()) == {4}
    assert len(set(map(tuple, (part.tolist() for part in first.text.layout.split(first.text.ids))))) == 3


def test_a_block_of_the_published_length_fills_both_sides() -> None:
    raw, targets = raw_lengths(512)
    batch = SpanCorruption(SPECIALS, SENTINELS).prepare(
        Inputs(text=Tokens.of([[*[5] * raw, 1]])), torch.Generator().manual_seed(0)
    )
    assert batch.inputs.text.layout.lengths == (512,)
    assert len(batch.labels) == targets == 114


def test_sentinels_are_those_of_the_vocabulary_or_its_end() -> None:
    assert sentinels_of(["<pad>", "</s>", "<unk>", *(f"<extra_id_{n}>" for n in (2, 1, 0))], 6, SPECIALS) == [5, 4, 3]
    assert sentinels_of([], 6, SPECIALS) == [5, 4, 3]
    assert sentinels_of([], 500, SPECIALS) == list(range(499, 399, -1))


def test_what_cannot_be_corrupted_is_refused() -> None:
    with pytest.raises(UserError, match=r"^a share between 0 and 1 of a text is noise, .* not 1.0 in spans of 3.0$"):
        SpanCorruption(SPECIALS, SENTINELS, density=1.0)
    with pytest.raises(UserError, match=r"^a text of 100 tokens has 5 noise spans, but the vocabulary has 2 sentinels"):
        SpanCorruption(SPECIALS, [9, 8]).prepare(Inputs(text=Tokens.of([[5] * 100])), torch.Generator())
    with pytest.raises(UserError, match=r"^span-corruption masks text at random, so it needs inputs with a text and"):
        SpanCorruption(SPECIALS, SENTINELS).prepare(Inputs(text=Tokens.of([[5, 1]])))
