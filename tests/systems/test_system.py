"""A system and what it asks of its encoder."""

import re

import pytest
import torch
from torch import nn

from mm_kptm.batch import Encoded, Inputs, OutputRows, Tokens
from mm_kptm.errors import UserError
from mm_kptm.systems.system import System


class Words(nn.Module):
    """Nothing but a table of words."""

    def __init__(self) -> None:
        super().__init__()
        self.dim = 4
        self.word = nn.Embedding(9, 4)

    def forward(self, inputs: Inputs, output_rows: OutputRows) -> Encoded:
        assert inputs.text is not None
        return Encoded({"text": self.word(inputs.text.ids)[output_rows["text"]]}, pooled=torch.zeros(0, 4))


SYSTEM = System(Words(), {"count": nn.Linear(4, 2)}, recipe="words", sizes={}, head_sizes={})
INPUTS = Inputs(text=Tokens.of([[1, 2], [3]]))


def test_any_module_with_a_dim_is_an_encoder() -> None:
    assert SYSTEM.dim == 4
    assert SYSTEM.head("count")(SYSTEM(INPUTS).text).shape == (3, 2)


def test_a_head_that_it_was_built_without_is_named() -> None:
    with pytest.raises(UserError, match=r"^words was built without the head 'vqa'; it has count$"):
        SYSTEM.head("vqa")


def test_states_of_depths_that_an_encoder_does_not_show_are_refused() -> None:
    complaint = (
        "the states of every depth were asked of words, but its encoder, Words, has no method hidden_states; "
        "give it one that yields them"
    )
    with pytest.raises(UserError, match=f"^{re.escape(complaint)}$"):
        SYSTEM.hidden_states(INPUTS)
