"""What things are called: dictionaries and graphs as sources of names, and the shares of what a name led to."""

from __future__ import annotations

from pathlib import Path

import pytest

from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph.graph import KnowledgeGraph, NameIndex
from mm_kptm.knowledge.linking.aliases import Alias, Aliases, Prior, open_aliases

PARIS = [Alias("Paris", "Q90", 3, "en"), Alias("Paris", "Q830149", 1, "en"), Alias("巴黎", "Q90", 2, "zh")]


def priors(aliases: Aliases, text: str, language: str | None = None) -> list[tuple[Prior, ...]]:
    names = aliases.names(language)
    return [names.priors(number, text[start:end]) for _, start, end, number in names.index.find([text])]


def write(folder: Path, text: str, name: str = "names.tsv") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_a_prior_is_the_share_of_times_that_a_name_led_to_an_entity():
    assert priors(Aliases(PARIS), "in paris") == [(Prior("Q90", 0.75), Prior("Q830149", 0.25))]
    twice = Aliases([*PARIS, PARIS[1], PARIS[1]])
    assert priors(twice, "Paris") == [(Prior("Q830149", 0.5), Prior("Q90", 0.5))]


def test_a_spelling_that_is_known_keeps_what_it_led_to():
    aliases = Aliases([Alias("US", "country", 9), Alias("us", "we", 1)])
    assert priors(aliases, "US us Us") == [
        (Prior("country", 1.0),),
        (Prior("we", 1.0),),
        (Prior("country", 0.9), Prior("we", 0.1)),
    ]


def test_names_of_a_language_stand_beside_those_that_have_none():
    aliases = Aliases([*PARIS, Alias("Rom", "Q220")])
    assert aliases.languages == ("en", "zh")
    assert [one[0].entity for one in priors(aliases, "Paris 巴黎 Rom", "zh")] == ["Q90", "Q220"]
    assert len(priors(aliases, "Paris 巴黎 Rom")) == 3
    assert len(priors(aliases, "Paris 巴黎 Rom", "fr")) == 1
    with pytest.raises(UserError, match=r"toy.nt has no names in 'fr'; it has en, zh"):
        aliases.require("fr", "toy.nt")
    with pytest.raises(UserError, match="no names in 'en'; its names are in no language at all"):
        Aliases([Alias("Rom", "Q220")]).require("en", "toy.tsv")


def test_a_graph_counts_entities_by_what_it_knows_about_them():
    words = NameIndex(
        {"en": {"Q1": ("Rome", "Roma"), "Q2": ("Rome",)}, "zh": {"Q1": ("罗马",)}}, {"en": {"Q1": "a city"}}
    )
    graph = KnowledgeGraph([("Q1", "in", "Q3"), ("Q3", "has", "Q1")], words)
    aliases = Aliases.of_graph(graph)
    assert priors(aliases, "Rome", "en") == [(Prior("Q1", 0.75), Prior("Q2", 0.25))]
    assert aliases.description("Q1", "de") == aliases.description("Q1", "en") == "a city"
    assert aliases.description("Q2", "en") == ""
    assert aliases.entities == {"Q1", "Q2"}


def test_a_graph_without_aliases_knows_its_entities_by_their_names():
    aliases = Aliases.of_graph(KnowledgeGraph([("cat", "is", "animal")]))
    assert priors(aliases, "a Cat") == [(Prior("cat", 1.0),)]


def test_dictionaries_are_read_in_every_form(tmp_path):
    table = write(tmp_path, "surface\tlanguage\tentity\tcount\nParis\ten\tQ90\t3\n\nParis\ten\tQ830149\t1\n")
    anchors = write(tmp_path, "Paris\tQ90\nParis\tQ90\nParis\tQ830149\n", "anchor2id.txt")
    dictionary = write(tmp_path, "Paris\t8\t1,0.75,Q90\t2,0.25,Q830149\n", "prob_yago_crosswikis.txt")
    graph = write(tmp_path, "Paris\tin\tFrance\n", "toy.spo")
    assert priors(open_aliases(table), "Paris", "en") == [(Prior("Q90", 0.75), Prior("Q830149", 0.25))]
    assert priors(open_aliases(anchors), "Paris")[0][0] == Prior("Q90", 2 / 3)
    assert priors(open_aliases(dictionary), "Paris") == [(Prior("Q90", 0.75), Prior("Q830149", 0.25))]
    assert priors(open_aliases(graph), "France") == [(Prior("France", 1.0),)]
    assert priors(open_aliases("pykeen:nations"), "Brazil") == [(Prior("brazil", 1.0),)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"names.tsv is empty; a dictionary of names has a name and an entity a line"),
        (
            "surface\tentities\n",
            r"line 1 names the columns surface, entities; a table of names has surface, entity, count",
        ),
        (
            "surface\tentity\tcount\nRome\tQ220\n",
            r"line 2 has 2 cells between tabs, but there are 3: surface, entity, count",
        ),
        ("surface\tentity\n\tQ220\n", r"line 2 has no surface; a name leads to an entity"),
        ("Rome\tQ220\nRome\t\n", r"line 2 has no entity; a name leads to an entity"),
        ("surface\tentity\tcount\nRome\tQ220\tmany\n", r"line 2: the count of a name is a number, not 'many'"),
        ("surface\tentity\tcount\nRome\tQ220\t-1\n", r"line 2: the count of a name is a positive number, not '-1'"),
        ("surface\tentity\tcount\nRome\tQ220\tnan\n", r"line 2: the count of a name is a positive number, not 'nan'"),
        ("surface\tentity\n", r"there is no name to look for; a dictionary of names has one at least"),
    ],
)
def test_what_is_no_dictionary_is_refused(text, message, tmp_path):
    with pytest.raises(UserError, match=message):
        open_aliases(write(tmp_path, text))


def test_what_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "names.tsv").write_bytes(b"surface\tentity\nR\xff\tQ1\n")
    with pytest.raises(UserError, match=r"names.tsv, line 2 is not UTF-8"):
        open_aliases(tmp_path / "names.tsv")
    with pytest.raises(UserError, match=r"there is no graph .*nothing.tsv"):
        open_aliases(tmp_path / "nothing.tsv")
    with pytest.raises(UserError, match="the name 'a' led to b 0 times; a count is a positive number"):
        Aliases([Alias("a", "b", 0)])
