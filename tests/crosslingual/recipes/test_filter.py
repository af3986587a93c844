"""FILTER: what reads what, XLM-R as a start, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import mm_kptm
from mm_kptm.batch import POOLED_ONLY, Inputs, OutputRows, Tokens
from mm_kptm.crosslingual.recipes.filter import from_xlm_r
from mm_kptm.errors import UserError
from tests.crosslingual.recipes.test_xlm_r import agree, randomised

transformers = pytest.importorskip("transformers")


SMALL = {"dim": 8, "num_heads": 2, "ffn_dim": 12, "vocab_size": 30, "max_positions": 20}


def built(local: int, fusion: int, domain: int) -> Any:
    depths = {"local_layers": local, "fusion_layers": fusion, "domain_layers": domain}
    system = mm_kptm.build("filter", heads=(), seed=0, **SMALL, **depths)
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.normal_(std=0.5)
    return system


def inputs(last: int = 9) -> Inputs:
    return Inputs(text=Tokens.of([[0, 5, 6, 2], [0, 7, 2]]), target=Tokens.of([[0, 8, 2], [0, 8, 9, last, 2]]))


@torch.no_grad()
def test_texts_meet_in_the_fusion_layers_alone() -> None:
    apart = built(1, 0, 2)
    torch.testing.assert_close(apart(inputs(9)).text, apart(inputs(10)).text)
    together = built(1, 1, 1)
    changed = (together(inputs(9)).text - together(inputs(10)).text).abs().amax(1) > 1e-6
    assert changed.tolist() == [False] * 4 + [True] * 3, "only the text whose translation changed"


@pytest.mark.parametrize("depths", [(1, 1, 2), (2, 1, 0), (0, 1, 1)])
@torch.no_grad()
def test_only_wanted_rows_are_finished_and_they_are_the_same(depths: tuple[int, int, int]) -> None:
    system = built(*depths)
    whole = system(inputs())
    rows, others = torch.tensor([6, 1]), torch.tensor([7, 0, 7])
    some = system(inputs(), OutputRows({"text": rows, "target": others}))
    torch.testing.assert_close(some.text, whole.text[rows])
    torch.testing.assert_close(some["target"], whole["target"][others])
    torch.testing.assert_close(some.pooled, whole.text[[0, 4]])
    torch.testing.assert_close(system(inputs(), POOLED_ONLY).pooled, whole.pooled)
    assert len(system(inputs(), OutputRows({"text": rows}, pooled=False)).pooled) == 0


@torch.no_grad()
def test_xlm_r_is_a_start_and_without_fusion_the_whole_function(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.XLMRobertaConfig(
        vocab_size=30,
        hidden_size=8,
        num_attention_heads=2,
        num_hidden_layers=4,
        intermediate_size=12,
        max_position_embeddings=20,
        type_vocab_size=1,
        initializer_range=0.4,
        layer_norm_eps=1e-5,
    )
    theirs = randomised(transformers.XLMRobertaModel(config, add_pooling_layer=False))
    published = {f"roberta.{name}": tensor for name, tensor in theirs.state_dict().items()}
    for fusion in (0, 2):
        tensors = from_xlm_r(published, local=1, fusion=fusion)
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
        system = mm_kptm.load("filter", tmp_path / "model.safetensors", num_heads=2, ffn_dim=12, dim=8)
        sizes = [len(part) for part in (system.encoder.local, system.encoder.fusion, system.encoder.domain)]
        assert sizes == [1, fusion, 3 - fusion]
        if not fusion:
            agree(system(inputs()).text[:4], theirs(input_ids=torch.tensor([[0, 5, 6, 2]])).last_hidden_state[0], 1e-5)


def test_a_text_without_a_translation_is_refused() -> None:
    with pytest.raises(UserError, match="filter reads a text beside its translation, so the inputs need a target"):
        built(1, 1, 1)(Inputs(text=Tokens.of([[0, 5, 2]])))
    with pytest.raises(UserError, match="an encoder needs at least one layer, but there is none of any kind"):
        built(0, 0, 0)


def test_a_configuration_that_asks_for_more_is_refused(tmp_path: Path) -> None:
    save_file({"filter.embeddings.word_embeddings.weight": torch.zeros(5, 8)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"is_decoder": True}))
    with pytest.raises(UserError, match="is_decoder=True, but filter is built with is_decoder=False only"):
        mm_kptm.load("filter", tmp_path)


def test_fusion_layers_are_cut_to_what_the_total_leaves() -> None:
    sizes = mm_kptm.catalogue()["filter"].configured_sizes({"filter_m": 20, "filter_k": 10})
    assert sizes == {"local_layers": 20, "fusion_layers": 4, "domain_layers": 0}
