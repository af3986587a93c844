"""Names spelled out by tags, counted by hand; and a tagger that learns them with facts in between."""

import pytest
import torch

import mm_kptm
from mm_kptm.data.formats.uer_tsv import Tagged
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.text.sources import tagged
from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triples import tail_only
from mm_kptm.knowledge.injection.characters import Characters
from mm_kptm.knowledge.injection.fact_injector import FactInjector
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.random_streams import RandomStream
from mm_kptm.systems.text_format import UER_FORMAT
from mm_kptm.tasks.metrics.tagging import exact, names, untyped
from mm_kptm.tasks.text.tagging import NamedEntities

TAGS = ("O", "B-L", "I-L")
SPELLING = Characters([*BERT_SPECIALS, *"在小猫京东北西我"])
SENTENCES = [
    Tagged("1", tuple("我在北京"), ("O", "O", "B-L", "I-L"), "zh"),
    Tagged("2", tuple("小猫在东京"), ("O", "O", "O", "B-L", "I-L"), "zh"),
    Tagged("3", tuple("小猫"), ("O", "O"), "zh"),
]
TELLER = FactInjector(KnowledgeGraph([("北京", "x", "东西"), ("小猫", "x", "我")]), tail_only, 2, RandomStream(0))


def source(facts="true", max_length=32, sentences=SENTENCES):
    return tagged(
        sentences,
        TAGS,
        TextEncoding(SPELLING, max_length, injector=TELLER, facts=facts, template=UER_FORMAT.word_template),
    )


def tagger(**sizes):
    small = {"dim": 32, "num_heads": 2, "num_layers": 1, "ffn_dim": 64, "dropout": 0.0, "vocab_size": len(SPELLING)}
    heads = NamedEntities.heads(mm_kptm.catalogue()["kbert-base"], len(TAGS))
    return NamedEntities(mm_kptm.build("kbert-base", heads=heads, seed=0, **small | sizes), TAGS, dropout=0.0)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("", []),
        ("O O", []),
        ("B-A I-A", [("A", 0, 2)]),
        ("B-A B-A", [("A", 0, 1), ("A", 1, 2)]),
        ("I-A I-A", [("A", 0, 2)]),  # without a beginning
        ("B-A I-B", [("A", 0, 1), ("B", 1, 2)]),
        ("O B-A M-A E-A S-A O", [("A", 1, 4), ("A", 4, 5)]),
        ("B I O I", [("", 0, 2), ("", 3, 4)]),
    ],
)
def test_names_are_spelled_out_by_their_tags(tags, expected):
    assert names(tags.split()) == expected


def test_a_name_counts_where_place_and_kind_are_right():
    pairs = [(["B-A", "I-A", "O"], ["B-A", "O", "O"]), (["B-A"], ["B-B"]), (["B-C"], ["B-C"])]
    assert exact(pairs) == {"entity-precision": 1 / 3, "entity-recall": 1 / 3, "entity-f1": pytest.approx(1 / 3)}
    none = {"entity-precision": 0.0, "entity-recall": 0.0, "entity-f1": 0.0}
    assert exact([(["O"], ["B-A"])]) == exact([(["B-A"], ["O"])]) == exact([(["O"], ["O"])]) == none


def test_kbert_counts_places_alone_and_names_that_begin_in_facts():
    # predicted: 0-2 (kind is not looked at) and 3-4; gold: 0-2 and 3-5; the one in a fact is one more that is wrong
    pairs = [(["B-A", "I-B", "O", "B-A", "O"], ["B-A", "I-A", "O", "B-A", "I-A"])]
    assert untyped(pairs) == {"kbert-precision": 0.5, "kbert-recall": 0.5, "kbert-f1": 0.5}
    assert untyped(pairs, spurious=2)["kbert-precision"] == 0.25
    assert untyped([(["I-A", "I-A"], ["B-A", "I-A"])])["kbert-f1"] == 0  # no name begins without B or S


