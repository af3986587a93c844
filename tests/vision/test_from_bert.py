"""Vision-language systems that start from a checkpoint of BERT, as their published pretraining does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers as hf

import mm_kptm
from mm_kptm.systems.system import System

LAYERS = 12  #: all of BERT, so that nothing of it is left over
VILBERT = [
    "encoder.embed.regions.",
    "encoder.steps.regions-",
    "encoder.steps.cross-",
    "encoder.pooler.",
    "heads.image",
    "heads.masked-regions.",
]
WORDS = "bert.embeddings.word_embeddings.weight"
QUERY = "bert.encoder.layer.{}.attention.self.query.weight"
UP = "bert.encoder.layer.{}.intermediate.dense.weight"


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 10, "max_position_embeddings": 12}
    model = hf.BertForPreTraining(hf.BertConfig(vocab_size=15, num_hidden_layers=LAYERS, **sizes))
    model.save_pretrained(folder)
    return folder, model.state_dict()


def part(system: System, name: str) -> torch.Tensor:
    return dict(system.named_parameters(remove_duplicate=False))[name]


@pytest.mark.parametrize(
    ("name", "fresh", "query", "up"),
    [
        ("vlp", ["encoder.embed.regions."], "encoder.layers.{}.self_attention.attention", "encoder.layers.{}.ffn"),
        (
            "vl-bert",
            ["encoder.embed.", "heads.masked-region-classes."],
            "encoder.layers.{}.self_attention.attention",
            "encoder.layers.{}.ffn",
        ),
        ("vilbert", VILBERT, "encoder.steps.text-{}.left.self_attention.attention", "encoder.steps.text-{}.left.ffn"),
    ],
)
def test_text_and_layers_are_those_of_bert(
    name: str, fresh: list[str], query: str, up: str, bert: tuple[Path, dict[str, torch.Tensor]]
) -> None:
    folder, weights = bert
    heads = list(mm_kptm.catalogue()[f"{name}-base"].default_heads)
    system = mm_kptm.load(name, folder, heads=heads, fresh=fresh, region_dim=6)
    assert torch.equal(part(system, "encoder.embed.text.word.weight"), weights[WORDS])
    for layer in (0, LAYERS - 1):
        assert torch.equal(part(system, f"{query.format(layer)}.query.weight"), weights[QUERY.format(layer)])
        assert torch.equal(part(system, f"{up.format(layer)}.up_proj.weight"), weights[UP.format(layer)])
    word = part(system, "heads.masked-tokens.transform.dense.weight")
    assert torch.equal(word, weights["cls.predictions.transform.dense.weight"])


@pytest.mark.parametrize(
    ("name", "attention", "feed"),
    [
        # bert_layer2attn_sublayer and bert_layer2ff_sublayer of the published configurations
        ("volta-vilbert", {0: 0, 5: 10, 6: 14, 11: 34}, {0: 1, 5: 11, 6: 15, 11: 35}),
        ("volta-lxmert", {0: 0, 8: 16, 9: 19, 11: 25}, {0: 1, 8: 17, 9: 20, 11: 26}),
        ("volta-uniter", {0: 0, 11: 22}, {0: 1, 11: 23}),
        ("volta-vl-bert", {0: 0, 11: 22}, {0: 1, 11: 23}),
    ],
)
def test_layers_become_the_sublayers_in_which_the_text_reads_itself(
    name: str, attention: dict[int, int], feed: dict[int, int], bert: tuple[Path, dict[str, torch.Tensor]]
) -> None:
    folder, weights = bert
    system = mm_kptm.load(
        name, folder, heads=["masked-tokens"], fresh=["encoder."], region_dim=6, box_frequencies=2, num_slots=4
    )
    for layer, number in attention.items():
        found = part(system, f"encoder.steps.{number}.left.attention.query.weight")
        assert torch.equal(found, weights[QUERY.format(layer)])
    for layer, number in feed.items():
        assert torch.equal(part(system, f"encoder.steps.{number}.left.up_proj.weight"), weights[UP.format(layer)])
    assert torch.equal(part(system, "encoder.embed.text.word.weight"), weights[WORDS])


def test_vlp_makes_six_segments_of_two(bert: tuple[Path, dict[str, torch.Tensor]]) -> None:
    """Rows 2, 3 and 4 are copies of row 0, and row 5 of row 1 (Zhou et al. 2020, released code)."""
    folder, weights = bert
    system = mm_kptm.load("vlp", folder, heads=["masked-tokens"], fresh=["encoder.embed.regions."], region_dim=6)
    table = weights["bert.embeddings.token_type_embeddings.weight"]
    assert torch.equal(part(system, "encoder.embed.text.segment.weight"), table[[0, 1, 0, 0, 0, 1]])


def test_vl_berts_regions_have_a_third_segment(bert: tuple[Path, dict[str, torch.Tensor]]) -> None:
    folder, weights = bert
    system = mm_kptm.load("vl-bert", folder, heads=["masked-tokens"], fresh=["encoder.embed."], region_dim=6)
    found = part(system, "encoder.embed.text.segment.weight")
    assert torch.equal(found[:2], weights["bert.embeddings.token_type_embeddings.weight"])
    assert not found[2].any()
