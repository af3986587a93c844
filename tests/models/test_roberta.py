"""RoBERTa against an independent implementation at random weights, in both layouts of its published files."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import POOLED_ONLY, Inputs, Tokens
from mm_kptm.systems.keymap import UnmappedKeys
from mm_kptm.systems.system import System

transformers = pytest.importorskip("transformers")


def theirs_at_random(config: "transformers.RobertaConfig") -> torch.nn.Module:
    torch.manual_seed(0)
    model = transformers.RobertaForMaskedLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # biases and norms start at zero and one, where mistakes cannot be seen
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def small_config() -> "transformers.RobertaConfig":
    return transformers.RobertaConfig(
        vocab_size=50,
        hidden_size=24,
        num_attention_heads=3,
        num_hidden_layers=2,
        intermediate_size=40,
        max_position_embeddings=18,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        initializer_range=0.3,  # large weights show what small ones hide
        pad_token_id=1,
    )


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@torch.no_grad()
def test_roberta_agrees_with_transformers(dtype: torch.dtype, atol: float, tmp_path: Path) -> None:
    config = small_config()
    theirs = theirs_at_random(config)
    save_file({name: p.clone() for name, p in theirs.named_parameters()}, tmp_path / "model.safetensors")
    config.save_pretrained(tmp_path)
    theirs, ours = theirs.to(dtype), mm_kptm.load("roberta", tmp_path).to(dtype)
    real = torch.tensor([[1] * 9 + [0] * 3, [0] * 2 + [1] * 10, [1] * 2 + [0] * 4 + [1] * 6]).bool()
    ids = torch.randint(2, 50, real.shape).masked_fill(~real, 1)
    expected = theirs(input_ids=ids, attention_mask=real.long(), output_hidden_states=True)
    inputs = Inputs(text=Tokens.padded(ids, real, positions=real.long().cumsum(1) - 1))

    def agrees(mine: Tensor, other: Tensor) -> None:
        torch.testing.assert_close(mine, other, atol=atol, rtol=atol)

    agrees(ours.head("masked-tokens")(ours(inputs).text), expected.logits[real])
    for stream, states in zip(ours.hidden_states(inputs), expected.hidden_states, strict=True):
        agrees(stream.x, states[real])


def in_fairseq_names(system: System, *, side: str, stacked: bool) -> dict[str, Tensor]:
    """The weights of a system as fairseq would save them."""
    ours = {name: tensor.detach().clone() for name, tensor in system.named_parameters()}
    stack = f"{side}.sentence_encoder"
    named = {
        f"{stack}.embed_tokens.weight": ours["encoder.embed.text.word.weight"],
        f"{stack}.embed_positions.weight": ours["encoder.embed.text.position.weight"],
        f"{side}.lm_head.weight": ours["encoder.embed.text.word.weight"].clone(),
        f"{side}.lm_head.bias": ours["heads.masked-tokens.bias"],
    }
    for leaf in ("weight", "bias"):
        norm = "emb_layer_norm" if stacked else "layernorm_embedding"
        named[f"{stack}.{norm}.{leaf}"] = ours[f"encoder.embed.text.norm.{leaf}"]
        named[f"{side}.lm_head.dense.{leaf}"] = ours[f"heads.masked-tokens.transform.dense.{leaf}"]
        named[f"{side}.lm_head.layer_norm.{leaf}"] = ours[f"heads.masked-tokens.transform.norm.{leaf}"]
        for number in range(len(system.encoder.layers)):
            place, layer = f"encoder.layers.{number}", f"{stack}.layers.{number}"
            roles = [ours[f"{place}.self_attention.attention.{role}.{leaf}"] for role in ("query", "key", "value")]
            if stacked:
                named[f"{layer}.self_attn.in_proj_{leaf}"] = torch.cat(roles)
            else:
                named |= {f"{layer}.self_attn.{role}_proj.{leaf}": p for role, p in zip("qkv", roles, strict=True)}
            for theirs, mine in {
                "self_attn.out_proj": "self_attention.attention.out_proj",
                "self_attn_layer_norm": "self_attention.norm",
                "fc1": "ffn.up_proj",
                "fc2": "ffn.down_proj",
                "final_layer_norm": "ffn.norm",
            }.items():
                named[f"{layer}.{theirs}.{leaf}"] = ours[f"{place}.{mine}.{leaf}"]
    return named


SMALL = {"dim": 12, "num_heads": 3, "num_layers": 2, "ffn_dim": 20, "vocab_size": 30, "max_positions": 16}


@pytest.mark.parametrize(("side", "stacked"), [("decoder", True), ("decoder", False), ("encoder", False)])
def test_every_layout_of_fairseq_is_read(side: str, stacked: bool, tmp_path: Path) -> None:
    system = mm_kptm.build("roberta", seed=0, **SMALL)
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.normal_()
    save_file(in_fairseq_names(system, side=side, stacked=stacked), tmp_path / "model.safetensors")
    sizes = {name: size for name, size in SMALL.items() if name not in ("vocab_size", "max_positions")}
    back = mm_kptm.load("roberta", tmp_path / "model.safetensors", **sizes)
    theirs = dict(back.named_parameters())
    assert all(torch.equal(parameter, theirs[name]) for name, parameter in system.named_parameters())


def test_a_text_of_the_longest_length_fits_and_one_more_does_not() -> None:
    system = mm_kptm.build("roberta", seed=0, heads=(), **SMALL)
    with torch.no_grad():
        assert system(Inputs(text=Tokens.of([[5] * 14])), POOLED_ONLY).pooled.shape == (1, 12)
        with pytest.raises(ValueError, match="a token stands at position 16, but the model has 16 positions"):
            system(Inputs(text=Tokens.of([[5] * 15])))


def test_a_head_that_is_tied_to_other_words_is_refused(tmp_path: Path) -> None:
    system = mm_kptm.build("roberta", seed=0, **SMALL)
    named = in_fairseq_names(system, side="decoder", stacked=True)
    named["decoder.lm_head.weight"] = named["decoder.lm_head.weight"] + 1
    save_file(named, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"decoder.lm_head.weight should repeat decoder.sentence_encoder.embed_tokens"):
        mm_kptm.load("roberta", tmp_path / "model.safetensors", **SMALL)


def test_a_stranger_is_named(tmp_path: Path) -> None:
    named = in_fairseq_names(mm_kptm.build("roberta", seed=0, **SMALL), side="decoder", stacked=True)
    save_file(named | {"decoder.stranger": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UnmappedKeys, match=r"no rule for published keys: decoder.stranger"):
        mm_kptm.load("roberta", tmp_path / "model.safetensors", **SMALL)
