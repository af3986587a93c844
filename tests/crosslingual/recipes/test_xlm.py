"""XLM: parity, invariances, and the files that it is found in."""

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import POOLED_ONLY, Inputs, OutputRows, Tokens
from mm_kptm.crosslingual.recipes.xlm_layout import untied_outputs
from mm_kptm.errors import UserError
from mm_kptm.nn.embeddings import sinusoids
from mm_kptm.nn.visibility import Causal
from mm_kptm.objectives.next_tokens import NextTokens
from mm_kptm.systems.keymap import UnmappedKeys
from mm_kptm.systems.pretrained import translated
from mm_kptm.systems.system import System

SMALL: dict[str, Any] = {"dim": 16, "num_heads": 2, "num_layers": 2, "vocab_size": 40, "num_languages": 3}
GOLDEN = Path(__file__).parents[2] / "golden/data/xlm"
TEXTS = [[1, 20, 21, 1, 1, 30, 1], [1, 14, 15, 16, 1], [1, 39, 1]]


def text(sequences: list[list[int]] = TEXTS, **more: Any) -> Tokens:
    return Tokens.of(sequences, languages=[[number % 3] * len(s) for number, s in enumerate(sequences)], **more)


def small(name: str = "xlm", **more: Any) -> System:
    return mm_kptm.build(name, seed=0, **{**SMALL, **more})


