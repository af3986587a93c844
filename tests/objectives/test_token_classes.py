"""Every token is asked for its class."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.token_classes import TokenClasses

OBJECTIVE = TokenClasses("capitalization")
INPUTS = Inputs(
    text=replace(
        Tokens.of([[1, 5, 6, 2], [1, 7, 2], [1, 2]]),
        token_labels={"capitalization": torch.tensor([-1, 1, 0, -1, -1, 1, -1, -1, -1])},
    )
)


def test_tokens_with_a_mark_are_asked_about_and_measured() -> None:
    sizes = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 8, "vocab_size": 20, "max_positions": 8}
    system = mm_kptm.build("ernie2", seed=0, heads=["capitalization"], **sizes)
    batch = OBJECTIVE.prepare(INPUTS, torch.Generator())
    assert batch.rows.tolist() == [1, 2, 5] and batch.labels.tolist() == [1, 0, 1]
    scores = system.head("capitalization")(system(INPUTS).text)
    expected = F.cross_entropy(scores[[1, 2, 5]], torch.tensor([1, 0, 1]), reduction="none")
    torch.testing.assert_close(OBJECTIVE.loss(system, batch), expected.mean())
    measured = OBJECTIVE.measure(system, batch)
    torch.testing.assert_close(measured, torch.stack([expected[:2].mean(), expected[2], expected.mean()]))


def test_marks_are_needed() -> None:
    message = (
        r"^capitalization reads token labels capitalization, but the inputs have none; take data with them, "
        r"such as documents$"
    )
    for inputs in (Inputs(), Inputs(text=Tokens.of([[5]]))):
        with pytest.raises(UserError, match=message):
            OBJECTIVE.prepare(inputs, torch.Generator())
