"""What is written is what the likelihoods say."""

from itertools import product

import pytest
import torch
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.models.generation import Writing, beam, greedy
from mm_kptm.systems.system import System

VOCABULARY, STOP = 5, 1
TEXTS = [[1, 3, 4, 1], [1, 2, 1], [1, 4, 4, 2, 3, 1]]


def writer() -> System:
    torch.manual_seed(0)
    system = mm_kptm.build("xlm-mt", dim=8, num_heads=2, num_layers=2, vocab_size=VOCABULARY, num_languages=2).double()
    for parameter in system.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.4)
    return system


def sources(texts: list[list[int]] = TEXTS) -> Inputs:
    return Inputs(text=Tokens.of(texts, languages=[[0] * len(text) for text in texts]))


def writing(max_length: int = 5) -> Writing:
    return Writing(start=STOP, stop=STOP, max_length=max_length, language=1)


@torch.no_grad()
def scores(system: System, source: list[int], text: list[int]) -> Tensor:
    """The log-likelihoods of every token behind every row of a text, without any memory, [n, V]."""
    target = Tokens.of([text], languages=[[1] * len(text)])
    inputs = Inputs(text=sources([source]).text, target=target)
    return system.head("next-tokens")(system(inputs)["target"]).log_softmax(-1)


def test_greedy_takes_the_best_token_at_each_place() -> None:
    system, max_length = writer(), 6
    for source, text in zip(TEXTS, greedy(system, sources(), writing(max_length)), strict=True):
        best = scores(system, source, text[:-1]).argmax(-1).tolist()
        assert text[0] == text[-1] == STOP and STOP not in text[1:-1]
        assert text[1:] == best if len(text) < max_length else text[1:-1] == best[:-1]


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_of_all_texts(penalty: float) -> None:
    """Every text up to the longest is scored by itself; where it is cut, the token that is cut off counts."""
    system, max_length = writer(), 4
    found = beam(system, sources(), writing(max_length), width=150, length_penalty=penalty)
    words = [word for word in range(VOCABULARY) if word != STOP]
    for source, text in zip(TEXTS, found, strict=True):
        best: dict[tuple[int, ...], float] = {}
        for length in range(max_length - 1):
            for inner in product(words, repeat=length):
                written = (STOP, *inner)
                rows = scores(system, source, list(written))
                total = sum(rows[place, word].item() for place, word in enumerate(inner))
                last = rows[-1].max().item() if len(written) + 1 == max_length else rows[-1, STOP].item()
                best[(*written, STOP)] = (total + last) / len(written) ** penalty
        assert tuple(text) == max(best, key=best.__getitem__)


def test_a_beam_of_one_that_stops_early_is_greedy() -> None:
    system = writer()
    assert beam(system, sources(), writing(), width=1, stop_early=True) == greedy(system, sources(), writing())


@pytest.mark.parametrize("width", [1, 3])
def test_a_text_is_written_as_if_it_were_alone(width: int) -> None:
    system = writer()
    together = beam(system, sources(), writing(7), width=width)
    assert together == [beam(system, sources([text]), writing(7), width=width)[0] for text in TEXTS]
    assert greedy(system, sources(), writing(7)) == [greedy(system, sources([text]), writing(7))[0] for text in TEXTS]


def test_a_system_without_a_decoder_cannot_write() -> None:
    system = mm_kptm.build("xlm", dim=8, num_heads=2, num_layers=1, vocab_size=9)
    with pytest.raises(UserError, match=r"^xlm-15 has no decoder to write with; a system with one,.* xlm-mt, does$"):
        greedy(system, sources(), writing())


def test_a_text_without_room_and_a_beam_without_hypotheses_are_refused() -> None:
    with pytest.raises(UserError, match=r"^a written text has a first and a last token, but max_length is 1$"):
        writing(1)
    with pytest.raises(UserError, match=r"^a beam holds at least one hypothesis, not 0$"):
        beam(writer(), sources(), writing(), width=0)
