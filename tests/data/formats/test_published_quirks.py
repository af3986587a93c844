"""Published files as they are: lines out of order, keys that a line lacks and nothing needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mm_kptm.data.formats.lama import read_lama, read_templates
from mm_kptm.data.formats.squad import read_squad
from mm_kptm.data.formats.xnli import read_xnli
from mm_kptm.data.formats.xtreme import read_paws_x
from mm_kptm.errors import UserError

HEADER = "language\tgold_label\tsentence1\tsentence2\tpairID\n"


def test_translations_are_told_by_their_pair_and_not_by_their_line(tmp_path: Path) -> None:
    lines = ["en\tneutral\tA man.\tx\t11", "en\tneutral\tA dog.\tx\t7", "de\tneutral\tEin Hund.\tx\t7"]
    (tmp_path / "xnli.dev.tsv").write_text(HEADER + "\n".join([*lines, "de\tneutral\tEin Mann.\tx\t11"]) + "\n")
    pairs = read_xnli(tmp_path / "xnli.dev.tsv")
    assert {(pair.premise, pair.group) for pair in pairs} == {
        ("A man.", "pair-11"),
        ("Ein Mann.", "pair-11"),
        ("A dog.", "pair-7"),
        ("Ein Hund.", "pair-7"),
    }
    assert len({pair.id for pair in pairs}) == 4


def test_a_pair_that_a_language_has_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "xnli.dev.tsv").write_text(HEADER + "en\tneutral\ta\tb\t1\n" * 2)
    with pytest.raises(UserError, match=r"dev.tsv, line 3: the pair en-1 is there twice, first at .*dev.tsv, line 2"):
        read_xnli(tmp_path / "xnli.dev.tsv")


def test_without_a_column_of_pairs_the_place_in_the_language_groups(tmp_path: Path) -> None:
    lines = ["en\tneutral\tA man.\tx", "de\tneutral\tEin Mann.\tx", "en\tneutral\tA dog.\tx"]
    (tmp_path / "xnli.dev.tsv").write_text(HEADER.replace("\tpairID", "") + "\n".join(lines) + "\n")
    assert [pair.group for pair in read_xnli(tmp_path / "xnli.dev.tsv")] == ["pair-1", "pair-1", "pair-2"]


def facts(path: Path, *lines: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_fact_with_sentences_of_its_own_needs_no_subject(tmp_path: Path) -> None:
    alone = {"pred": "HasA", "obj_label": "tail", "masked_sentences": ["A dog has a [MASK]."], "uuid": "1"}
    file = facts(tmp_path / "test.jsonl", {"sub": "dog", **alone}, {"sub_label": "cat", **alone}, alone)
    assert [(one.subject, one.text) for one in read_lama(file)] == [
        (subject, "A dog has a [MASK].") for subject in ("dog", "cat", None)
    ]
    templates = facts(tmp_path / "relations.jsonl", {"relation": "HasA", "template": "[X] has a [Y]."})
    with pytest.raises(UserError, match=r"test.jsonl, line 3 has no 'sub_label' for \[X\] of the template of HasA"):
        read_lama(file, read_templates(templates))


def test_cells_in_quotes_and_machine_translations_are_read_as_xtreme_writes_them(tmp_path):
    (tmp_path / "train-en.tsv").write_bytes(b'"He said ""no""."\tb\tneutral\r\n"a" or "b"\tc\tentailment\r\n')
    assert [pair.premise for pair in read_xnli(tmp_path / "train-en.tsv")] == ['He said "no".', '"a" or "b"']
    (tmp_path / "en-de-translated.tsv").write_text("a\tb\tein a\tein b\tcontradictory\n")
    (pair,) = read_xnli(tmp_path / "en-de-translated.tsv")
    assert (pair.premise, pair.hypothesis, pair.label, pair.language) == ("ein a", "ein b", "contradiction", "de")
    (tmp_path / "de-en-translated.tsv").write_text("ein a\tein b\ta\tb\t1\n")
    asked = {"context": "ein a", "qas": [{"id": "1", "question": "b", "answers": []}]}
    for name in ("squad.translate.train.en-de.json", "xquad.translate.test.de-en.json"):
        (tmp_path / name).write_text(json.dumps({"data": [{"paragraphs": [asked]}]}))
        assert next(iter(read_squad(tmp_path / name, language="en"))).language == "de"
    (pair,) = read_paws_x(tmp_path / "de-en-translated.tsv")
    assert (pair.premise, pair.hypothesis, pair.label, pair.language) == ("a", "b", "1", "de")
