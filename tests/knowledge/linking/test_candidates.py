"""Names with priors: which spans of a text a dictionary finds, and where they lead."""

from pathlib import Path

import pytest

from mm_kptm.errors import UserError
from mm_kptm.knowledge.linking.candidates import (
    RELEASED_SIGNS,
    CandidateSpan,
    EntityPrior,
    Name,
    NameDictionary,
    all_spellings,
    last_spelling,
    read_names,
)

PARIS, TEXAS = EntityPrior("1", "Paris", 0.6), EntityPrior("2", "Paris,_Texas", 0.4)
NAMES = {
    "Paris": Name(10, (PARIS, TEXAS)),
    "PARIS": Name(2, (PARIS._replace(prior=0.9),)),
    "The Who": Name(3, (TEXAS,)),
}


def write(folder: Path, text: str) -> Path:
    file = folder / "names.txt"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_name_is_found_with_its_priors() -> None:
    find = NameDictionary(NAMES, {"the"})
    assert find(["In", "paris"]) == [CandidateSpan(1, 1, ("Paris", "Paris,_Texas"), (0.6, 0.4))]
    assert find([]) == []


def test_the_more_frequent_spelling_counts() -> None:
    """Capital first letters unless the string itself led somewhere more often."""
    find = NameDictionary({**NAMES, "paris": Name(20, (TEXAS,))}, ())
    assert [sense.entity for sense in find.senses("paris")] == ["Paris,_Texas"]
    assert [sense.entity for sense in find.senses("PARIS")] == ["Paris", "Paris,_Texas"]


def test_stop_words_end_no_mention_but_only_as_they_are_written() -> None:
    find = NameDictionary(NAMES, {"the", "who"})
    assert [span[:2] for span in map(vars_of, find(["The", "Who"]))] == [(0, 1)]
    assert find(["the", "Who"]) == []


def vars_of(span: CandidateSpan) -> tuple[int, int]:
    return span.first, span.last


def test_no_mention_has_punctuation() -> None:
    names = {"Yahoo !": Name(5, (PARIS,)), "A , B": Name(5, (TEXAS,))}
    assert NameDictionary(names, ())(["Yahoo", "!"]) == []
    released = NameDictionary(names, (), ignored=RELEASED_SIGNS.__contains__)
    assert [vars_of(span) for span in released(["Yahoo", "!"])] == [(0, 1)]
    assert released(["A", ",", "B"]) == []


def test_a_mention_is_no_longer_than_asked() -> None:
    names = {"A B C": Name(1, (PARIS,))}
    assert len(NameDictionary(names, (), max_length=3)(["A", "B", "C"])) == 1
    assert NameDictionary(names, (), max_length=2)(["A", "B", "C"]) == []


def test_spellings_are_merged_with_their_highest_priors() -> None:
    assert all_spellings(NAMES, 30)["paris"] == [PARIS._replace(prior=0.9), TEXAS]
    assert all_spellings(NAMES, 1)["paris"] == [PARIS._replace(prior=0.9)]


def test_the_released_merging_keeps_the_likelier_double_beside_the_first() -> None:
    small = PARIS._replace(prior=0.8)
    names = {"paris": Name(1, (small,)), "Paris": Name(10, (PARIS, TEXAS))}
    assert last_spelling(names, 30)["paris"] == [small, PARIS, TEXAS]
    assert all_spellings(names, 30)["paris"] == [small, TEXAS]


def test_a_dictionary_is_read_without_entities_that_have_no_vector(tmp_path: Path) -> None:
    file = write(
        tmp_path, "Paris\t10\t1,0.6,Paris\t2,0.4,Paris,_Texas\nRome\t3\t5,1.0,Rome\nParis\t20\t2,1,Paris,_Texas\n"
    )
    assert read_names(file)["Rome"] == Name(3, (EntityPrior("5", "Rome", 1.0),))
    kept = read_names(file, {"Paris", "Paris,_Texas"})
    assert kept == {"Paris": Name(20, (EntityPrior("2", "Paris,_Texas", 1.0),))}
    assert len(read_names(file, most=1)["Paris"].senses) == 1


def test_a_line_that_is_no_name_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"names.txt, line 2 should be a string, its count, and 'number,prior,title'"):
        read_names(write(tmp_path, "Paris\t10\t1,0.6,Paris\nRome\tthree\n"))
    with pytest.raises(UserError, match=r"a dictionary of names was looked for in .*, but there is no such file"):
        read_names(tmp_path / "nothing.txt")
