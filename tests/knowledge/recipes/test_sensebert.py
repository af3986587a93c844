"""SenseBERT: a BERT until its words mean something."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.knowledge.lexicons.supersenses import SUPERSENSES, SenseVocabulary
from mm_kptm.systems.system import System

SIZES = {"dim": 8, "num_heads": 2, "num_layers": 2, "ffn_dim": 12, "vocab_size": 30, "max_positions": 20}
INPUTS = Inputs(text=Tokens.of([[4, 9, 5, 7], [9, 3]]))


def meaning(**words: tuple[int, ...]) -> SenseVocabulary:
    allowed = torch.zeros(30, len(SUPERSENSES), dtype=torch.bool)
    for word, senses in words.items():
        allowed[int(word.removeprefix("w")), list(senses)] = True
    return SenseVocabulary(allowed, torch.zeros(30, dtype=torch.bool))


@pytest.fixture
def system() -> System:
    system = mm_kptm.build("sensebert", seed=0, **SIZES)
    for parameter in system.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(parameter.numel()))
    return system


def test_words_bring_the_sum_of_what_they_may_mean(system: System) -> None:
    """Equation 8: adding the vectors of two senses to that of a word is the same as allowing the word both."""
    before = system(INPUTS).text
    system.encoder.embed.text.allow(meaning(w9=(5, 7)))
    after = system(INPUTS).text
    assert not torch.allclose(before, after)
    text = system.encoder.embed.text
    with torch.no_grad():
        text.word.weight[9] += text.sense.weight[5] + text.sense.weight[7]
        text.allowed.fill_(False)
    torch.testing.assert_close(system(INPUTS).text, after)


def test_without_meaning_it_is_bert(system: System) -> None:
    bert = mm_kptm.build("bert-base", heads=["masked-tokens"], **SIZES)
    ours = dict(system.encoder.named_parameters())
    left = {"embed.text.sense.weight", "embed.text.allowed"}
    assert set(ours) - {name for name, _ in bert.encoder.named_parameters()} == left
    bert.encoder.load_state_dict({name: tensor for name, tensor in ours.items() if name not in left})
    torch.testing.assert_close(system(INPUTS).pooled, bert(INPUTS).pooled)


def test_it_is_23_million_parameters_larger_than_bert() -> None:
    """As the paper says of its doubled vocabulary (section 3.4)."""
    with torch.device("meta"):
        ours, theirs = (mm_kptm.build(name, heads=[]) for name in ("sensebert-base", "bert-base"))
    learned = [sum(part.numel() for part in system.parameters() if part.requires_grad) for system in (ours, theirs)]
    assert round((learned[0] - learned[1]) / 1e6) == 23


def test_meanings_are_saved_and_come_back(system: System, tmp_path: Path) -> None:
    system.encoder.embed.text.allow(meaning(w9=(5, 7), w4=(0,)))
    mm_kptm.save(system, tmp_path)
    back = mm_kptm.load("sensebert", tmp_path)
    assert torch.equal(back.encoder.embed.text.allowed, system.encoder.embed.text.allowed)
    assert torch.equal(back(INPUTS).text, system(INPUTS).text)


def test_senses_are_scored_by_their_own_vectors(system: System) -> None:
    head = system.head("supersenses")
    assert head.word is system.encoder.embed.text.sense
    assert head(torch.zeros(3, 8)).shape == (3, 45)


def test_it_starts_from_a_published_bert(system: System, tmp_path: Path) -> None:
    """As the recipe's note says."""
    names = {
        "embed.text.word.weight": "bert.embeddings.word_embeddings.weight",
        "embed.text.position.weight": "bert.embeddings.position_embeddings.weight",
        "embed.text.segment.weight": "bert.embeddings.token_type_embeddings.weight",
        "embed.text.norm.weight": "bert.embeddings.LayerNorm.gamma",
        "embed.text.norm.bias": "bert.embeddings.LayerNorm.beta",
        "pooler.dense.weight": "bert.pooler.dense.weight",
        "pooler.dense.bias": "bert.pooler.dense.bias",
    }
    parts = {
        "self_attention.attention.query": "attention.self.query",
        "self_attention.attention.key": "attention.self.key",
        "self_attention.attention.value": "attention.self.value",
        "self_attention.attention.out_proj": "attention.output.dense",
        "self_attention.norm": "attention.output.LayerNorm",
        "ffn.up_proj": "intermediate.dense",
        "ffn.down_proj": "output.dense",
        "ffn.norm": "output.LayerNorm",
    }
    for number in range(2):
        for ours, theirs in parts.items():
            for leaf in ("weight", "bias"):
                names[f"layers.{number}.{ours}.{leaf}"] = f"bert.encoder.layer.{number}.{theirs}.{leaf}"
    weights = dict(system.encoder.named_parameters())
    save_file({theirs: weights[ours].detach() for ours, theirs in names.items()}, tmp_path / "bert.safetensors")
    fresh = ["encoder.embed.text.sense.", "encoder.embed.text.allowed", "heads.supersenses."]
    sizes = {size: SIZES[size] for size in ("dim", "num_heads", "num_layers", "ffn_dim")}
    back = mm_kptm.load("sensebert", tmp_path / "bert.safetensors", heads=["supersenses"], fresh=fresh, **sizes)
    torch.testing.assert_close(back(INPUTS).text, system(INPUTS).text)


def test_a_vocabulary_of_another_size_is_refused(system: System) -> None:
    senses = SenseVocabulary(torch.zeros(31, 45, dtype=torch.bool), torch.zeros(31, dtype=torch.bool))
    with pytest.raises(UserError) as raised:
        system.encoder.embed.text.allow(senses)
    assert str(raised.value) == (
        "the senses are those of 31 pieces, but this model has 30; build it with vocab_size=31"
    )
