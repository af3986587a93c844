"""BERT against an independent implementation at random weights."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Tokens

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("activation", ["gelu", "relu", "gelu_new"])
@pytest.mark.parametrize("attends", ["eager", "sdpa"])
@torch.no_grad()
def test_bert_agrees_with_transformers(
    dtype: torch.dtype, atol: float, activation: str, attends: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_attention_heads=3,
        num_hidden_layers=3,
        intermediate_size=40,
        max_position_embeddings=16,
        type_vocab_size=3,
        hidden_act=activation,
        attn_implementation=attends,
        initializer_range=0.3,  # large weights show what small ones hide
    )
    theirs = transformers.BertForPreTraining(config).eval()
    for parameter in theirs.parameters():
        if parameter.dim() == 1:  # biases and norms start at zero and one, where mistakes cannot be seen
            parameter.add_(torch.randn_like(parameter) * 0.3)
    save_file({name: p.clone() for name, p in theirs.named_parameters()}, tmp_path / "model.safetensors")
    config.save_pretrained(tmp_path)
    theirs, ours = theirs.to(dtype), mm_kptm.load("bert", tmp_path).to(dtype)
    real = torch.tensor([[1] * 9 + [0] * 3, [1] * 12, [1] * 2 + [0] * 10]).bool()
    ids, segments = torch.randint(50, real.shape), torch.randint(3, real.shape)
    expected = theirs(input_ids=ids, attention_mask=real.long(), token_type_ids=segments, output_hidden_states=True)
    inputs = Inputs(text=Tokens.padded(ids, real, segments=segments))
    encoded = ours(inputs)

    def agrees(mine: Tensor, other: Tensor) -> None:
        torch.testing.assert_close(mine, other, atol=atol, rtol=atol)

    agrees(ours.head("masked-tokens")(encoded.text), expected.prediction_logits[real])
    agrees(ours.head("next-sentence")(encoded.pooled), expected.seq_relationship_logits)
    for stream, states in zip(ours.hidden_states(inputs), expected.hidden_states, strict=True):
        agrees(stream.x, states[real])
