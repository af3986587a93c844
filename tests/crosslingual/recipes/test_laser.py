"""LASER's encoder in one direction and in two is torch's LSTM, whatever stands beside a sentence."""

import pytest
import torch
from torch import nn

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.recipes.laser import infer_sizes, read_config
from mm_kptm.errors import UserError


@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_sentence_is_the_largest_state_of_torchs_lstm(bidirectional: bool) -> None:
    width = 6 if bidirectional else 12
    sizes = {"vocab_size": 20, "dim": 12, "input_dim": 5, "num_layers": 2, "bidirectional": bidirectional}
    system = mm_kptm.build("laser", seed=0, **sizes).eval()
    reference = nn.LSTM(5, width, 2, bidirectional=bidirectional)
    reference.load_state_dict(system.encoder.lstm.state_dict())
    texts = [[4, 5, 6, 2], [7, 2], [9, 8, 2]]
    with torch.no_grad():
        found = system(Inputs(text=Tokens.of(texts))).pooled
        for text, vector in zip(texts, found, strict=True):
            states, _ = reference(system.encoder.word(torch.tensor(text))[:, None])
            torch.testing.assert_close(vector, states[:, 0].amax(0))


@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_checkpoint_tells_its_directions(bidirectional: bool) -> None:
    lstm = nn.LSTM(5, 6, 3, bidirectional=bidirectional)
    tensors = {f"encoder.lstm.{name}": tensor for name, tensor in lstm.state_dict().items()}
    dim = 12 if bidirectional else 6
    assert infer_sizes(tensors, {}) == {"num_layers": 3, "bidirectional": bidirectional, "dim": dim}
    assert read_config({"params": {"hidden_size": 6, "bidirectional": bidirectional}}) == {
        "bidirectional": bidirectional,
        "dim": dim,
    }


def test_two_directions_share_the_width() -> None:
    with pytest.raises(UserError, match="a BiLSTM has two directions of equal width, but its dim is 13; make it even"):
        mm_kptm.build("laser", vocab_size=20, dim=13, input_dim=5, num_layers=1)
