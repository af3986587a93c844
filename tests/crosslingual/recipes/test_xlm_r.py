"""XLM-R against Hugging Face's at random weights, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.positions import counted_positions

transformers = pytest.importorskip("transformers")


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # biases and norms start at zero and one, where mistakes cannot be seen
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


def agree(mine: Tensor, other: Tensor, atol: float) -> None:
    torch.testing.assert_close(mine, other, atol=atol, rtol=atol)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("pad", [1, 3])
@torch.no_grad()
def test_xlm_r_agrees_with_transformers(pad: int, dtype: torch.dtype, atol: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.XLMRobertaConfig(
        vocab_size=50,
        hidden_size=24,
        num_attention_heads=3,
        num_hidden_layers=2,
        intermediate_size=40,
        max_position_embeddings=18,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        initializer_range=0.3,
        pad_token_id=pad,
    )
    theirs = randomised(transformers.XLMRobertaForMaskedLM(config))
    save_file({name: p.clone() for name, p in theirs.state_dict().items()}, tmp_path / "model.safetensors")
    config.save_pretrained(tmp_path)
    theirs, ours = theirs.to(dtype), mm_kptm.load("xlm-r", tmp_path).to(dtype)
    real = torch.tensor([[1] * 9 + [0] * 3, [0] * 2 + [1] * 10, [1] * 2 + [0] * 4 + [1] * 6]).bool()
    ids = torch.randint(5, 50, real.shape).masked_fill(~real, pad)
    expected = theirs(input_ids=ids, attention_mask=real.long(), output_hidden_states=True)
    inputs = Inputs(text=Tokens.padded(ids, real, positions=counted_positions(ids, pad)))
    agree(ours.head("masked-tokens")(ours(inputs).text), expected.logits[real], atol)
    for stream, states in zip(ours.hidden_states(inputs), expected.hidden_states, strict=True):
        agree(stream.x, states[real], atol)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("tie_word_embeddings", False),
        ("encoder_normalize_before", True),
        ("encoder_layers_to_keep", "0,2"),
    ],
)
def test_a_configuration_that_asks_for_more_is_refused(field: str, value: Any, tmp_path: Path) -> None:
    save_file({"roberta.embeddings.word_embeddings.weight": torch.zeros(5, 8)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({field: value}))
    with pytest.raises(UserError, match=f"the configuration says {field}={value!r}, but xlm-r is built with {field}="):
        mm_kptm.load("xlm-r", tmp_path)


def test_a_checkpoint_of_another_family_is_refused(tmp_path: Path) -> None:
    save_file({"roberta.embeddings.word_embeddings.weight": torch.zeros(5, 8)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "xlm-roberta-xl"}')
    expected = "says model_type='xlm-roberta-xl', but xlm-r-base reads checkpoints of model_type 'xlm-roberta' only"
    with pytest.raises(UserError, match=expected):
        mm_kptm.load("xlm-r", tmp_path)


def test_attention_has_its_own_dropout() -> None:
    sizes = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 8, "vocab_size": 9, "max_positions": 8}
    rates = {"dropout": 0.3, "attention_dropout": 0.0}
    system = mm_kptm.build("xlm-r", heads=(), **sizes, **rates)
    assert {part.dropout for part in system.modules() if isinstance(part, Attention)} == {0.0}
    assert {part.p for part in system.modules() if isinstance(part, torch.nn.Dropout)} == {0.3}


def test_names_of_fairseq_activations_are_known() -> None:
    assert mm_kptm.catalogue()["xlm-r-base"].configured_sizes({"args": {"activation_fn": "gelu_accurate"}}) == {
        "activation": "gelu_new"
    }


@pytest.mark.parametrize(
    ("recipe", "family"), [("xlm-r", "XLMRoberta"), ("roberta", "Roberta"), ("infoxlm", "XLMRoberta")]
)
def test_the_head_of_transformers_has_gelu_whatever_its_layers_have(recipe: str, family: str, tmp_path: Path) -> None:
    config = getattr(transformers, f"{family}Config")(
        vocab_size=40, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
        hidden_act="relu", max_position_embeddings=20, type_vocab_size=1, layer_norm_eps=1e-3, pad_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = getattr(transformers, f"{family}ForMaskedLM")(config).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    theirs.save_pretrained(tmp_path)
    ours = mm_kptm.load(recipe, tmp_path).eval()
    ids = torch.tensor([[0, 7, 9, 11, 2]])
    with torch.no_grad():
        found = ours.head("masked-tokens")(ours(Inputs(text=Tokens.of(ids.tolist()))).text)
        torch.testing.assert_close(found, theirs(ids).logits[0], atol=1e-5, rtol=1e-5)
