"""Word senses: which synsets a text may mean."""

import json
from pathlib import Path

import pytest

from mm_kptm.errors import UserError
from mm_kptm.knowledge.linking.candidates import CandidateSpan
from mm_kptm.knowledge.linking.word_senses import Lemma, SenseFinder, SenseList

BANK = [Lemma("bank.n.01", "bank%1:17:01::", "n", 20), Lemma("bank.v.01", "bank%2:40:00::", "v", 5)]


def senses(folder: Path) -> SenseList:
    rows = [{"type": "synset", "id": "bank.n.01", "pos": "n"}]
    rows += [dict(zip(("synset", "id", "pos", "count"), lemma, strict=True)) | {"type": "lemma"} for lemma in BANK]
    rows.append({"type": "lemma", "id": "ice-cream%1:13:00::", "synset": "ice_cream.n.01", "pos": "n", "count": 0})
    file = folder / "entities.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return SenseList.open(file)


def test_senses_are_found_with_smoothed_priors(tmp_path: Path) -> None:
    find = SenseFinder(senses(tmp_path))
    assert find(["The", "Bank"]) == [CandidateSpan(1, 1, ("bank.n.01", "bank.v.01"), (21 / 27, 6 / 27))]


def test_hyphens_are_no_words_of_a_lemma(tmp_path: Path) -> None:
    find = SenseFinder(senses(tmp_path))
    assert [(span.first, span.last) for span in find(["ice", "-", "cream"])] == [(0, 2)]
    assert [(span.first, span.last) for span in find(["-", "ice", "cream", "-"])] == [(1, 2)]


def test_lemmas_come_from_whoever_knows_them(tmp_path: Path) -> None:
    """With the surface beside them where it differs: the senses of both are counted together."""
    known = senses(tmp_path)
    assert SenseFinder(known)(["banks"]) == []
    lemmas = {"banks": "bank", "bank": "ice cream"}
    find = SenseFinder(known, lambda words: [lemmas[word] for word in words], surface=True)
    assert find(["banks"])[0].entities == ("bank.n.01", "bank.v.01")
    assert find(["bank"])[0].entities == ("ice_cream.n.01", "bank.n.01", "bank.v.01")


def test_the_rarest_senses_are_left_out(tmp_path: Path) -> None:
    assert SenseFinder(senses(tmp_path), most=1)(["bank"])[0] == CandidateSpan(0, 0, ("bank.n.01",), (1.0,))


def test_a_line_that_is_no_lemma_is_told(tmp_path: Path) -> None:
    file = tmp_path / "entities.jsonl"
    file.write_text('{"type": "synset"}\n{"type": "lemma", "id": "a%1"}\n')
    with pytest.raises(UserError, match=r"entities.jsonl, line 2 has no 'synset'; it has type, id"):
        SenseList.open(file)
    with pytest.raises(UserError, match=r"lemmas were looked for in .*, but there is no such file"):
        SenseList.open(tmp_path / "nothing.jsonl")
