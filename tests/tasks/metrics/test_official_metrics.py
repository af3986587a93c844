"""The measures of Open Entity, FIGER, TACRED and FewRel, counted by hand: nothing given, nothing held, ties."""

import json

import pytest
import torch

import mm_kptm
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.custom import OwnTexts
from mm_kptm.datasets.text.mention_datasets import FewRelData, TacredData
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.tasks.knowledge.entity_typing import EntityTyping
from mm_kptm.tasks.knowledge.relation_classification import RelationClassification
from mm_kptm.tasks.metrics.classification import loose, micro

SMALL = {"num_layers": 1, "dim": 8, "num_heads": 2, "ffn_dim": 8, "vocab_size": 20}


def rows(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"answer": answer, "target": target} for answer, target in pairs]


def system():
    return mm_kptm.build("bert-base", heads={}, **SMALL)


@pytest.mark.parametrize(
    ("pairs", "strict", "macro", "micro_"),
    [
        # per mention P 1/1, R 1/2; over all P 1/1, R 1/2
        ([("a", "a|b")], 0.0, (1.0, 0.5), (1.0, 0.5)),
        # the mention without an answer adds nothing to either precision, but counts among the mentions
        ([("a", "a"), ("", "b")], 0.5, (0.5, 0.5), (1.0, 0.5)),
        # a mention without types adds nothing to recall, but counts among the mentions
        ([("a", ""), ("b", "b")], 0.5, (0.5, 0.5), (0.5, 1.0)),
        # both empty are equal sets
        ([("", ""), ("a", "a")], 1.0, (0.5, 0.5), (1.0, 1.0)),
        # nothing given at all: no division by zero, everything zero but strictness
        ([("", "a"), ("", "b|c")], 0.0, (0.0, 0.0), (0.0, 0.0)),
        ([("", ""), ("", "")], 1.0, (0.0, 0.0), (0.0, 0.0)),
        # 2 of 3 and 1 of 1 given are right, of 4 and 2 that hold
        ([("a|b|x", "a|b|c|d"), ("e", "e|f")], 0.0, ((2 / 3 + 1) / 2, (2 / 4 + 1 / 2) / 2), (3 / 4, 3 / 6)),
    ],
)
def test_loose_measures(pairs, strict, macro, micro_):
    found = loose(rows(*pairs))
    assert found["strict-accuracy"] == strict
    assert (found["macro-precision"], found["macro-recall"]) == pytest.approx(macro)
    assert (found["micro-precision"], found["micro-recall"]) == pytest.approx(micro_)
    for kind, (precision, recall) in (("macro", macro), ("micro", micro_)):
        both = precision + recall
        assert found[f"{kind}-f1"] == pytest.approx(2 * precision * recall / both if both else 0.0)


def test_open_entity_gives_what_scores_above_zero_and_figer_the_best_in_any_case():
    logits = torch.tensor([[-1.0, -2.0, -1.0], [0.0, -1.0, -2.0], [1.0, 0.0, 3.0], [-3.0, -1.0, -2.0]])
    above, best_too = (EntityTyping(system(), ("a", "b", "c"), best_too=best).given(logits) for best in (False, True))
    assert above.int().tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 1], [0, 0, 0]]
    assert best_too.int().tolist() == [[1, 0, 1], [1, 0, 0], [1, 0, 1], [0, 1, 0]]  # of a tie both, as released


@pytest.mark.parametrize(
    ("pairs", "precision", "recall"),
    [
        ([("r", "r"), ("s", "s"), ("none", "none")], 1.0, 1.0),
        ([("r", "none"), ("none", "r")], 0.0, 0.0),
        ([("r", "s"), ("r", "r")], 0.5, 0.5),  # the wrong one of two relations is an error on both sides
        ([("none", "r"), ("none", "none")], 1.0, 0.0),  # nothing given: the official scorer's precision is 1
        ([("r", "none"), ("none", "none")], 0.0, 0.0),  # nothing holds
        ([("r", "r"), ("r", "none"), ("s", "none"), ("none", "s")], 1 / 3, 1 / 2),
    ],
)
def test_tacred_leaves_no_relation_out(pairs, precision, recall):
    found = micro(rows(*pairs), no_relation="none")
    assert (found["micro-precision"], found["micro-recall"]) == pytest.approx((precision, recall))
    both = precision + recall
    assert found["micro-f1"] == pytest.approx(2 * precision * recall / both if both else 0.0)


def test_without_such_a_label_micro_f1_is_the_accuracy():
    found = micro(rows(("r", "r"), ("s", "r"), ("s", "s"), ("r", "s"), ("t", "t")), no_relation=None)
    assert set(found.values()) == {3 / 5}


def test_the_name_of_no_relation_is_that_of_the_file():
    for labels, expected in ((("NA", "r"), "NA"), (("no_relation", "r"), "no_relation"), (("q", "r"), None)):
        task = RelationClassification(system(), labels, no_relation=("no_relation", "NA"))
        assert task.no_relation == expected


@pytest.mark.parametrize(("none", "expected"), [("NA", "NA"), ("no_relation", "no_relation")])
def test_both_forms_of_tacred_are_scored_without_no_relation(none, expected, tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "a", "b"]) + "\n")
    ends = [["Q1", 0, 1, 0.9], ["Q2", 2, 3, 0.9]]
    told = [{"text": "a b", "ents": ends, "ann": [], "label": label} for label in (none, "per:age")]
    (tmp_path / "train.json").write_text(json.dumps(told))
    files = {"train": tmp_path / "train.json", "vocabulary": tmp_path / "vocab.txt"}
    encoder = EncoderSettings("bert-base", sizes=SMALL)
    task = "relation-classification"
    assert build(Experiment("x", encoder, TacredData(name="tacred", **files), task)).model.no_relation == expected
    assert build(Experiment("x", encoder, FewRelData(name="fewrel", **files), task)).model.no_relation is None


def test_no_relation_of_ones_own_data_is_told(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "a", "b"]) + "\n")
    lines = [{"text": "a b", "head": [0, 1], "tail": [2, 3], "relation": name} for name in ("r", "nothing")]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = {"train": tmp_path / "own.jsonl", "vocabulary": tmp_path / "vocab.txt"}
    for none in ("nothing", None):
        data = OwnTexts(name="custom-text", no_relation=none, **files)
        built = build(Experiment("x", EncoderSettings("bert-base", sizes=SMALL), data, "relation-classification"))
        assert built.model.no_relation == none
