from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import POOLED_ONLY, Inputs, Regions, Tokens
from mm_kptm.knowledge.injection.sentence_tree import TreeBuilder, Trees
from mm_kptm.nn.visibility import Branches
from mm_kptm.systems.keymap import UnmappedKeys
from mm_kptm.systems.system import System

SMALL: dict[str, Any] = {"dim": 16, "num_heads": 2, "num_layers": 2, "ffn_dim": 24, "vocab_size": 128}
FACTS = {"cat": ["isanimal", "eatsfish"], "rome": ["isacity"]}
WORDS = [["the", "cat", "sees", "rome"], ["a", "fish"], ["rome", "and", "cat"]]
WEIGHTS = Path(__file__).parents[2] / "golden/data/kbert/model_zh_en"


def letters(word: str) -> list[int]:
    return [ord(letter) for letter in word]


def build_trees(facts: dict[str, list[str]] = FACTS, words: list[list[str]] = WORDS) -> Trees:
    return TreeBuilder(letters, lambda word: facts.get(word, ()))(words)


def small(name: str = "kbert", **sizes: Any) -> System:
    return mm_kptm.build(name, heads=(), seed=0, **{**SMALL, **sizes})


@torch.no_grad()
def states(system: System, tokens: Tokens) -> Tensor:
    return system(Inputs(text=tokens)).text


def test_without_facts_it_reads_plain_text() -> None:
    plain = Tokens.of([[letter for word in words for letter in letters(word)] for words in WORDS])
    torch.testing.assert_close(states(small(), build_trees({}).tokens()), states(small(), plain))


def test_sentences_do_not_touch_each_other() -> None:
    system, together = small(), build_trees()
    whole = together.layout.split(states(system, together.tokens()))
    for words, expected in zip(WORDS, whole, strict=True):
        torch.testing.assert_close(states(system, build_trees(words=[words]).tokens()), expected)


def test_where_facts_stand_in_the_sequence_changes_nothing() -> None:
    """A tree is told by its positions and branches: the facts may as well come after the sentence, in any order."""
    system, tokens = small(), build_trees(words=WORDS[:1]).tokens()
    assert isinstance(tokens.attention_mask, Branches)
    branches, words = tokens.attention_mask.branches, tokens.attention_mask.words
    order = torch.argsort((branches > 0) * (100 - words.long() * 10 + branches), stable=True)
    assert order.tolist() != sorted(order.tolist())
    moved = replace(
        tokens,
        ids=tokens.ids[order],
        positions=tokens.positions[order],
        segments=tokens.segments[order],
        attention_mask=Branches(words[order], branches[order]),
    )
    torch.testing.assert_close(states(system, moved), states(system, tokens)[order])


@pytest.mark.parametrize("name", ["kbert", "bert"])
@pytest.mark.parametrize(("num_layers", "reached"), [(1, {"rome"}), (2, {"the", "cat", "sees", "rome", "and"})])
def test_one_layer_carries_a_fact_to_its_word_and_no_further(name: str, num_layers: int, reached: set[str]) -> None:
    told, retold = build_trees(), build_trees({**FACTS, "rome": ["nogames"]})
    system = small(name, num_layers=num_layers).double()
    moved = (states(system, told.tokens()) - states(system, retold.tokens())).abs().amax(1) > 1e-12
    owners = told.layout.sequence_ids(moved.device)
    for words, sentence in zip(WORDS, range(3), strict=True):
        for number, word in enumerate(words):
            rows = moved[(owners == sentence) & (told.words == number) & (told.branches == 0)]
            assert rows.tolist() == [word in reached] * len(word), word


def test_facts_hang_from_the_words_of_a_question_about_an_image() -> None:
    """The tree joins with regions: a region is read by the sentence, and by no fact."""
    system = mm_kptm.build("uniter", heads=(), seed=0, **{**SMALL, "num_layers": 1}, region_dim=4)
    trees = build_trees()

    def read(features: Tensor) -> Tensor:
        regions = Regions.padded(features, torch.tensor([0.0, 0.0, 0.5, 0.5]).expand(3, 2, 4), torch.ones(3, 2))
        with torch.no_grad():
            return system(Inputs(text=trees.tokens(), regions=regions)).text

    moved = (read(torch.ones(3, 2, 4)) - read(torch.randn(3, 2, 4))).abs().amax(1) > 1e-6
    assert moved.tolist() == (trees.branches == 0).tolist()


def test_the_checkpoint_tells_its_vocabulary() -> None:
    system = mm_kptm.load("kbert", WEIGHTS)
    table = load_file(WEIGHTS / "weights.safetensors")["embedding.word_embedding.weight"]
    assert system.sizes["vocab_size"] == len(table)
    assert list(system.heads) == ["masked-tokens", "next-sentence"]


def test_a_fine_tuned_classifier_is_loaded_without_the_pretraining_heads(tmp_path: Path) -> None:
    weights = load_file(WEIGHTS / "weights.safetensors") | load_file(WEIGHTS / "weights_classifier_head.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("target.")}
    save_file(kept, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((WEIGHTS / "config.json").read_text())
    system = mm_kptm.load("kbert", tmp_path, heads={"classifier": {"num_classes": 3}})
    with torch.no_grad():
        encoded = system(Inputs(text=Tokens.of([[1, 2, 3]])), POOLED_ONLY)
        assert system.head("classifier")(encoded.pooled).shape == (1, 3)
    save_file(kept | {"stranger": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UnmappedKeys, match="no rule for published keys: stranger"):
        mm_kptm.load("kbert", tmp_path, heads={"classifier": {"num_classes": 3}})


def test_a_saved_system_answers_alike(tmp_path: Path) -> None:
    system = small()
    mm_kptm.save(system, tmp_path)
    assert torch.equal(
        states(mm_kptm.load(str(tmp_path)), build_trees().tokens()), states(system, build_trees().tokens())
    )
