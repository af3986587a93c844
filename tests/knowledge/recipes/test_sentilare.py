"""SentiLARE: a RoBERTa with more to add at every token, and its files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.knowledge.lexicons.sentiwordnet import UNKNOWN, SentimentText, SentimentWord, felt_tokens
from mm_kptm.systems.assembly import parameters
from mm_kptm.systems.system import System

SIZES: dict[str, Any] = {
    "dim": 8,
    "num_heads": 2,
    "num_layers": 2,
    "ffn_dim": 12,
    "vocab_size": 30,
    "max_positions": 20,
}
SPECIALS = Specials(pad=1, unknown=3, start=0, stop=2, mask=4, between=2)  #: of RoBERTa
TEXTS = [
    SentimentText((SentimentWord((5, 6), 1, 1), SentimentWord((7,), 3, 2)), 4),
    SentimentText((SentimentWord((8,), 0, 0),), 1),
]


@pytest.fixture(scope="module")
def system() -> System:
    heads: dict[str, Any] = {name: {} for name in mm_kptm.catalogue()["sentilare-base"].pretraining_heads}
    heads["classifier"] = {"num_classes": 3}
    system = mm_kptm.build("sentilare", seed=0, heads=heads, **SIZES)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.3)
    return system


@torch.no_grad()
def test_a_token_adds_what_is_known_of_it(system: System) -> None:
    tokens = felt_tokens(TEXTS, SPECIALS)
    embed: Any = system.encoder.embed.text
    assert tokens.token_labels is not None
    expected = embed.word(tokens.ids) + embed.position(tokens.positions + 2) + embed.segment.weight
    for name, mark in tokens.token_labels.items():
        expected = expected + embed.marks[name](mark)
    torch.testing.assert_close(embed(tokens), embed.norm(expected))


@torch.no_grad()
def test_tokens_of_which_nothing_is_known_have_the_rows_of_the_unknown(system: System) -> None:
    plain = Tokens.of([[0, 5, 2]])
    unknown = replace(plain, token_labels={name: torch.full((3,), last) for name, last in UNKNOWN.items()})
    assert torch.equal(system(Inputs(text=plain)).text, system(Inputs(text=unknown)).text)
    part = replace(plain, token_labels={"part": torch.tensor([4, 1, 4])})
    assert not torch.allclose(system(Inputs(text=part)).text, system(Inputs(text=plain)).text)


@torch.no_grad()
def test_without_its_tables_it_is_roberta(system: System) -> None:
    roberta = mm_kptm.build("roberta-base", heads=[], num_segments=1, **SIZES)
    weights = {name: weight.detach().clone() for name, weight in system.encoder.named_parameters()}
    for name, last in UNKNOWN.items():
        weights["embed.text.position.weight"] += weights.pop(f"embed.text.marks.{name}.weight")[last]
    roberta.encoder.load_state_dict(weights)
    plain = Inputs(text=Tokens.of([[0, 5, 9, 2], [0, 2]]))
    torch.testing.assert_close(system(plain).text, roberta(plain).text)


@torch.no_grad()
def test_a_text_beside_another_changes_nothing(system: System) -> None:
    alone, beside = (system(Inputs(text=felt_tokens(texts, SPECIALS))).text[:5] for texts in (TEXTS[:1], TEXTS))
    torch.testing.assert_close(alone, beside)


def test_heads_are_tied_to_what_is_added(system: System) -> None:
    marks: Any = system.encoder.embed.text.marks
    for head, name, count in (("part-of-speech", "part", 5), ("word-polarity", "polarity", 3), ("grade", "grade", 6)):
        assert system.head(head).word is marks[name]
        assert system.head(head)(torch.zeros(2, 8)).shape == (2, count)


def in_the_released_files(system: System) -> dict[str, Tensor]:
    """The parameters as the released code names them, spelled out by hand."""
    tables = {
        "encoder.embed.text.word": "roberta.embeddings.word_embeddings",
        "encoder.embed.text.position": "roberta.embeddings.position_embeddings",
        "encoder.embed.text.segment": "roberta.embeddings.token_type_embeddings",
        "encoder.embed.text.norm": "roberta.embeddings.LayerNorm",
        "encoder.embed.text.marks.part": "roberta.embeddings.pos_tag_embeddings",
        "encoder.embed.text.marks.polarity": "roberta.embeddings.senti_embeddings",
        "encoder.embed.text.marks.grade": "roberta.embeddings.polarity_embeddings",
        "heads.classifier.pool.dense": "classifier.dense",
        "heads.classifier.out": "classifier.out_proj",
    }
    for ours, theirs in (
        ("masked-tokens", "lm"),
        ("part-of-speech", "pos"),
        ("word-polarity", "senti"),
        ("grade", "pola"),
    ):
        tables[f"heads.{ours}"] = f"{theirs}_head"
        tables[f"heads.{ours}.transform.dense"] = f"{theirs}_head.dense"
        tables[f"heads.{ours}.transform.norm"] = f"{theirs}_head.layer_norm"
    sublayers = {
        "self_attention.attention.out_proj": "attention.output.dense",
        "self_attention.norm": "attention.output.LayerNorm",
        "ffn.up_proj": "intermediate.dense",
        "ffn.down_proj": "output.dense",
        "ffn.norm": "output.LayerNorm",
        **{f"self_attention.attention.{role}": f"attention.self.{role}" for role in ("query", "key", "value")},
    }
    for number in range(2):
        for part, name in sublayers.items():
            tables[f"encoder.layers.{number}.{part}"] = f"roberta.encoder.layer.{number}.{name}"
    found = {}
    for name, tensor in parameters(system).items():
        part, _, leaf = name.rpartition(".")
        found[f"{tables[part]}.{leaf}"] = tensor.contiguous()
    for head, table in (("lm", "word"), ("pos", "pos_tag"), ("senti", "senti"), ("pola", "polarity")):
        found[f"{head}_head.decoder.weight"] = found[f"roberta.embeddings.{table}_embeddings.weight"].clone()
    found["roberta.pooler.dense.weight"] = torch.zeros(8, 8)
    return found


def test_released_files_load(system: System, tmp_path: Path) -> None:
    save_file(in_the_released_files(system), tmp_path / "model.safetensors")
    sizes = {size: SIZES[size] for size in ("dim", "num_heads", "num_layers", "ffn_dim")}
    heads = {name: dict(sizes_) for name, sizes_ in system.head_sizes.items()}
    back = mm_kptm.load("sentilare", tmp_path / "model.safetensors", heads=heads, **sizes)
    theirs = parameters(back)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in parameters(system).items())
    text = Inputs(text=felt_tokens(TEXTS, SPECIALS))
    assert torch.equal(back(text).text, system(text).text)
