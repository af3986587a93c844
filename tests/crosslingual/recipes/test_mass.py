"""What MASS's decoder sees and does in each language, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import mm_kptm
from mm_kptm.batch import Inputs, OutputRows, Tokens
from mm_kptm.errors import UserError
from mm_kptm.models.generation import Writing, greedy

SMALL = {"dim": 8, "num_heads": 2, "num_layers": 1, "num_decoder_layers": 2, "vocab_size": 12, "max_positions": 10}
MASK = 5


def system(**more: Any) -> Any:
    built = mm_kptm.build("mass", seed=0, **{**SMALL, **more})
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_(std=0.5)
    return built


def text(*sequences: list[int], language: int = 0) -> Tokens:
    return Tokens.of(sequences, languages=[[language] * len(one) for one in sequences])


@torch.no_grad()
def test_the_decoder_sees_no_masked_source_token() -> None:
    model = system()
    source = model.encoder.read(Inputs(text=text([1, 7, MASK, 8, 1])))
    noisy = source._replace(x=source.x.clone())
    noisy.x[2] += 100
    target = text([1, 9])
    torch.testing.assert_close(model.encoder.target(target, source), model.encoder.target(target, noisy))
    noisy.x[3] += 100
    assert not torch.allclose(model.encoder.target(target, source), model.encoder.target(target, noisy))


@torch.no_grad()
def test_each_language_has_a_projection_of_its_own() -> None:
    model = system()
    inputs = [Inputs(text=text([1, 7, 8, 1]), target=text([1, 9, 7], language=language)) for language in (0, 1)]
    before = [model(one)["target"] for one in inputs]
    for layer in model.encoder.target.layers:
        layer.cross_attention.attention.out_proj.linears[1].weight.zero_()
    after = [model(one)["target"] for one in inputs]
    torch.testing.assert_close(after[0], before[0])
    assert not torch.allclose(after[1], before[1])
    both = Inputs(
        text=text([1, 7, 8, 1], [1, 7, 8, 1]), target=Tokens.of([[1, 9, 7]] * 2, languages=[[0] * 3, [1] * 3])
    )
    torch.testing.assert_close(model(both)["target"], torch.cat(after))
    rows = torch.tensor([4, 0, 4])
    torch.testing.assert_close(model(both, OutputRows({"target": rows}))["target"], torch.cat(after)[rows])


@pytest.mark.parametrize("num_languages", [0, 2])
@torch.no_grad()
def test_writing_step_by_step_agrees_with_the_whole_text(num_languages: int) -> None:
    model = system(num_languages=num_languages)
    source = text([1, 7, MASK, 1], [1, 9, 1])
    for written, place in zip(greedy(model, Inputs(text=source), Writing(1, 1, 6, language=1)), range(2), strict=True):
        one = [source.ids[:4], source.ids[4:]][place].tolist()
        states = model(Inputs(text=text(one), target=text(written, language=1)))["target"]
        best = model.head("next-tokens")(states).argmax(-1).tolist()
        assert best[: len(written) - 2] == written[1:-1]


def test_a_target_without_languages_is_refused() -> None:
    with pytest.raises(UserError, match="a projection for each language, but the target carries no languages"):
        system().encoder.target(Tokens.of([[1, 7]]), system().encoder.read(Inputs(text=text([1, 7]))))


@pytest.mark.parametrize(("field", "value"), [("attention_setting", "v2"), ("asm", True)])
def test_a_configuration_that_asks_for_more_is_refused(field: str, value: Any, tmp_path: Path) -> None:
    save_file({"encoder.embeddings.weight": torch.zeros(5, 8)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({field: value}))
    with pytest.raises(
        UserError, match=f"the configuration says {field}={value!r}, but mass[a-z-]* is built with {field}="
    ):
        mm_kptm.load("mass", tmp_path)


def test_positions_are_of_two_kinds() -> None:
    assert not system(positions="sinusoidal").encoder.target.embed.position.weight.requires_grad
    with pytest.raises(UserError, match="positions are learned or sinusoidal, not 'rotary'"):
        mm_kptm.build("mass", **SMALL, positions="rotary")
