"""RemBERT against Hugging Face's at random weights, and what it refuses."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import mm_kptm
from mm_kptm.batch import POOLED_ONLY, Inputs, Tokens
from mm_kptm.errors import UserError
from tests.crosslingual.recipes.test_xlm_r import agree, randomised

transformers = pytest.importorskip("transformers")


def config() -> "transformers.RemBertConfig":
    return transformers.RemBertConfig(
        vocab_size=50,
        hidden_size=24,
        num_attention_heads=3,
        num_hidden_layers=2,
        input_embedding_size=10,
        output_embedding_size=28,
        intermediate_size=40,
        max_position_embeddings=18,
        layer_norm_eps=1e-6,
        initializer_range=0.3,
    )


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@torch.no_grad()
def test_rembert_agrees_with_transformers(dtype: torch.dtype, atol: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = randomised(transformers.RemBertForMaskedLM(config()))
    save_file({name: p.clone() for name, p in theirs.named_parameters()}, tmp_path / "model.safetensors")
    config().save_pretrained(tmp_path)
    theirs, ours = theirs.to(dtype), mm_kptm.load("rembert", tmp_path).to(dtype)
    real = torch.tensor([[1] * 9 + [0] * 3, [0] * 2 + [1] * 10]).bool()
    ids, kinds = torch.randint(2, 50, real.shape), torch.randint(2, real.shape)
    expected = theirs(input_ids=ids, attention_mask=real.long(), token_type_ids=kinds, output_hidden_states=True)
    inputs = Inputs(text=Tokens.padded(ids, real, segments=kinds))
    agree(ours.head("masked-tokens")(ours(inputs).text), expected.logits[real], atol)
    for stream, states in zip(ours.hidden_states(inputs), expected.hidden_states, strict=True):
        agree(stream.x, states[real], atol)


@torch.no_grad()
def test_the_pooler_is_read_where_there_is_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = randomised(transformers.RemBertForSequenceClassification(config()))
    save_file({name: p.clone() for name, p in theirs.named_parameters()}, tmp_path / "model.safetensors")
    config().save_pretrained(tmp_path)
    ours = mm_kptm.load("rembert", tmp_path, heads={"classifier": {"num_classes": 2}})
    ids = torch.randint(2, 50, (3, 7))
    scores = ours.head("classifier")(ours(Inputs(text=Tokens.padded(ids, torch.ones_like(ids))), POOLED_ONLY).pooled)
    agree(scores, theirs(input_ids=ids).logits, 1e-5)


def test_tied_embeddings_are_refused(tmp_path: Path) -> None:
    save_file({"rembert.embeddings.word_embeddings.weight": torch.zeros(5, 8)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"tie_word_embeddings": True}))
    with pytest.raises(
        UserError, match="tie_word_embeddings=True, but rembert is built with tie_word_embeddings=False"
    ):
        mm_kptm.load("rembert", tmp_path)
