"""Texts are labelled as published: framed, marked, scored and measured."""

import json
from pathlib import Path

import pytest
import torch

import mm_kptm
from mm_kptm.data.formats.mentions import (
    MentionSpan,
    RelatedMentions,
    TypedMention,
    read_fewrel,
    read_open_entity,
    read_tacred,
)
from mm_kptm.data.formats.xnli import SentencePair
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.datasets.text import sources as text_sources
from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.entity_table import EntityTable
from mm_kptm.knowledge.graph.openke import read_entity_ids
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets import other_sources as texts
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.generator import statements
from mm_kptm.suites.number_world.generator.splits import part
from mm_kptm.tasks.knowledge.entity_typing import EntityTyping
from mm_kptm.tasks.knowledge.relation_classification import RelationClassification
from mm_kptm.tasks.metrics.classification import loose, micro
from mm_kptm.tasks.text.entailment import Entailment

RELEASED = Path(__file__).parents[1] / "golden" / "data" / "ernie_thu" / "data"
TOKENIZER = WordPiece((*BERT_SPECIALS, *"a b c d e f 。 # $".split()), lowercase=True)  # noqa: SIM905


def spelt(tokenizer, ids):
    return [tokenizer.vocabulary[id_] for id_ in ids.tolist()]


def shown(source, tokenizer=TOKENIZER):
    return spelt(tokenizer, source.batch([0], seeded(0)).inputs.text.ids)


def row(answer, target):
    return {"answer": answer, "target": target}


def system(recipe="bert-base", **heads):
    sizes = {"dim": 16, "num_heads": 2, "num_layers": 1, "ffn_dim": 16, "vocab_size": 20}
    return mm_kptm.build(recipe, heads=heads, **sizes)


def test_a_pair_stands_in_a_row_and_the_longer_part_gives_way():
    pair = SentencePair("1", "a b c d", "e f", "neutral", "fr", "pair-1")
    source = text_sources.pairs([pair], ("entailment", "neutral"), TextEncoding(TOKENIZER, 8, ("en", "fr")))
    batch = source.batch([0], seeded(0))
    assert shown(source) == ["[CLS]", "a", "b", "c", "[SEP]", "e", "f", "[SEP]"]
    assert batch.inputs.text.segments.tolist() == [0] * 5 + [1] * 3
    assert batch.inputs.text.languages.tolist() == [1] * 8
    assert batch.truth.tolist() == [[0, 1]]


def test_mentions_are_marked_as_ernie_has_it():
    typed = TypedMention("1", "a b c", MentionSpan(2, 3), ("x",))
    source = text_sources.typed([typed], ("x", "y"), TextEncoding(TOKENIZER, 20))
    assert shown(source)[1:-1] == ["a", "。", "b", "。", "c"]
    for links in ((), (MentionSpan(0, 1, "Q1", 0.9),)):
        related = RelatedMentions("1", "a b c", MentionSpan(4, 5), MentionSpan(0, 1), "r", links)
        source = text_sources.related([related], ("r", "s"), TextEncoding(TOKENIZER, 20))
        assert shown(source)[1:-1] == ["$", "a", "$", "b", "#", "c", "#"]


def test_number_world_marks_with_signs_that_no_statement_holds(worlds):
    side, tokenizer = part("iid", "train"), number_world.tokenizer()
    for one in statements.related(side, 200, RandomStream(0), worlds):
        assert not {texts.HEAD, texts.TAIL} & set(one.sentence.words)
    (typed,) = statements.typing(side, 1, RandomStream(0), worlds)
    words = shown(texts.typing([typed]), tokenizer)
    first = words.index(texts.HEAD)
    assert words[first + 1] == typed.sentence.words[typed.mention] and words[first + 2] == texts.HEAD
    pair = statements.entailment(part("lang-pairs", "test"), 1, RandomStream(0))[0]
    batch = texts.entailment([pair]).batch([0], seeded(0))
    assert len(set(batch.inputs.text.languages.tolist())) == 2


@pytest.mark.parametrize(
    ("task", "read", "make"),
    [
        ("typing", read_open_entity, text_sources.typed),
        ("tacred", read_tacred, text_sources.related),
        ("fewrel", read_fewrel, text_sources.related),
    ],
)
def test_released_files_become_the_released_features(task, read, make):
    """Tokens, entities and labels that the official code made of the same files."""
    told = json.loads((RELEASED / "features.json").read_text())[task]
    numbers = read_entity_ids(RELEASED / "entity2id.txt")
    tokenizer = WordPiece.open(RELEASED / "vocab.txt", lowercase=True, ideographs=False)
    table = EntityTable(numbers, torch.zeros(1 + max(numbers.values()), 4))
    reading = TextEncoding(tokenizer, told["max_seq_length"], table=table, threshold=told.get("threshold", 0.0))
    source = make(read(RELEASED / f"raw_{task}.json"), told["label_list"], reading)
    assert len(source) == len(told["features"])
    for place, features in enumerate(told["features"]):
        batch = source.batch([place], seeded(0))
        count = sum(features["input_mask"])
        assert batch.inputs.text.ids.tolist() == features["input_ids"][:count]
        assert batch.inputs.entities.ids.tolist() == features["input_ent"][:count]
        labels = features.get("labels") or [int(n == features["label_id"]) for n in range(len(source.labels))]
        assert batch.truth.tolist() == [labels]


def test_types_are_measured_by_the_three_official_measures():
    rows = [row("city|place", "city"), row("", "person"), row("a|b|c", "a|b|c|d")]
    measured = loose(rows)
    assert measured["strict-accuracy"] == 0
    assert measured["macro-precision"] == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert measured["macro-recall"] == pytest.approx((1 + 0 + 3 / 4) / 3)
    assert measured["micro-precision"] == pytest.approx(4 / 5) and measured["micro-recall"] == pytest.approx(4 / 6)
    p, r = measured["macro-precision"], measured["macro-recall"]
    assert measured["macro-f1"] == pytest.approx(2 * p * r / (p + r))


def test_no_relation_counts_neither_as_found_nor_as_missed():
    rows = [row("r", "r"), row("r", "none"), row("none", "s"), row("none", "none"), row("s", "r")]
    measured = micro(rows, no_relation="none")
    assert (measured["micro-precision"], measured["micro-recall"]) == (1 / 3, 1 / 3)
    assert micro(rows, no_relation=None)["micro-f1"] == pytest.approx(2 / 5)
    nothing = micro([row("none", "none")], no_relation="none")
    assert nothing == {"micro-precision": 1.0, "micro-recall": 0.0, "micro-f1": 0.0}


def test_figer_gives_the_best_type_where_none_scores_above_zero():
    logits = torch.tensor([[-1.0, -0.5], [1.0, 2.0], [-1.0, 2.0]])
    given = [EntityTyping(system(), ("a", "b"), best_too=best).given(logits).tolist() for best in (False, True)]
    assert given[0] == [[False, False], [True, True], [False, True]]
    assert given[1] == [[False, True], [True, True], [False, True]]


def test_the_head_of_the_recipe_answers_and_another_width_is_refused():
    ernie = system("ernie-thu-base", relation={"num_classes": 3})
    assert RelationClassification(ernie, ("a", "b", "c")).head.fresh is None
    assert Entailment(ernie, ("a", "b", "c")).head.fresh is not None
    message = "the head relation of ernie-thu-base scores 3 labels, but there are 2 to choose from; build it"
    with pytest.raises(UserError, match=message):
        RelationClassification(ernie, ("a", "b"))
    assert RelationClassification.heads(mm_kptm.catalogue()["ernie-thu-base"], 5) == {"relation": {"num_classes": 5}}
