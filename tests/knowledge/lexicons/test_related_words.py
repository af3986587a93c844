"""Related words of a graph, and near ones that are not related."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph.graph import KnowledgeGraph, NameIndex
from mm_kptm.knowledge.graph.triples import Triple
from mm_kptm.knowledge.lexicons.related_words import Judged, RelatedWords, WordVectors, contrasted

CAR = {"1-n": ("car", "Automobile"), "2-n": ("motor vehicle",), "3-n": ("vehicle", "conveyance")}
WORDNET = KnowledgeGraph(
    [
        Triple("1-n", "hypernym", "2-n"),
        Triple("2-n", "hyponym", "1-n"),
        Triple("2-n", "hypernym", "3-n"),
        Triple("1-n", "antonym", "3-n"),
    ],
    NameIndex({"en": CAR}),
)


def test_words_of_a_synset_and_of_the_one_right_above_are_related() -> None:
    related = RelatedWords.of(WORDNET)
    assert related.pairs == (
        ("car", "automobile"),
        ("vehicle", "conveyance"),
        ("car", "motor vehicle"),
        ("automobile", "motor vehicle"),
        ("motor vehicle", "vehicle"),
        ("motor vehicle", "conveyance"),
    )
    assert ("automobile", "car") in related and ("car", "vehicle") not in related, "two steps up, or an antonym"


def test_names_that_are_words_are_related_by_the_relations_that_are_named() -> None:
    graph = KnowledgeGraph([("big", "Synonym", "large"), ("large", "Synonym", "big"), ("big", "Antonym", "small")])
    assert RelatedWords.of(graph, relations=["Synonym"]).pairs == (("big", "large"),)
    with pytest.raises(UserError) as raised:
        RelatedWords.of(graph, relations=["hypernym"])
    assert str(raised.value) == (
        "no two words are related in a graph of 3 triples: no name has two words in 'en', and no relation is called "
        "hypernym; it has Synonym, Antonym"
    )


def written(folder: Path, text: str) -> Path:
    file = folder / "words.vec"
    file.write_text(text, encoding="utf-8")
    return file


def test_vectors_are_read_with_or_without_their_count(tmp_path: Path) -> None:
    lines = "car 3 4\nRome 0 2 \ncar 9 9\n"
    for text in (lines, "3 2\n" + lines):
        vectors = WordVectors.open(written(tmp_path, text))
        assert vectors.numbers == {"car": 0, "Rome": 1}
        assert vectors.vectors.tolist() == [[3, 4], [0, 2]]
    assert WordVectors.open(written(tmp_path, lines), {"rome"}).numbers == {"Rome": 0}


def test_a_term_has_the_direction_of_the_mean_of_its_known_words(tmp_path: Path) -> None:
    vectors = WordVectors.open(written(tmp_path, "car 3 4\nRome 0 2\n"))
    expected = torch.tensor([[0.6, 0.8], [0.0, 1.0], [0.4472136, 0.8944272], [0.0, 0.0]])
    torch.testing.assert_close(vectors.of(["car", "rome", "rome car of", "of"]), expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "car 1 2\nbus 1 x\n",
            r"words\.vec, line 2 should be a word and 2 numbers as in the lines before, not 'bus 1 x'$",
        ),
        ("car 1 2\nbus 1\n", r"words\.vec, line 2 should be a word and 2 numbers as in the lines before, not 'bus 1'$"),
        ("3 2\ncar\n", r"words\.vec, line 2 should be a word and its numbers, not 'car'$"),
        ("3 2\n", r"words\.vec has a vector of none of the words; it is a file of one word and its numbers a line$"),
    ],
)
def test_a_line_that_is_no_vector_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        WordVectors.open(written(tmp_path, text))


def test_a_missing_file_of_vectors_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"were looked for in .*none\.vec, but there is no such file$"):
        WordVectors.open(tmp_path / "none.vec")


def test_near_words_are_the_nearest_that_are_not_related() -> None:
    """On a line of angles: b stands next to a and is related to it, c is the next one that is not."""
    angles = {"a": 0.0, "b": 0.1, "c": 0.3, "d": 1.0}
    vectors = WordVectors(
        {word: place for place, word in enumerate(angles)},
        torch.tensor([[torch.tensor(angle).cos(), torch.tensor(angle).sin()] for angle in angles.values()]),
    )
    related = RelatedWords((("a", "b"), ("c", "d")))
    assert contrasted(related.pairs, related, vectors) == [
        Judged("a", "b", True, 0),
        Judged("a", "c", False, 0),
        Judged("b", "c", False, 0),
        Judged("c", "d", True, 1),
        Judged("c", "b", False, 1),
        Judged("d", "b", False, 1),
    ]


def test_a_word_without_a_vector_is_near_to_nothing() -> None:
    vectors = WordVectors({"a": 0, "c": 1}, torch.eye(2))
    related = RelatedWords((("a", "b"), ("c", "d")))
    judged = contrasted(related.pairs, related, vectors)
    assert [pair[:2] for pair in judged if not pair.related] == [("a", "c"), ("c", "a")]


WORDS = [f"w{number}" for number in range(9)]


@given(
    st.lists(
        st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS)).filter(lambda pair: pair[0] != pair[1]), min_size=1
    ),
    st.integers(0, 99),
    st.integers(1, 6),
)
def test_whatever_is_related_near_words_are_not(pairs: list[tuple[str, str]], seed: int, size: int) -> None:
    related = RelatedWords(tuple(pairs))
    draw = torch.Generator().manual_seed(seed)
    vectors = WordVectors({word: place for place, word in enumerate(WORDS)}, torch.randn(len(WORDS), 3, generator=draw))
    batch = [pairs[place] for place in torch.randint(len(pairs), (size,), generator=draw).tolist()]
    there = {word for pair in batch for word in pair}
    judged = contrasted(batch, related, vectors)
    assert [pair[:2] for pair in judged if pair.related] == batch
    for owner, positive in enumerate(batch):
        made = [pair for pair in judged if pair.owner == owner and not pair.related]
        assert [pair.first for pair in made] == [
            word for word in positive if any(o not in positive and (word, o) not in related for o in there)
        ], "one of each word, wherever the batch has a word for it"
        for pair in made:
            others = [o for o in sorted(there) if o not in positive and (pair.first, o) not in related]
            assert pair.second in others
            near = vectors.of(others) @ vectors.of([pair.first])[0]
            mine = vectors.of([pair.second])[0] @ vectors.of([pair.first])[0]
            assert mine >= near.max() - 1e-6
