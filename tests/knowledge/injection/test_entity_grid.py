from pathlib import Path

import pytest
import torch

from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.entity_table import EntityTable
from mm_kptm.knowledge.graph.openke import read_entity_ids
from mm_kptm.knowledge.injection.entity_grid import Mention, Placed, Placement, first_pieces, whole_words, word_starts

LETTERS = [*"abcdefghijklmnopqrstuvwxyz"]
TOKENIZER = WordPiece([*BERT_SPECIALS, *LETTERS, *(f"##{letter}" for letter in LETTERS), *"(),.'-"], lowercase=True)


def placed(rule: Placement, text: str, *mentions: tuple[str, str]) -> dict[str, list[int]]:
    """Which pieces each entity stands at; a mention is told by its first occurrence."""
    pieces = TOKENIZER.encode(text)
    found = [Mention(name, text.index(part), text.index(part) + len(part)) for name, part in mentions]
    names: Placed = rule(text, pieces, found)
    assert len(names) == len(pieces.ids)
    return {name: [place for place, at in enumerate(names) if at == name] for name in {*names} - {None} if name}


def test_an_entity_stands_at_the_first_piece_of_its_mention() -> None:
    for rule in (first_pieces, word_starts):
        assert placed(rule, "on New York", ("Q60", "New York")) == {"Q60": [2]}


def test_only_the_released_rule_loses_what_begins_inside_a_word() -> None:
    assert placed(word_starts, "a (Rome)", ("Q220", "Rome")) == {}
    assert placed(first_pieces, "a (Rome)", ("Q220", "Rome")) == {"Q220": [2]}
    assert placed(word_starts, "x-y", ("Q1", "y")) == {}
    assert placed(first_pieces, "x-y", ("Q1", "y")) == {"Q1": [2]}


def test_dropped_characters_and_any_blank_move_nothing() -> None:
    text = "a\u200b\u00a0\x07Rome"
    assert placed(word_starts, text, ("Q220", "Rome")) == {"Q220": [1]}
    assert placed(word_starts, text, ("Q220", "\x07Rome")) == {"Q220": [1]}
    assert placed(first_pieces, text, ("Q220", "\x07Rome")) == {"Q220": [1]}


def test_of_mentions_that_begin_together_the_released_rule_keeps_the_last() -> None:
    mentions = (("Q1", "new"), ("Q2", "new york"))
    assert placed(word_starts, "new york", *mentions) == {"Q2": [0]}
    assert placed(first_pieces, "new york", *mentions) == {"Q1": [0]}


def test_whole_words_reach_up_to_punctuation() -> None:
    assert placed(whole_words, "ab cd's ef", ("Q1", "ab cd")) == {"Q1": [0, 1, 2, 3]}
    assert placed(whole_words, "xab cd", ("Q1", "ab cd")) == {"Q1": [3, 4]}


def test_a_mention_behind_the_text_stands_nowhere() -> None:
    pieces = TOKENIZER.encode("ab")
    for rule in (first_pieces, word_starts, whole_words):
        assert rule("ab", pieces, [Mention("Q1", 2, 5)]) == [None, None]
        assert rule("", TOKENIZER.encode(""), [Mention("Q1", 0, 5)]) == []


def test_a_table_gives_vectors_where_entities_are() -> None:
    table = EntityTable({"Q1": 0, "Q2": 1}, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    given = table.inputs([[1, 5, 2], [1, 2]], [[-1, 1, -1], [0, -1]])
    assert given.entities is not None
    assert given.entities.linked.tolist() == [False, True, False, True, False]
    assert given.entities.vectors.tolist() == [[0, 0], [3, 4], [0, 0], [1, 2], [0, 0]]
    assert table.number_of("Q2") == 1
    assert table.number_of("Q3") == table.number_of(None) == -1


def written(folder: Path, ids: str, vectors: str = "0.5\t1\n2\t3\n") -> Path:
    (folder / "entity2id.txt").write_text(ids, encoding="utf-8")
    (folder / "entity2vec.vec").write_text(vectors, encoding="utf-8")
    return folder


def test_released_files_are_read(tmp_path: Path) -> None:
    table = EntityTable.open(written(tmp_path, "2\nQ1\t0\nQ2\t1\n"))
    assert table.numbers == {"Q1": 0, "Q2": 1}
    assert table.vectors.tolist() == [[0.5, 1.0], [2.0, 3.0]]


def test_broken_files_are_said_by_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"entities were looked for in .*entity2id.txt, but there is no such file"):
        EntityTable.open(tmp_path)
    with pytest.raises(UserError, match=r"entity2id.txt, line 3: a name and its number, set apart by a tab, not 'Q2'"):
        read_entity_ids(written(tmp_path, "2\nQ1\t0\nQ2\n") / "entity2id.txt")
    with pytest.raises(UserError, match=r"gives Q9 the number 7, but entity2vec.vec has 2 lines; numbers count from 0"):
        EntityTable.open(written(tmp_path, "1\nQ9\t7\n"))
    with pytest.raises(UserError, match=r"entity2vec.vec, line 2: a vector is numbers set apart by tabs, not 'two'"):
        EntityTable.open(written(tmp_path, "1\nQ1\t0\n", "1\t2\ntwo\n"))
    with pytest.raises(UserError, match=r"entity2vec.vec, line 2: 1 numbers, but the lines before have 2"):
        EntityTable.open(written(tmp_path, "1\nQ1\t0\n", "1\t2\n3\n"))
    with pytest.raises(UserError, match=r"entity2vec.vec is empty; it has one vector a line"):
        EntityTable.open(written(tmp_path, "1\nQ1\t0\n", ""))


def test_grids_that_do_not_fit_are_said() -> None:
    table = EntityTable({}, torch.zeros(2, 3))
    with pytest.raises(UserError, match="entity number 2 was asked for, but the table has 2 rows"):
        table.entities([[2]])
    with pytest.raises(UserError, match="sequence 1 has 2 tokens but 1 entity numbers"):
        table.inputs([[1], [1, 2]], [[0], [0]])


def test_a_table_is_told_from_others_by_its_names_their_rows_and_its_vectors() -> None:
    vectors = torch.arange(4.0).view(2, 2)
    tables = [
        EntityTable({"a": 0, "b": 1}, vectors),
        EntityTable({"a": 1, "b": 0}, vectors),
        EntityTable({"a": 0, "c": 1}, vectors),
        EntityTable({"a": 0, "b": 1}, vectors + 1),
    ]
    assert len({table.hash for table in tables}) == 4
    assert EntityTable({"a": 0, "b": 1}, vectors.t().contiguous().t()).hash == tables[0].hash