@torch.no_grad()
def states(system: System, tokens: Tokens, target: Tokens | None = None) -> Tensor:
    return system(Inputs(text=tokens, target=target))["text" if target is None else "target"]


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("variant", ["languages", "one language", "languages left out", "sinusoids", "relu"])
@torch.no_grad()
def test_xlm_agrees_with_transformers(
    dtype: torch.dtype, atol: float, variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.XLMConfig(
        vocab_size=50,
        emb_dim=24,
        n_layers=3,
        n_heads=3,
        n_langs=1 if variant == "one language" else 4,
        use_lang_emb=variant != "languages left out",
        sinusoidal_embeddings=variant == "sinusoids",
        gelu_activation=variant != "relu",
        max_position_embeddings=32,
        embed_init_std=0.3,  # large weights show what small ones hide
        init_std=0.3,
    )
    theirs = transformers.XLMWithLMHeadModel(config).eval()
    for parameter in theirs.parameters():
        if parameter.dim() == 1:
            parameter.add_(torch.randn_like(parameter) * 0.3)
    save_file({name: p.clone() for name, p in theirs.state_dict().items()}, tmp_path / "model.safetensors")
    config.save_pretrained(tmp_path)
    theirs, ours = theirs.to(dtype), mm_kptm.load("xlm", tmp_path).to(dtype)
    real = torch.tensor([[1] * 9 + [0] * 3, [1] * 12, [1] * 2 + [0] * 10]).bool()
    ids, languages = torch.randint(50, real.shape), torch.randint(4, real.shape)
    positions = torch.randint(32, real.shape)
    given = {"langs": languages} if config.n_langs > 1 and config.use_lang_emb else {}
    if dtype is torch.float64:
        # their softmax goes through float32 whatever the weights are, which costs 4e-7
        monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    expected = theirs(
        input_ids=ids, attention_mask=real.long(), position_ids=positions, output_hidden_states=True, **given
    )
    inputs = Inputs(text=Tokens.padded(ids, real, positions=positions, languages=languages))
    scores = ours.head("masked-tokens")(ours(inputs).text)
    torch.testing.assert_close(scores, expected.logits[real], atol=atol, rtol=atol)
    for stream, hidden in zip(ours.hidden_states(inputs), expected.hidden_states, strict=True):
        torch.testing.assert_close(stream.x, hidden[real], atol=atol, rtol=atol)


@pytest.mark.parametrize("mask", [None, Causal()])
def test_the_company_of_a_text_changes_nothing(mask: Causal | None) -> None:
    system = small().double()
    together = text(attention_mask=mask)
    for sequence, number, expected in zip(
        TEXTS, range(3), together.layout.split(states(system, together)), strict=True
    ):
        alone = Tokens.of([sequence], languages=[[number] * len(sequence)], attention_mask=mask)
        torch.testing.assert_close(states(system, alone), expected, atol=1e-12, rtol=0)


def test_a_causal_row_sees_only_the_past() -> None:
    system, tokens = small().double(), text(attention_mask=Causal())
    ids = tokens.ids.clone()
    ids[4] = 33  # the fifth row of the first text
    moved = (states(system, tokens) - states(system, replace(tokens, ids=ids))).abs().amax(1) > 1e-12
    assert moved.tolist() == [False] * 4 + [True] * 3 + [False] * 8


def test_languages_and_positions_are_read() -> None:
    system, tokens = small(), text()
    assert tokens.languages is not None
    assert not torch.equal(states(system, tokens), states(system, replace(tokens, languages=1 - tokens.languages % 2)))
    again = torch.tensor([0, 1, 2, 3, 0, 1, 2, *tokens.positions[7:].tolist()])
    changed = states(system, tokens) != states(system, replace(tokens, positions=again))
    assert changed.any(1).tolist() == [True] * 7 + [False] * 8


def test_a_sentence_is_the_state_of_its_first_token() -> None:
    system, tokens = small(), text()
    with torch.no_grad():
        pooled = system(Inputs(text=tokens), POOLED_ONLY).pooled
    torch.testing.assert_close(pooled, states(system, tokens)[[0, 7, 12]])


def test_waves_are_stored_and_stay_as_they_are() -> None:
    table = small(positions="sinusoidal").encoder.embed.text.position.weight
    assert not table.requires_grad
    assert torch.equal(table, sinusoids(512, 16))
    angles = 7 / 10000 ** (torch.arange(0, 16, 2) / 16)
    torch.testing.assert_close(table[7], torch.stack([angles.sin(), angles.cos()], 1).flatten())


def test_positions_of_another_kind_are_refused() -> None:
    with pytest.raises(UserError, match=r"^positions are learned or sinusoidal, not 'rotary'$"):
        small(positions="rotary")


def test_parallel_pairs_borrow_rows_of_the_words() -> None:
    system = small(heads=("parallel-pairs",))
    word = system.encoder.embed.text.word.weight.detach()
    assert len(list(system.parameters())) == len(list(small(heads=()).parameters()))
    pooled = torch.randn(4, 16)
    with torch.no_grad():
        torch.testing.assert_close(system.head("parallel-pairs")(pooled), pooled @ word[8] + word[9, 0])


def published(case: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    return load_file(GOLDEN / case / "weights.safetensors"), json.loads((GOLDEN / case / "config.json").read_text())


@pytest.mark.parametrize("kept_as", [dict, Namespace])
def test_the_published_file_tells_all_its_sizes(kept_as: Any, tmp_path: Path) -> None:
    """Weights of a wrapped model, and the trainer's params as dictionary or namespace, with no file beside it."""
    tensors, config = published("mlm-tlm")
    wrapped = {f"module.{name}": tensor for name, tensor in tensors.items()}
    content = {
        "model": wrapped,
        "params": kept_as(**config["params"]),
        "dico_id2word": dict(enumerate("ab")),
        "epoch": 3,
    }
    torch.save(content, tmp_path / "xlm.pth")
    system, expected = mm_kptm.load("xlm", tmp_path / "xlm.pth"), mm_kptm.load("xlm", GOLDEN / "mlm-tlm")
    assert system.sizes == expected.sizes
    torch.testing.assert_close(states(system, text()), states(expected, text()))


def test_both_sides_of_a_published_translation_model_are_found(tmp_path: Path) -> None:
    tensors, config = published("mt-encdec")
    sides: dict[str, dict[str, Tensor]] = {"encoder": {}, "decoder": {}}
    for name, tensor in tensors.items():
        side, _, rest = name.partition(".")
        sides[side][f"module.{rest}"] = tensor
    torch.save({**sides, "params": config["params"]}, tmp_path / "mt.pth")
    system, expected = mm_kptm.load("xlm-mt", tmp_path / "mt.pth"), mm_kptm.load("xlm-mt", GOLDEN / "mt-encdec")
    source, target = (Tokens.of(TEXTS, languages=[[side] * len(s) for s in TEXTS]) for side in (0, 1))
    torch.testing.assert_close(states(system, source, target), states(expected, source, target))


def test_masked_tokens_are_a_start_for_both_sides(tmp_path: Path) -> None:
    tensors, config = published("mlm-tlm")
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnmappedKeys, match=r"nothing fills our parameters: encoder\.target\.layers\.0\.cross_att"):
        mm_kptm.load("xlm-mt", tmp_path)
    system = mm_kptm.load(
        "xlm-mt", tmp_path, fresh=[f"encoder.target.layers.{layer}.cross_attention." for layer in range(3)]
    )
    sides = system.encoder.source.layers, system.encoder.target.layers
    for ours, theirs in zip(*sides, strict=True):
        assert torch.equal(ours.ffn.up_proj.weight, theirs.ffn.up_proj.weight)
    assert torch.equal(system.encoder.source.embed.text.word.weight, system.encoder.target.embed.word.weight)


def test_an_output_layer_that_was_not_tied_is_another_matrix(tmp_path: Path) -> None:
    tensors, config = published("mlm-nolang")
    save_file(tensors | {"pred_layer.proj.weight": tensors["embeddings.weight"] + 1}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    system = mm_kptm.load("xlm", tmp_path)
    word, output = system.encoder.embed.text.word.weight, system.head("masked-tokens").word.weight
    torch.testing.assert_close(output, word + 1)
    mm_kptm.save(system, tmp_path / "saved")
    again = mm_kptm.load(str(tmp_path / "saved"))
    torch.testing.assert_close(again.head("masked-tokens").word.weight, output)


@pytest.mark.parametrize(("name", "millions"), [("xlm-15", 250), ("xlm-17", 570), ("xlm-100", 570)])
def test_parameters_are_as_many_as_published(name: str, millions: int) -> None:
    """Conneau et al. 2020 (XLM-R), table of model sizes, which rounds to tens."""
    with torch.device("meta"):
        system = mm_kptm.build(name)
    assert sum(parameter.numel() for parameter in system.parameters()) / 1e6 == pytest.approx(millions, abs=5)


def test_translation_reads_source_and_target() -> None:
    """A target row sees its past and all of its own source; the source sees no target."""
    system = small("xlm-mt").double()
    source, target = text(), text([[1, 17, 18, 1], [1, 19, 1], [1, 25, 26, 1]])
    before = states(system, source, target)
    ids = source.ids.clone()
    ids[6] = 22  # the last row of the first source
    assert (states(system, replace(source, ids=ids), target) != before).any(1).tolist() == [True] * 4 + [False] * 7
    ids = target.ids.clone()
    ids[5] = 22  # the second row of the second target
    moved = (states(system, source, replace(target, ids=ids)) - before).abs().amax(1) > 1e-12
    assert moved.tolist() == [False] * 5 + [True] * 2 + [False] * 4
    assert torch.equal(states(system, source), states(system, source, None))


def test_wanted_rows_of_a_target_are_those_of_all_rows() -> None:
    system, target = small("xlm-mt"), text([[1, 17, 18, 1], [1, 19, 1], [1, 25, 26, 1]])
    inputs = Inputs(text=text(), target=target)
    with torch.no_grad():
        every = system(inputs)
        for rows in (torch.tensor([9, 2, 2]), slice(3, 6), slice(0, 0)):
            some = system(inputs, OutputRows({"target": rows}, pooled=False))
            torch.testing.assert_close(some["target"], every["target"][rows])
            assert len(some.pooled) == 0
        assert not system(inputs, POOLED_ONLY).states
    *_, last = system.hidden_states(inputs)
    torch.testing.assert_close(last.x, every["target"])


def test_translation_reaches_every_parameter_of_both_sides() -> None:
    system = small("xlm-mt")
    inputs = Inputs(text=text(), target=text([[1, 17, 18, 1], [1, 19, 1], [1, 25, 26, 1]]))
    objective = NextTokens()
    objective.loss(system, objective.prepare(inputs)).backward()
    for name, parameter in system.named_parameters():
        assert parameter.grad is not None and (name.endswith("key.bias") or parameter.grad.any()), name


def test_a_saved_translation_model_answers_alike(tmp_path: Path) -> None:
    system = small("xlm-mt", heads=("next-tokens", "masked-tokens"))
    mm_kptm.save(system, tmp_path)
    back, target = mm_kptm.load(str(tmp_path)), text([[1, 17, 1]] * 3)
    assert torch.equal(states(back, text(), target), states(system, text(), target))


@pytest.mark.parametrize("recipe", ["xlm-mt", "mass", "xnlg"])
def test_the_output_of_a_decoder_may_be_another_table_than_its_words(recipe: str, tmp_path: Path) -> None:
    sizes = {"dim": 8, "num_heads": 2, "num_layers": 1, "vocab_size": 20, "num_languages": 2}
    tied, untied = (
        mm_kptm.build(recipe, heads={"next-tokens": {"tied": kind}}, seed=0, **sizes) for kind in (True, False)
    )
    mm_kptm.save(untied, tmp_path / "saved")
    loaded = mm_kptm.load(str(tmp_path / "saved"))
    word = loaded.encoder.target.embed.word.weight
    head = loaded.head("next-tokens")
    assert torch.equal(head.word.weight, untied.head("next-tokens").word.weight)
    assert head.word.weight is not word and not torch.equal(head.word.weight, word)
    assert tied.head("next-tokens").word.weight is tied.encoder.target.embed.word.weight


def test_a_checkpoint_says_which_outputs_are_untied(tmp_path: Path) -> None:
    draws = torch.Generator().manual_seed(0)
    published = {
        f"{side}.{name}": torch.randn(20, 8, generator=draws)
        for side in ("encoder", "decoder")
        for name in ("embeddings.weight", "pred_layer.proj.weight")
    }
    published["encoder.pred_layer.proj.weight"] = published["encoder.embeddings.weight"].clone()
    state = translated("xlm-mt", _saved(published, tmp_path)).tensors
    assert untied_outputs(state) == {"next-tokens": {"tied": False}}


def _saved(tensors: dict[str, torch.Tensor], folder: Path) -> Path:
    save_file(tensors, folder / "model.safetensors")
    return folder / "model.safetensors"
