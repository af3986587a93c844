"""Positions counted over real tokens, as Hugging Face's RoBERTa counts them."""

import pytest
import torch

from mm_kptm.nn.positions import counted_positions

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("pad", [0, 1, 4])
def test_positions_agree_with_transformers(pad: int) -> None:
    from transformers.models.roberta.modeling_roberta import RobertaEmbeddings

    ids = torch.randint(0, 6, (5, 9), generator=torch.Generator().manual_seed(0))
    expected = RobertaEmbeddings.create_position_ids_from_input_ids(ids, pad)
    assert torch.equal(counted_positions(ids, pad) + pad + 1, expected)
