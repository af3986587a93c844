"""Negatives that no known triple contradicts, and Wikidata5M's files."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.negatives import Contrasted, FilteredNegatives, contrasted, pair_counts
from mm_kptm.knowledge.graph.indexed_triple import IndexedTriple
from mm_kptm.knowledge.graph.triples import Triple
from mm_kptm.knowledge.graph.wikidata5m import Numbering, read_descriptions

TRIPLES = [IndexedTriple(0, 0, 1), IndexedTriple(2, 0, 1), IndexedTriple(0, 0, 3), IndexedTriple(4, 1, 0)]


def uniform(entities: int, seed: int = 0) -> Callable[[int], list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return lambda count: torch.randint(entities, (count,), generator=generator).tolist()


def test_negatives_are_never_known_to_be_true() -> None:
    examples = list(contrasted(TRIPLES * 50, FilteredNegatives(TRIPLES, 5), 3, uniform(5)))
    known = set(TRIPLES)
    for example in examples:
        assert len(example.false_heads) == len(example.false_tails) == 3
        assert not known & {example.triple._replace(head=head) for head in example.false_heads}
        assert not known & {example.triple._replace(tail=tail) for tail in example.false_tails}


def test_negatives_are_uniform_over_what_is_left() -> None:
    negatives = FilteredNegatives(TRIPLES, 5)
    drawn = Counter(negatives(TRIPLES[0], 3000, uniform(5)).false_tails)
    assert set(drawn) == {0, 2, 4}
    assert all(900 < count < 1100 for count in drawn.values())


def test_an_unknown_triple_has_every_negative() -> None:
    assert set(FilteredNegatives((), 3)(IndexedTriple(0, 9, 1), 50, uniform(3)).false_heads) == {0, 1, 2}


def test_a_triple_that_nothing_makes_false_is_said() -> None:
    negatives = FilteredNegatives([IndexedTriple(0, 0, 0), IndexedTriple(1, 0, 0)], 2)
    with pytest.raises(
        UserError, match=r"all 2 entities are true as the head of the triple \(1, 0, 0\), so there is no"
    ):
        negatives(IndexedTriple(1, 0, 0), 1, uniform(2))


def test_the_size_of_an_example_counts_every_description_as_it_is_cut() -> None:
    assert Contrasted(IndexedTriple(0, 0, 1), (2, 2), (1,)).size([3, 10, 600], max_length=512) == 3 + 10 + 2 * 512 + 10


def test_pairs_are_counted_from_four() -> None:
    counts = pair_counts(TRIPLES)
    assert counts[0, 0] == 5 and counts[1, -1] == 5 and counts[2, 0] == 4 and counts[0, -2] == 4


def test_descriptions_are_numbered_as_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("Q7\ta city\twith a tab\u2028and more \nQ3\t\nQ9\tlast", encoding="utf-8")
    read = read_descriptions(file)
    assert read.numbers == {"Q7": 0, "Q3": 1, "Q9": 2}
    assert read.texts == ("a city\twith a tab\u2028and more", "", "last")
    assert read_descriptions(file, keep=lambda name: name != "Q3").numbers == {"Q7": 0, "Q9": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"Q1\ta\nQ2 b\n", "line 2 should be a name, a tab and a text, not 'Q2 b'"),
        (b"\ta\n", "line 1 should be a name, a tab and a text, not ''"),
        (b"Q1\ta\nQ2\t\xff\n", "line 2 is not UTF-8"),
        (b"Q1\ta\nQ1\tb\n", "line 2 describes Q1 again; give every entity one description"),
    ],
)
def test_a_bad_line_of_descriptions_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"text.txt, {said}"):
        read_descriptions(file)
    with pytest.raises(UserError, match=r"descriptions were looked for in .*other.txt, but there is no such file"):
        read_descriptions(tmp_path / "other.txt")


def test_relations_are_numbered_over_all_files_and_what_is_left_out_is_counted() -> None:
    numbering = Numbering({"a": 0, "b": 1})
    train = numbering([Triple("x", "never", "a"), Triple("a", "likes", "b"), Triple("b", "knows", "a")])
    valid = numbering([Triple("b", "likes", "b"), Triple("a", "sees", "y")])
    assert train == [(0, 0, 1), (1, 1, 0)] and valid == [(1, 0, 1)]
    assert (numbering.relations, numbering.left_out) == ({"likes": 0, "knows": 1}, 2)
