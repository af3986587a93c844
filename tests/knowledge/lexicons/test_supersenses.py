"""WordNet's lexicographers' files become what the pieces of a vocabulary may mean."""

from pathlib import Path

import pytest
import torch

from mm_kptm.batch import Tokens
from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph.wordnet import FILES
from mm_kptm.knowledge.lexicons.supersenses import SUPERSENSES, Inventory, SenseVocabulary, names

LINES = {
    "noun": "00000001 05 n 02 bass 0 sea_bass 0 000 | a fish\n"
    "00000002 06 n 01 bass 1 000 | a guitar\n"
    "00000003 20 n 01 leaf 0 000 | of a tree\n"
    "00000004 18 n 01 Woman 0 000 | a person\n"
    "00000005 27 n 01 then 0 000 | made up\n"
    "00000006 05 n 01 cow 0 000 | an animal\n",
    "verb": "00000001 38 v 01 leave 0 000 01 + 02 00 | go away\n00000002 38 v 01 walk 0 000 01 + 02 00 | on foot\n",
    "adj": "00000001 00 a 01 broad(p) 0 000 | not narrow\n",
    "adv": "",
}
PIECES = ("[MASK]", "bass", "leaves", "women", "walked", "##walk", "then", "cow", "unheard", "broadest", "walk")


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    for name in FILES:
        (tmp_path / f"data.{name}").write_text(LINES[name])
    (tmp_path / "noun.exc").write_text("men man\nwomen woman\n")
    return Inventory.open(tmp_path)


@pytest.fixture
def senses(inventory: Inventory) -> SenseVocabulary:
    return SenseVocabulary.of(PIECES, inventory)


def test_there_are_26_nouns_15_verbs_and_4_others() -> None:
    parts = [name.split(".")[0] for name in SUPERSENSES]
    assert [parts.count(part) for part in ("noun", "verb", "adj", "adv")] == [26, 15, 3, 1]
    assert len(set(SUPERSENSES)) == 45
    # the numbers that open and close the parts of speech in lexnames(5)
    assert [SUPERSENSES[number] for number in (3, 28, 29, 43)] == [
        "noun.Tops",
        "noun.time",
        "verb.body",
        "verb.weather",
    ]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("Bass", ["noun.animal", "noun.artifact"]),
        ("sea bass", ["noun.animal"]),
        ("leaves", ["noun.plant", "verb.motion"]),
        ("women", ["noun.person"]),
        ("walking", ["verb.motion"]),
        ("broader", ["adj.all"]),
        ("broad", ["adj.all"]),
        ("unheard", []),
    ],
)
def test_a_word_has_the_senses_of_its_parts_of_speech_or_of_its_base_forms(
    inventory: Inventory, word: str, expected: list[str]
) -> None:
    assert names(sorted(inventory.of(word))) == expected


def test_a_word_that_wordnet_has_is_no_form_of_another(inventory: Inventory) -> None:
    """``bass`` might be ``bas`` in the plural, but need not be."""
    assert inventory.of("bass") == {5, 6}


def test_markers_short_words_words_of_grammar_and_ends_of_words_mean_nothing(senses: SenseVocabulary) -> None:
    means = {piece: names(row.nonzero().flatten().tolist()) for piece, row in zip(PIECES, senses.allowed, strict=True)}
    assert [piece for piece, meant in means.items() if not meant] == ["[MASK]", "##walk", "then", "cow", "unheard"]
    assert means["women"] == ["noun.person"] and means["walked"] == means["walk"] == ["verb.motion"]
    assert senses.continues.nonzero().flatten().tolist() == [5]


def test_the_first_piece_of_a_word_that_was_cut_means_nothing(senses: SenseVocabulary) -> None:
    meant = senses.of_words(Tokens.of([[1, 10], [10, 5, 1], [5], []])).any(-1)
    assert meant.tolist() == [True, True, False, False, True, False]
    apart = senses.of_words(Tokens.of([[10], [5]])).any(-1)
    assert apart.tolist() == [True, False], "a piece that opens another text continues nothing"


def test_a_file_that_is_no_lexicographers_is_named(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / f"data.{name}").write_text(LINES[name].replace(" 05 n", " 45 n"))
    with pytest.raises(UserError, match=r"has the synset 00000001-n in lexicographers' file 45, but those .* 0 to 44$"):
        Inventory.open(tmp_path)


def test_a_line_without_base_forms_is_named(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / f"data.{name}").write_text(LINES[name])
    (tmp_path / "verb.exc").write_text("went go\ngone\n")
    with pytest.raises(UserError, match=r"verb\.exc, line 2 should be a word and its base forms, not 'gone'$"):
        Inventory.open(tmp_path)


def test_the_same_files_give_the_same_senses(inventory: Inventory) -> None:
    first, second = (SenseVocabulary.of(PIECES, inventory).allowed for _ in range(2))
    assert torch.equal(first, second)