def test_a_tagger_learns_words_and_facts_apart():
    task, batch = tagger().train(), source().batch(range(3), seeded(0))
    optimizer = torch.optim.AdamW(task.parameters(), lr=5e-3)
    before = task.loss(batch).item()
    for _ in range(80):
        optimizer.zero_grad()
        task.loss(batch).backward()
        optimizer.step()
    assert task.loss(batch).item() < 0.05 * before
    rows = task.eval().predict(batch)
    assert [row["answer"] for row in rows] == ["O O B-L I-L", "O O O B-L I-L", "O O"]
    assert task.measure(batch)["accuracy"].tolist() == [row["correct"] for row in rows] == [1.0] * 3
    summary = task.summary(rows)
    assert summary["entity-f1"] == summary["kbert-f1"] == 1.0
    scores = task(batch.inputs, batch.rows)
    assert set(scores[batch.words < 0].argmax(dim=1).tolist()) == {1}  # facts have a tag of their own


def test_names_that_begin_in_facts_are_counted():
    task, batch = tagger().eval(), source().batch([0], seeded(0))
    with torch.no_grad():
        task.head.of(task.system).weight.zero_()
        task.head.of(task.system).bias.copy_(torch.tensor([0.0, 0.0, 0.0, 9.0, 0.0]))
    (row,) = task.predict(batch)
    assert row["answer"] == "B-L B-L B-L B-L" and row["names_on_facts"] == 2
    assert row["correct"] == 0.25
    assert task.summary([row])["kbert-precision"] == 0  # 6 given, none from 2 to 4


def test_words_that_were_cut_off_or_never_tagged_cost_nothing_and_count_as_missed():
    task = tagger().eval()
    batch = source(max_length=3).batch([0], seeded(0))
    assert batch.rows.tolist() == [0, 1, 2]
    (row,) = task.predict(batch)
    assert row["answer"].split()[3] == "O" and row["correct"] <= 0.75
    assert task.measure(batch)["accuracy"].tolist() == [row["correct"]]
    unknown = [Tagged("4", ("我", "在"), ("B-NEW", "O"), "zh")]
    batch = source(sentences=unknown).batch([0], seeded(0))
    assert batch.truth.tolist() == [-1, 2]
    assert task.loss(batch).isfinite() and task.predict(batch)[0]["target"] == "B-NEW O"
    silent = source("none", sentences=[Tagged("5", ("我",), None, "zh")]).batch([0], seeded(0))
    assert task.loss(silent).item() == 0 and silent.labelled == (False,)
    assert task.predict(silent)[0].keys().isdisjoint({"target", "correct"})


def test_a_row_is_right_where_its_tags_are_gold_whether_or_not_a_word_was_read():
    """Words without room are answered O, and so is what that answer counts."""
    given = [Tagged("1", ("我", "\x7f", "在", "北京"), ("B-L", "O", "O", "O"), "zh")]
    task = tagger().eval()
    with torch.no_grad():  # the same tag everywhere
        task.head.of(task.system).weight.zero_()
        task.head.of(task.system).bias.copy_(torch.tensor([0.0, 0.0, 0.0, 9.0, 0.0]))
    batch = source("none", sentences=given, max_length=3).batch([0], seeded(0))
    (row,) = task.predict(batch)
    gold = str(row["target"]).split()
    answer = str(row["answer"]).split()
    assert row["correct"] == sum(a == b for a, b in zip(answer, gold, strict=True)) / 4
    assert task.measure(batch)["accuracy"].tolist() == [row["correct"]]
    read = set(batch.words.tolist())
    assert read < {0, 1, 2, 3} and all(answer[word] == "O" for word in {0, 1, 2, 3} - read)


def test_a_head_of_another_width_is_refused():
    system = mm_kptm.build(
        "kbert-base", heads={"tagger": {"num_classes": 3}}, dim=8, num_heads=2, num_layers=1, ffn_dim=8, vocab_size=20
    )
    with pytest.raises(UserError, match=r"the head tagger of kbert-base scores 3 tags, but there are 5 to choose from"):
        NamedEntities(system, TAGS)
