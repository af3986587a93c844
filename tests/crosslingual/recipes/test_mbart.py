"""mBART against Hugging Face's at random weights, what it writes, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import mm_kptm
from mm_kptm.batch import Inputs, OutputRows, Tokens
from mm_kptm.errors import UserError
from mm_kptm.models.beam_search import beam_search
from mm_kptm.models.generation import Writing, greedy
from mm_kptm.systems.system import System
from tests.crosslingual.recipes.test_xlm_r import agree, randomised

transformers = pytest.importorskip("transformers")

CODE, STOP, PAD, LONGEST = 27, 2, 1, 9


def both(folder: Path, *, seed: int = 0, **more: Any) -> tuple[torch.nn.Module, System]:
    torch.manual_seed(seed)
    config = transformers.MBartConfig(
        **{
            "vocab_size": 30,
            "d_model": 24,
            "encoder_layers": 2,
            "decoder_layers": 3,
            "encoder_attention_heads": 3,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 40,
            "decoder_ffn_dim": 32,
            "max_position_embeddings": 16,
            "init_std": 0.3,
            "scale_embedding": True,
            "decoder_start_token_id": CODE,
            "pad_token_id": PAD,
            "eos_token_id": STOP,
            **more,
        }
    )
    theirs = randomised(transformers.MBartForConditionalGeneration(config))
    theirs.final_logits_bias.normal_()
    save_file({name: p.clone().contiguous() for name, p in theirs.state_dict().items()}, folder / "model.safetensors")
    config.save_pretrained(folder)
    return theirs, mm_kptm.load("mbart", folder)


def source(rows: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    real = torch.tensor([[1] * 6 + [0] * 2, [1] * 8, [1] * 3 + [0] * 5]).bool()[:rows]
    return torch.randint(4, 26, real.shape).masked_fill(~real, PAD), real


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("scaled", [True, False])
@torch.no_grad()
def test_mbart_agrees_with_transformers(scaled: bool, dtype: torch.dtype, atol: float, tmp_path: Path) -> None:
    theirs, ours = both(tmp_path, scale_embedding=scaled)
    theirs, ours = theirs.to(dtype), ours.to(dtype)
    ids, real = source()
    labels, shown = source()
    expected = theirs(input_ids=ids, attention_mask=real.long(), decoder_input_ids=labels, output_hidden_states=True)
    inputs = Inputs(text=Tokens.padded(ids, real), target=Tokens.padded(labels, shown))
    agree(ours.head("next-tokens")(ours(inputs)["target"]), expected.logits[shown], atol)
    depths = [(states, real) for states in expected.encoder_hidden_states]
    depths += [(states, shown) for states in expected.decoder_hidden_states]
    for stream, (states, there) in zip(ours.hidden_states(inputs), depths, strict=True):
        agree(stream.x, states[there], atol)
    last = torch.tensor([7, 2, 2])
    agree(ours(inputs, OutputRows({"target": last}))["target"], ours(inputs)["target"][last], atol)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("width", "penalty", "early"), [(3, 1.0, True), (4, 2.0, False), (2, 0.0, True)])
def test_beam_search_writes_what_transformers_writes(
    seed: int, width: int, penalty: float, early: bool, tmp_path: Path
) -> None:
    theirs, ours = both(tmp_path, seed=seed, init_std=0.15)
    theirs.final_logits_bias[:, STOP] += 1.5  # so that texts close at several lengths
    save_file({name: p.clone().contiguous() for name, p in theirs.state_dict().items()}, tmp_path / "model.safetensors")
    ours = mm_kptm.load("mbart", tmp_path)
    ids, real = source()
    asked = {"input_ids": ids, "attention_mask": real.long(), "max_length": LONGEST, "forced_eos_token_id": STOP}
    expected = theirs.generate(
        **asked, num_beams=width, length_penalty=penalty, early_stopping=early, decoder_start_token_id=CODE
    )
    inputs, writing = Inputs(text=Tokens.padded(ids, real)), Writing(CODE, STOP, LONGEST)
    found = beam_search(ours, inputs, writing, width=width, length_penalty=penalty, stop_early=early)
    assert found == unpadded(expected)
    best = theirs.generate(**asked, num_beams=1, decoder_start_token_id=CODE)
    assert greedy(ours, inputs, writing) == unpadded(best)


def test_mbart_50_begins_with_a_forced_language(tmp_path: Path) -> None:
    theirs, ours = both(tmp_path)
    ids, real = source()
    expected = theirs.generate(
        input_ids=ids,
        attention_mask=real.long(),
        max_length=LONGEST,
        forced_eos_token_id=STOP,
        num_beams=3,
        decoder_start_token_id=STOP,
        forced_bos_token_id=CODE,
        early_stopping=True,
    )
    inputs, writing = Inputs(text=Tokens.padded(ids, real)), Writing(STOP, STOP, LONGEST)
    found = beam_search(ours, inputs, writing, width=3, stop_early=True, first=CODE)
    assert found == unpadded(expected)
    assert all(text[:2] == [STOP, CODE] for text in found)


def unpadded(texts: torch.Tensor) -> list[list[int]]:
    """Up to the stop token that closes a text; the first token may be one."""
    rows = []
    for text in texts.tolist():
        end = text.index(STOP, 1) if STOP in text[1:] else len(text) - 1
        rows.append(text[: end + 1])
    return rows


def test_a_beam_needs_a_hypothesis_and_a_decoder() -> None:
    tiny = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 8, "vocab_size": 9, "max_positions": 8}
    inputs = Inputs(text=Tokens.of([[5, 6]]))
    with pytest.raises(UserError, match="a beam holds at least one hypothesis, not 0"):
        beam_search(mm_kptm.build("mbart", **tiny), inputs, Writing(0, 2, 4), width=0)
    with pytest.raises(UserError, match="xlm-r-base has no decoder to write with"):
        beam_search(mm_kptm.build("xlm-r", **tiny), inputs, Writing(0, 2, 4), width=2)


def test_one_word_table_serves_both_sides_and_the_output() -> None:
    tiny = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 8, "vocab_size": 9, "max_positions": 8}
    system = mm_kptm.build("mbart", **tiny)
    tables = [name for name, parameter in system.named_parameters() if parameter.shape == (9, 8)]
    assert tables == ["encoder.source.embed.text.word.weight"]
    assert system.head("next-tokens").word is system.encoder.target.embed.word


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "bart"),
        ("encoder_normalize_before", False),
        ("layernorm_embedding", False),
        ("share_all_embeddings", False),
        ("decoder_layers_to_keep", "0,2"),
        ("activation_dropout", 0.1),
    ],
)
def test_a_configuration_that_asks_for_more_is_refused(field: str, value: Any, tmp_path: Path) -> None:
    save_file({"encoder.embed_tokens.weight": torch.zeros(5, 8)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({field: value}))
    with pytest.raises(UserError, match=f"the configuration says {field}={value!r}, but mbart is built with {field}="):
        mm_kptm.load("mbart", tmp_path)


def test_a_decoder_of_another_width_is_refused(tmp_path: Path) -> None:
    save_file({"encoder.embed_tokens.weight": torch.zeros(5, 8)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"encoder_embed_dim": 8, "decoder_embed_dim": 16}))
    with pytest.raises(UserError, match="decoder_embed_dim=16, but mbart is built with decoder_embed_dim=8 only"):
        mm_kptm.load("mbart", tmp_path)
