"""What a table cannot answer is refused in one sentence: ids without a row, and texts without a token."""

from __future__ import annotations

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.models.sentence_embedding import first_state, mean_state

SMALL = {"num_layers": 1, "dim": 16, "num_heads": 2, "ffn_dim": 16, "vocab_size": 30}


@pytest.fixture(scope="module")
def bert():
    return mm_kptm.build("bert-base", **SMALL).eval()


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (
            Tokens.of([[5], [4, 50]]),
            "^a token has the word id 50, but the table of words has 30 rows, 0 to 29; encode the text with the "
            "tokenizer of the model, or build it with vocab_size=51$",
        ),
        (Tokens.of([[30]]), r"word id 30, .*build it with vocab_size=31$"),
        (
            Tokens.of([[-1, 29]]),
            "^a token has the word id -1, but the table of words has 30 rows, 0 to 29; encode the text with the "
            "tokenizer of the model$",
        ),
        (
            Tokens.of([[5, 6]], segments=[[0, 2]]),
            "^a token has the segment id 2, but the table of segments has 2 rows, 0 to 1; number segments from 0, or "
            "build it with num_segments=3$",
        ),
        (Tokens.of([[5, 6]], segments=[[0, -2]]), r"^a token has the segment id -2, but .* number segments from 0$"),
        (Tokens.of([[5] * 513]), r"^a token stands at position 512, but the model has 512 positions"),
        (
            Tokens.of([[5]], positions=[[-1]]),
            r"^a token stands at position -1, but the first of the 512 positions is 0",
        ),
    ],
)
def test_an_id_without_a_row_is_named_with_the_size_of_its_table(bert, tokens, message):
    with pytest.raises(UserError, match=message):
        bert(Inputs(text=tokens))


def test_so_is_the_id_of_a_language():
    system = mm_kptm.build("xlm-15", **SMALL, num_languages=3).eval()
    fine = Inputs(text=Tokens.of([[5, 6]], languages=[[0, 2]]))
    assert system(fine).pooled.shape == (1, 16)
    for wrong in (3, -1):
        with pytest.raises(
            UserError, match=rf"^a token has the language id {wrong}, but the table of languages has 3 rows, 0 to 2"
        ):
            system(Inputs(text=Tokens.of([[5, 6]], languages=[[0, wrong]])))


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("read", [lambda s, i: s(i), mean_state, first_state, lambda s, i: list(s.hidden_states(i))])
def test_a_text_without_a_token_is_refused_wherever_it_stands(bert, place, read):
    texts = [[5, 6], [7]]
    texts.insert(place, [])
    with pytest.raises(UserError, match=rf"^sequence {place} of the 3 of text has no token; a text has one token"):
        read(bert, Inputs(text=Tokens.of(texts)))
    with pytest.raises(UserError, match=r"^sequence 0 of the 1 of text has no token"):
        read(bert, Inputs(text=Tokens.of([[]])))
    padded = Tokens.padded(torch.tensor([[5, 6], [0, 0]]), torch.tensor([[True, True], [False, False]]))
    with pytest.raises(UserError, match=r"^sequence 1 of the 2 of text has no token"):
        read(bert, Inputs(text=padded))
