"""From inputs to one sequence."""

import pytest
import torch

from mm_kptm.batch import EVERY_ROW, Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.assembly import TextOnly, join
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.visibility import Causal

CPU = torch.device("cpu")


def test_joined_sequences_stand_left_part_first() -> None:
    joint = join(SequenceLayout((2, 0, 1)), SequenceLayout((1, 3, 0)), CPU)
    assert joint.layout.lengths == (3, 3, 1)
    rows = joint.rows(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[10.0], [20.0], [30.0], [40.0]]))
    assert rows.squeeze(1).tolist() == [1, 2, 10, 20, 30, 40, 3]
    assert joint.left.tolist() == [0, 1, 6] and joint.right.tolist() == [2, 3, 4, 5]


def test_sequences_without_a_companion_are_refused() -> None:
    with pytest.raises(UserError, match=r"^2 sequences cannot be joined with 1: every one needs its companion$"):
        join(SequenceLayout((1, 2)), SequenceLayout((3,)), CPU)


def test_text_alone_is_the_sequence() -> None:
    embed = TextOnly(TextEmbedding(9, 4)).eval()
    tokens = Tokens.of([[1, 2], [3]], attention_mask=Causal())
    assembled = embed(Inputs(text=tokens))
    assert assembled.parts == {"text": EVERY_ROW} and assembled.text is EVERY_ROW
    assert assembled.stream.layout is tokens.layout
    assert assembled.stream.attention.mask is tokens.attention_mask


def test_a_text_model_without_text_is_refused() -> None:
    regions = Regions(torch.zeros(1, 2), torch.zeros(1, 4), SequenceLayout((1,)))
    with pytest.raises(UserError, match=r"^this model reads text, but the inputs have regions$"):
        TextOnly(TextEmbedding(9, 4))(Inputs(regions=regions))
