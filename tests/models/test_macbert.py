"""MacBERT: BERT's encoder and files, with the order of sentences where BERT has the next one."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForPreTraining

import mm_kptm
from mm_kptm.batch import Inputs, Tokens


def test_a_file_of_bert_is_one_of_macbert(tmp_path: Path) -> None:
    """The same scores from the published names, the second sentence's head as that of their order."""
    config = BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=20,
    )
    theirs = BertForPreTraining(config).eval()
    save_file({name: tensor.clone() for name, tensor in theirs.state_dict().items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(config.to_json_string())
    ours = mm_kptm.load("macbert", tmp_path)
    ids, segments = [4, 9, 5, 7, 3], [0, 0, 0, 1, 1]
    with torch.no_grad():
        told = theirs(torch.tensor([ids]), token_type_ids=torch.tensor([segments]))
        encoded = ours(Inputs(text=Tokens.of([ids], segments=[segments])))
    close = {"atol": 1e-5, "rtol": 1e-4}
    torch.testing.assert_close(ours.head("sentence-order")(encoded.pooled), told.seq_relationship_logits, **close)
    torch.testing.assert_close(ours.head("masked-tokens")(encoded.text), told.prediction_logits[0], **close)
