"""Every token is predicted from those before it."""

import pytest
import torch
from torch import nn

from mm_kptm.batch import ALL_ROWS, Encoded, Inputs, OutputRows, Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.visibility import Causal
from mm_kptm.objectives.next_tokens import NextTokens

TEXT = Tokens.of([[1, 7, 8, 1], [1], [1, 9]])


class Scores(nn.Module):
    """Scores of the rows whose numbers are given."""

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.scores[rows.long().squeeze(1)]


class Told(nn.Module):
    """Its state of a row is the row's number; its head says that the token told for the row is coming."""

    def __init__(self, told: torch.Tensor, *, sure: float) -> None:
        super().__init__()
        self.words = Scores(nn.functional.one_hot(told, 10) * sure)
        self.encoder = nn.Identity()  # reads forward

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        assert inputs.text is not None and isinstance(inputs.text.attention_mask, Causal)
        rows = torch.arange(inputs.text.rows, dtype=torch.float)[output_rows["text"], None]
        return Encoded({"text": rows}, pooled=rows[:0])

    def head(self, name: str) -> nn.Module:
        return {"words": self.words}[name]


def test_all_rows_but_the_last_of_each_text_are_read() -> None:
    batch = NextTokens().prepare(Inputs(text=TEXT))
    assert batch.rows.tolist() == [0, 1, 2, 5]
    assert batch.labels.tolist() == [7, 8, 1, 9]
    assert batch.sequence_ids.tolist() == [0, 0, 0, 2]
    assert len(batch) == 3
    assert TEXT.attention_mask is None, "the given text is left as it is"


def test_a_target_is_continued_in_place_of_the_text() -> None:
    inputs = Inputs(text=TEXT, target=Tokens.of([[1, 5], [1, 6, 1], [1]]))
    batch = NextTokens().prepare(inputs)
    assert batch.stream == "target" and batch.labels.tolist() == [5, 6, 1]
    assert batch.inputs is inputs, "the source keeps seeing all of itself"


def test_the_loss_is_that_of_the_tokens_that_come() -> None:
    objective = NextTokens(head="words")
    batch = objective.prepare(Inputs(text=TEXT))
    knowing, unknowing = (Told(TEXT.ids.roll(-1), sure=sure) for sure in (50.0, 0.0))
    assert objective.loss(knowing, batch) < 1e-6
    torch.testing.assert_close(objective.loss(unknowing, batch), torch.tensor(10.0).log())
    torch.testing.assert_close(objective.measure(unknowing, batch), torch.tensor(10.0).log().expand(3))


def test_nothing_to_continue_is_refused() -> None:
    with pytest.raises(UserError, match=r"^next-tokens continues a text, but the inputs have none$"):
        NextTokens().prepare(Inputs())
