"""Entities are replaced by others of their type, and the text around them stays what it was."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_kptm.errors import UserError
from mm_kptm.knowledge.injection.entity_grid import Mention
from mm_kptm.knowledge.objectives.entity_replacement_data import (
    Mentioned,
    Replaced,
    Replacer,
    TypedEntity,
    read_mentioned,
    read_typed_entities,
)

CITIES = {f"Q{n}": TypedEntity("city", (f"City{n}", f"Town of {n}")) for n in range(6)}
PEOPLE = {f"P{n}": TypedEntity("person", (f"Ada {n}",)) for n in range(4)}
ENTITIES = {**CITIES, **PEOPLE, "L1": TypedEntity("language", ("Ladin",))}
REPLACER = Replacer(ENTITIES)


def text_of(entities: list[str]) -> Mentioned:
    """One clause for every entity, with its number in it."""
    text, mentions = "", []
    for number, entity in enumerate(entities):
        text += f"then {number} came "
        name = ENTITIES[entity].names[0]
        mentions.append(Mention(entity, len(text), len(text) + len(name)))
        text += name + ", "
    return Mentioned(text + "and rest.", tuple(mentions))


def outside(one: Mentioned | Replaced) -> list[str]:
    """What stands between the mentions."""
    ends = [0, *(mention.end for mention in one.mentions)]
    starts = [*(mention.start for mention in one.mentions), len(one.text)]
    return [one.text[end:start] for end, start in zip(ends, starts, strict=True)]


TEXTS = st.lists(st.sampled_from(sorted(ENTITIES)), max_size=12).map(text_of)


@settings(deadline=None)
@given(TEXTS, st.integers(0, 1000))
def test_a_replaced_mention_names_another_entity_of_its_type(text: Mentioned, seed: int) -> None:
    version = REPLACER(text, random.Random(seed))
    assert outside(version) == outside(text)
    for before, after, true in zip(text.mentions, version.mentions, version.true, strict=True):
        shown = version.text[after.start : after.end]
        if true:
            assert (after.entity, shown) == (before.entity, text.text[before.start : before.end])
        else:
            assert after.entity != before.entity
            assert ENTITIES[after.entity].type == ENTITIES[before.entity].type
            assert shown in ENTITIES[after.entity].names


@settings(deadline=None)
@given(TEXTS, st.integers(0, 1000), st.sampled_from([0.1, 0.5, 1.0]))
def test_no_two_neighbours_are_replaced_and_one_mention_is(text: Mentioned, seed: int, rate: float) -> None:
    """Unless none can be: there is one language only."""
    version = Replacer(ENTITIES, rate=rate)(text, random.Random(seed))
    assert not any(not one and not other for one, other in zip(version.true, version.true[1:], strict=False))
    replaceable = any(mention.entity != "L1" for mention in text.mentions)
    assert all(version.true) is not replaceable


def test_the_share_of_replaced_mentions_follows_the_rate() -> None:
    """Of very many mentions: all that has no replaced neighbour at rate 1, few at a small one."""
    text = text_of(["Q1", "Q2", "P1", "P2"] * 500)
    shares = []
    for rate in (0.05, 0.5, 1.0):
        version = Replacer(ENTITIES, rate=rate)(text, random.Random(0))
        shares.append(version.true.count(False) / len(version.true))
    assert 0.03 < shares[0] < 0.07
    assert 0.25 < shares[1] < 0.35
    # a random order of a path takes (1 - e^-2) / 2 of its places
    assert abs(shares[2] - 0.432) < 0.03


def test_every_other_entity_and_every_name_is_drawn() -> None:
    text = text_of(["Q0"])
    shown = {REPLACER(text, random.Random(seed)).text for seed in range(200)}
    names = {name for entity in CITIES if entity != "Q0" for name in CITIES[entity].names}
    assert shown == {f"then 0 came {name}, and rest." for name in names}


def test_a_name_of_the_true_entity_is_no_false_one() -> None:
    """Two cities of one name: only the other name makes the text false."""
    alike = {"Q1": TypedEntity("city", ("Paris",)), "Q2": TypedEntity("city", ("Paris", "Paris, Texas"))}
    given = Mentioned("in Paris", (Mention("Q1", 3, 8),))
    assert {Replacer(alike)(given, random.Random(seed)).text for seed in range(20)} == {"in Paris, Texas"}
    given = Mentioned("in Paris", (Mention("Q2", 3, 8),))
    assert Replacer(alike)(given, random.Random(0)).true == (True,)


def test_an_entity_of_no_type_stays() -> None:
    given = Mentioned("in Rome", (Mention("Q99", 3, 7),))
    assert REPLACER(given, random.Random(0)) == Replaced(given.text, given.mentions, (True,))


def test_versions_differ_and_follow_from_the_seed() -> None:
    text = text_of(["Q0", "P0", "Q1", "P1", "Q2"])
    versions, again = (list(REPLACER.versions(text, 10, random.Random(3))) for _ in range(2))
    assert versions == again and len(versions) == 10
    assert len({version.text for version in versions}) > 5


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(UserError, match=r"^a share of 1.5 of (the )?mentions was to be replaced"):
        Replacer(ENTITIES, rate=1.5)


def write(path: Path, text: str) -> Path:
    (path / "file").write_text(text, encoding="utf-8")
    return path / "file"


def test_entities_are_read(tmp_path: Path) -> None:
    found = read_typed_entities(write(tmp_path, "Q90\tcity\tParis\tCity of Light\n\nQ1\tperson\tAda\n"))
    assert found == {"Q90": TypedEntity("city", ("Paris", "City of Light")), "Q1": TypedEntity("person", ("Ada",))}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Q90\tcity\tParis\nQ1\tcity\n", r"line 2 should be an entity, its type and its names, .* it is 'Q1 city'$"),
        ("Q90\t\tParis\n", r"line 1 should be an entity, its type and its names"),
        ("Q90\tcity\tParis\nQ90\tcity\tRome\n", r"line 2: the entity Q90 is there twice, first at .*, line 1$"),
    ],
)
def test_a_wrong_line_of_entities_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_typed_entities(write(tmp_path, text))


def test_texts_are_read_with_their_mentions_in_order(tmp_path: Path) -> None:
    line = '{"text": "Ada saw Rome", "mentions": [{"span": [8, 12], "entity": "Q2"}, {"span": [0, 3], "entity": "P1"}]}'
    assert read_mentioned(write(tmp_path, line)) == (
        Mentioned("Ada saw Rome", (Mention("P1", 0, 3), Mention("Q2", 8, 12))),
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "Rome"}', r"line 1 has no 'mentions'"),
        (
            '{"text": "Rome", "mentions": [{"span": [2, 9], "entity": "Q2"}]}',
            r"line 1, mentions\[0\]: 'span' says char",
        ),
        (
            '{"text": "Rome", "mentions": [{"span": [0, 3], "entity": "Q2"}, {"span": [2, 4], "entity": "Q3"}]}',
            r"line 1: the mentions at 0 and 2 share characters; they must stand apart$",
        ),
    ],
)
def test_a_wrong_text_is_named(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_mentioned(write(tmp_path, line))
