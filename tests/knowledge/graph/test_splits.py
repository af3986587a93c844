from pathlib import Path

import pytest
import torch
from pykeen.datasets import Nations

from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph.splits import SplitGraph, drawn, open_splits
from mm_kptm.knowledge.graph.triples import Triple

TRAIN = "rome\tin\titaly\nmilan\tin\titaly\nitaly\tin\teurope\n007\tis\tNA\n"


def named(graph: SplitGraph, part: str) -> set[tuple[str, str, str]]:
    return {
        (graph.entities[head], graph.relations[relation], graph.entities[tail])
        for head, relation, tail in graph.part(part).tolist()
    }


@pytest.mark.parametrize("ending", ["tsv", "txt"])
def test_a_folder_of_parts_is_read_and_what_train_does_not_know_is_dropped(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"train.{ending}").write_text(TRAIN)
    (tmp_path / f"dev.{ending}").write_text("rome\tin\teurope\nparis\tin\teurope\nrome\tnear\tmilan\n")
    graph = open_splits(tmp_path)
    assert graph.entities == ("007", "NA", "europe", "italy", "milan", "rome")
    assert named(graph, "valid") == {("rome", "in", "europe")}
    assert len(graph.train) == 4 and len(graph.test) == 0
    assert graph.dropped == {"valid": 2}


def test_numbers_and_parts_are_those_of_pykeen() -> None:
    theirs, ours = Nations(), open_splits("pykeen:nations")
    assert {name: number for number, name in enumerate(ours.entities)} == theirs.training.entity_to_id
    assert torch.equal(ours.test, theirs.testing.mapped_triples)
    labelled = theirs.training.label_triples(theirs.training.mapped_triples).tolist()
    again = SplitGraph.of(reversed(labelled))
    assert again.entities == ours.entities and again.relations == ours.relations
    assert torch.equal(again.train, ours.train)


def test_parts_of_openke_are_numbers_with_the_relation_last(tmp_path: Path) -> None:
    (tmp_path / "entity2id.txt").write_text("3\nrome\t0\nitaly\t1\neurope\t2\n")
    (tmp_path / "relation2id.txt").write_text("2\npart of\t1\nin\t0\n")
    (tmp_path / "train2id.txt").write_text("2\n0 1 0\n1 2 1\n")
    (tmp_path / "test2id.txt").write_text("1\n0 1 1\n")
    graph = open_splits(tmp_path)
    assert named(graph, "train") == {("rome", "in", "italy"), ("italy", "part of", "europe")}
    assert named(graph, "test") == {("rome", "part of", "italy")}
    (tmp_path / "valid2id.txt").write_text("1\n0 1 7\n")
    with pytest.raises(UserError, match=r"valid2id\.txt, line 2 should be the numbers of head, tail and relation, not"):
        open_splits(tmp_path)


def test_wikidata5m_keeps_its_parts(tmp_path: Path) -> None:
    (tmp_path / "wikidata5m_transductive_train.txt").write_text("Q1\tP1\tQ2\n")
    (tmp_path / "wikidata5m_transductive_test.txt").write_text("Q2\tP1\tQ1\n")
    graph = open_splits(tmp_path)
    assert (len(graph.train), len(graph.valid), len(graph.test)) == (1, 0, 1)


def circle(size: int) -> list[Triple]:
    return [Triple(f"e{i}", f"r{i % 3}", f"e{(i * step + 1) % size}") for step in range(1, 5) for i in range(size)]


def test_drawn_parts_leave_every_entity_and_relation_to_train() -> None:
    triples = circle(30)
    graph = drawn(triples, 0.2, seed=0)
    distinct = len(set(triples))
    parts = [named(graph, part) for part in ("train", "valid", "test")]
    assert graph.dropped == {}
    assert [len(part) for part in parts] == [distinct - 2 * int(0.2 * distinct)] + 2 * [int(0.2 * distinct)]
    assert set.union(*parts) == set(triples)
    assert graph.entities == tuple(sorted({name for head, _, tail in triples for name in (head, tail)}))
    again, other = drawn(reversed(triples), 0.2, seed=0), drawn(triples, 0.2, seed=1)
    assert torch.equal(again.test, graph.test)
    assert not torch.equal(other.test, graph.test)


def test_a_star_gives_nothing_away() -> None:
    graph = drawn([Triple("sun", "has", f"planet {i}") for i in range(8)], 0.25, seed=0)
    assert (len(graph.train), len(graph.valid), len(graph.test)) == (8, 0, 0)


def test_ranks_are_filtered_by_what_comes_before() -> None:
    graph = open_splits("pykeen:nations")
    assert len(graph.known("valid")) == len(graph.train) + len(graph.valid)
    assert len(graph.known("test")) == len(graph.train) + len(graph.valid) + len(graph.test)


def test_what_cannot_be_split_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.tsv").write_text(TRAIN + "rome\tin\n")
    with pytest.raises(UserError, match=r"bad\.tsv, line 5 holds 2 parts between tabs"):
        open_splits(tmp_path / "bad.tsv")
    (tmp_path / "good.tsv").write_text(TRAIN)
    with pytest.raises(UserError, match=r"valid and test can each hold a share of 0 up to 0.5 of the triples, not 0.5"):
        open_splits(tmp_path / "good.tsv", held=0.5)
    (tmp_path / "train.tsv").write_text("\n")
    with pytest.raises(UserError, match="there is no triple to learn from; the part train holds one at least"):
        open_splits(tmp_path)
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(UserError, match=r"empty\.tsv holds no triple; a graph has one at least"):
        open_splits(tmp_path / "empty.tsv")
