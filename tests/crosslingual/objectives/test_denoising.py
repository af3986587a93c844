"""mBART's noise, and the text that is restored from it."""

from collections import Counter

import pytest
import torch

from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.objectives.denoising import Denoising, FramedDenoising, Infilling
from mm_kptm.errors import UserError

MASK = 99


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_infilling_hides_the_share_of_the_words_behind_one_mask_a_span() -> None:
    noise = Infilling(mask_id=MASK, stop=2)
    words = [[number, number] for number in range(10, 50)] + [[2]]
    for seed in range(30):
        shown = noise.noised(words, generator(seed))
        kept = [token for token in shown if token not in (MASK, 2)]
        assert len(kept) == 2 * (40 - 14), "14 of 40 words, of two pieces each"
        assert kept == sorted(kept) and shown[-1] == 2
        assert 1 <= shown.count(MASK) <= 30


def test_sentences_change_places_whole() -> None:
    noise = Infilling(mask_id=MASK, stop=2, share=0.0)
    words = [[10], [11], [2], [20], [2], [30], [31], [2]]
    seen = {tuple(noise.noised(words, generator(seed))) for seed in range(60)}
    assert len(seen) == 6
    assert (20, 2, 30, 31, 2, 10, 11, 2) in seen
    assert set(Infilling(MASK, 2, 0.0, permute=False).noised(words, generator())) == {10, 11, 2, 20, 30, 31}


def test_denoising_restores_the_text_and_keeps_the_language_last() -> None:
    text = Tokens.of([[10, 11, 12, 13, 14, 15, 2, 57], [20, 21, 2, 22, 2, 58]])
    batch = Denoising(Infilling(mask_id=MASK, stop=2)).prepare(Inputs(text=text), generator())
    source, target = batch.inputs.text, batch.inputs.target
    assert [part[-1].item() for part in source.layout.split(source.ids)] == [57, 58]
    assert MASK in source.ids
    assert [part.tolist() for part in target.layout.split(target.ids)] == [
        [57, 10, 11, 12, 13, 14, 15, 2, 57],
        [58, 20, 21, 2, 22, 2, 58],
    ]
    assert batch.labels.tolist() == text.ids.tolist()


def test_pieces_of_a_word_are_hidden_together() -> None:
    groups = [[0, 0, 1, 1, 2, 2, 3, 3, -1, -1]]
    text = Tokens.of([[10, 10, 11, 11, 12, 12, 13, 13, 2, 57]], mask_groups=groups)
    for seed in range(20):
        batch = Denoising(Infilling(mask_id=MASK, stop=2)).prepare(Inputs(text=text), generator(seed))
        counts = Counter(batch.inputs.text.ids.tolist())
        assert all(counts[word] in (0, 2) for word in range(10, 14))


def test_denoising_refuses_what_cannot_be() -> None:
    with pytest.raises(UserError, match=r"not 2 in spans of 3\.5"):
        Infilling(mask_id=MASK, stop=2, share=2)
    with pytest.raises(UserError, match="needs inputs with a text and a generator"):
        Denoising(Infilling(mask_id=MASK, stop=2)).prepare(Inputs(text=Tokens.of([[5, 2, 57]])))


@pytest.mark.parametrize(("codes", "ends"), [(None, [0, 0]), ([57, 58, 59], [58, 57])])
def test_framed_texts_end_with_the_code_of_their_language(codes: list[int] | None, ends: list[int]) -> None:
    texts = [[0, 7, 8, 2], [0, 9, 2]]
    framed = Inputs(text=Tokens.of(texts, languages=[[1] * 4, [0] * 3]))
    objective = FramedDenoising(Infilling(50, 2, share=0.0), codes)
    batch = objective.prepare(framed, torch.Generator().manual_seed(0))
    text, target = batch.inputs.text, batch.inputs.target
    assert [part.tolist() for part in text.layout.split(text.ids)] == [[7, 8, 2, ends[0]], [9, 2, ends[1]]]
    assert [part.tolist() for part in target.layout.split(target.ids)] == [
        [ends[0], 7, 8, 2, ends[0]],
        [ends[1], 9, 2, ends[1]],
    ]
    assert [set(part.tolist()) for part in target.layout.split(target.languages)] == [{1}, {0}]
    assert [set(part.tolist()) for part in text.layout.split(text.languages)] == [{1}, {0}]


def test_codes_need_the_language_of_a_text() -> None:
    with pytest.raises(UserError, match="ends a text with the code of its language, but the texts have none"):
        FramedDenoising(Infilling(50, 2), [57]).prepare(Inputs(text=Tokens.of([[0, 7, 2]])), torch.Generator())
