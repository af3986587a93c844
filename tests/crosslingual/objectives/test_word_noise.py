"""Words that are shuffled, dropped and blanked, and the text that is restored."""

import numpy as np
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.objectives.word_noise import WordDenoising, WordNoise

SMALL = {"dim": 8, "num_heads": 2, "num_layers": 2, "num_decoder_layers": 1, "vocab_size": 20, "max_positions": 12}


def text() -> Tokens:
    return Tokens.of([[1, 6, 7, 8, 9, 1], [1, 10, 11, 1]], languages=[[0] * 6, [1] * 4])


def test_noise_leaves_both_ends_and_moves_words_a_little() -> None:
    texts = [[1, *range(10, 30), 2, 3]] * 4
    shuffled = WordNoise(5, shuffle=3.0, drop=0.0, blank=0.0, ends=2).noised(texts, np.random.RandomState(0))
    for one in shuffled:
        assert one[0] == 1 and one[-2:] == [2, 3] and sorted(one[1:-2]) == list(range(10, 30))
        assert max(abs(place + 9 - token) for place, token in enumerate(one[1:-2], 1)) <= 3
    assert len({tuple(one) for one in shuffled}) == 4
    assert WordNoise(5, shuffle=0.0, drop=0.0, blank=0.0).noised(texts, np.random.RandomState(0)) == texts


def test_a_text_never_loses_all_words() -> None:
    for seed in range(20):
        (one,) = WordNoise(5, shuffle=0.0, drop=0.99, blank=0.0).noised([[1, 7, 8, 2]], np.random.RandomState(seed))
        assert one in ([1, 7, 2], [1, 8, 2], [1, 7, 8, 2])


def test_the_clean_text_is_written_in_its_language() -> None:
    batch = WordDenoising(WordNoise(5)).prepare(Inputs(text=text()), torch.Generator().manual_seed(0))
    assert torch.equal(batch.inputs.target.ids, text().ids)
    source = batch.inputs.text
    assert [set(part.tolist()) for part in source.layout.split(source.languages)] == [{0}, {1}]
    headless = WordDenoising(WordNoise(5, drop=0.0, ends=2), without_first=True)
    short = headless.prepare(Inputs(text=text()), torch.Generator().manual_seed(0)).inputs.text
    assert short.layout.lengths == (5, 3)
    system = mm_kptm.build("xnlg", seed=0, **SMALL)
    assert WordDenoising(WordNoise(5)).loss(system, batch).isfinite()
