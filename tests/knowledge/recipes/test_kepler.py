"""KEPLER's published files."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import POOLED_ONLY, Inputs, Tokens
from mm_kptm.knowledge.objectives.mention_classification import Marked, MarkedRelation, MarkedTyping, marked_scores
from mm_kptm.systems.keymap import UnmappedKeys
from mm_kptm.systems.system import System

WEIGHTS = Path(__file__).parents[2] / "golden/data/kepler/pretrain_tiny"
SIZES: dict[str, Any] = {"dim": 32, "num_heads": 4, "num_layers": 3, "ffn_dim": 48}
PRETRAINED: dict[str, dict[str, int]] = {"masked-tokens": {}, "knowledge-embedding": {"num_relations": 7}}


def published() -> dict[str, Tensor]:
    return load_file(WEIGHTS / "weights.safetensors")


def pretrained() -> dict[str, Tensor]:
    return {name: tensor for name, tensor in published().items() if not name.startswith("classification_heads")}


def same(one: System, other: System) -> bool:
    theirs = dict(other.named_parameters())
    return all(torch.equal(parameter, theirs[name]) for name, parameter in one.named_parameters())


def test_the_trainers_own_file_is_read_without_running_code(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint_best.pt"
    args = Namespace(
        arch="roberta_base",
        lr=[1e-4],
        encoder_layers=3,
        encoder_embed_dim=32,
        encoder_ffn_embed_dim=48,
        encoder_attention_heads=4,
    )
    torch.save({"model": pretrained(), "args": args}, file)
    first = mm_kptm.load("kepler", file, heads=PRETRAINED)
    assert same(first, mm_kptm.load("kepler", WEIGHTS, heads=PRETRAINED))
    assert first.head("knowledge-embedding").margin.tolist() == published()["ke_heads.wikiData.gamma"].tolist()


def test_a_second_graph_stays_behind(tmp_path: Path) -> None:
    second = {
        "ke_heads.wordnet.gamma": torch.ones(1),
        "ke_heads.wordnet.emb_range": torch.ones(1),
        "ke_heads.wordnet.relation_emb.weight": torch.ones(20, 32),
    }
    save_file(pretrained() | second, tmp_path / "model.safetensors")
    both = mm_kptm.load("kepler", tmp_path / "model.safetensors", heads=PRETRAINED, **SIZES)
    assert same(both, mm_kptm.load("kepler", WEIGHTS, heads=PRETRAINED))


def test_the_encoder_alone_is_enough_for_vectors_of_entities(tmp_path: Path) -> None:
    encoder = {name: tensor for name, tensor in pretrained().items() if "sentence_encoder" in name}
    save_file(encoder, tmp_path / "model.safetensors")
    system = mm_kptm.load("kepler", tmp_path / "model.safetensors", **SIZES)
    assert not len(system.heads)
    with torch.no_grad():
        assert system(Inputs(text=Tokens.of([[0, 5, 2], [0, 2]])), POOLED_ONLY).pooled.shape == (2, 32)


def test_relations_of_another_number_are_refused() -> None:
    with pytest.raises(
        UnmappedKeys, match=r"heads.knowledge-embedding.relation.weight \[7, 32\] instead of \[822, 32\]"
    ):
        mm_kptm.load("kepler", WEIGHTS, heads=("masked-tokens", "knowledge-embedding"))


def test_a_saved_system_answers_alike(tmp_path: Path) -> None:
    system = mm_kptm.load("kepler", WEIGHTS, heads=PRETRAINED)
    mm_kptm.save(system, tmp_path)
    assert same(system, mm_kptm.load(str(tmp_path)))


def test_marks_are_read_by_the_heads_of_fine_tuning() -> None:
    heads = {"marked-relation": {"num_classes": 5}, "marked-typing": {"num_classes": 6}}
    system = mm_kptm.build("kepler", heads=heads, seed=0, vocab_size=30, **{**SIZES, "num_layers": 1})
    inputs = Inputs(text=Tokens.of([[0, 5, 6, 7, 2], [0, 9, 8, 2]]))
    related = Marked(inputs, torch.tensor([[3, 1], [7, 6]]), torch.tensor([4, 0]))
    typed = Marked(inputs, torch.tensor([[3], [7]]), torch.eye(6)[:2])
    with torch.no_grad():
        states = system(inputs).text
        expected = system.head("marked-relation")(torch.cat([states[[3, 7]], states[[1, 6]]], dim=1))
        torch.testing.assert_close(marked_scores(system, "marked-relation", related), expected)
        assert MarkedRelation().measure(system, related).shape == (2,)
        torch.testing.assert_close(MarkedTyping().measure(system, typed).mean(), MarkedTyping().loss(system, typed))
