"""What other linkers wrote is read by their own conventions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mm_kptm.errors import UserError
from mm_kptm.knowledge.linking.aliases import Alias, Aliases
from mm_kptm.knowledge.linking.importers import known_to, read_imported
from mm_kptm.knowledge.linking.linked_texts import Candidate, Link

TEXT = "Obama 😀 visited New York"
TAGME = {
    "text": TEXT,
    "lang": "en",
    "annotations": [
        {
            "spot": "Obama",
            "start": 0,
            "end": 5,
            "rho": 0.4,
            "link_probability": 0.1,
            "id": 534366,
            "title": "Barack Obama",
        },
        {"spot": "new york", "start": 17, "end": 25, "rho": 0.2, "id": 8210131, "title": "New York City"},
    ],
}
REL = {
    "text": TEXT,
    "annotations": [[0, 5, "Obama", "Barack_Obama", 0.9, 1.0, "PER"], [16, 8, "New York", "NIL", 0.3, 0.9, "LOC"]],
}
REFINED = {
    "text": TEXT,
    "spans": [
        {
            "text": "Obama",
            "start": 0,
            "ln": 5,
            "predicted_entity": {"wikidata_entity_id": "Q76", "wikipedia_entity_title": "Barack Obama"},
            "entity_linking_model_confidence_score": 0.9,
            "candidate_entities": [
                [{"wikidata_entity_id": "Q1"}, 0.1],
                [{"wikidata_entity_id": "Q76"}, 0.8],
                ["Q-1", 0.1],
            ],
        },
        {"text": "New York", "start": 16, "ln": 8, "predicted_entity": {"wikidata_entity_id": None}},
    ],
}
SPACY = {
    "text": TEXT,
    "ents": [
        {"start": 0, "end": 5, "label": "PERSON", "kb_id": "Q76"},
        {"start": 16, "end": 24, "label": "GPE", "kb_id": "NIL"},
    ],
    "tokens": [{"id": 0, "start": 0, "end": 5}],
}


def read(folder: Path, linker: str, line: object, **options: object) -> tuple[Link, ...]:
    file = folder / "theirs.jsonl"
    file.write_text(json.dumps(line) + "\n", encoding="utf-8")
    (linked,) = read_imported(file, linker, **options)
    return linked.mentions


def test_tagme_counts_characters_as_java_does(tmp_path):
    obama, york = read(tmp_path, "tagme", TAGME)
    assert obama == Link(0, 5, (Candidate("Barack Obama", 0.4, 0.4),), "Barack Obama")
    assert (TEXT[york.start : york.end], york.entity) == ("New York", "New York City")


def test_rel_tells_lengths(tmp_path):
    obama, york = read(tmp_path, "rel", REL)
    assert obama == Link(0, 5, (Candidate("Barack_Obama", 0.9, 0.9),), "Barack_Obama")
    assert york == Link(16, 24, (), None)


def test_refined_tells_candidates(tmp_path):
    obama, york = read(tmp_path, "refined", REFINED)
    assert obama == Link(0, 5, (Candidate("Q76", 0.9, 0.9), Candidate("Q1", 0.1, 0.1)), "Q76")
    assert york == Link(16, 24, (), None)


def test_spacy_tells_ids_of_entities_of_rules_and_of_groups(tmp_path):
    assert read(tmp_path, "spacy", SPACY) == (Link(0, 5, (Candidate("Q76", 1.0, 1.0),), "Q76"), Link(16, 24, (), None))
    ruled = {"text": TEXT, "ents": [{"start": 0, "end": 5, "label": "PERSON", "id": "Q76"}]}
    grouped = {"text": TEXT, "ents": [], "spans": {"sc": [{"start": 0, "end": 5, "label": "", "kb_id": "Q76"}]}}
    assert read(tmp_path, "spacy", ruled)[0].entity == read(tmp_path, "spacy", grouped)[0].entity == "Q76"
    assert read(tmp_path, "spacy", {"text": TEXT, "ents": [{"start": 0, "end": 5, "label": "X"}]}) == (
        Link(0, 5, (), None),
    )


def test_a_threshold_keeps_the_candidate_and_not_the_entity(tmp_path):
    obama, york = read(tmp_path, "tagme", TAGME, threshold=0.3)
    assert (obama.entity, york.entity) == ("Barack Obama", None)
    assert york.candidates == (Candidate("New York City", 0.2, 0.2),)


def test_titles_become_the_entities_of_a_dictionary(tmp_path):
    aliases = Aliases([Alias("Barack Obama", "Q76"), Alias("NYC", "New_York_City"), Alias("Rome", "Q220")])
    naming = known_to(aliases)
    assert [naming(name) for name in ("Barack_Obama", "New York City", "Rome Statute", "Q220")] == [
        "Q76",
        "New_York_City",
        None,
        "Q220",
    ]
    obama, york = read(tmp_path, "tagme", TAGME, naming=naming)
    assert (obama.entity, york.entity) == ("Q76", "New_York_City")
    (unknown,) = read(
        tmp_path, "rel", {"text": TEXT, "annotations": [[0, 5, "Obama", "Obama,_Fukui", 0.9]]}, naming=naming
    )
    assert unknown == Link(0, 5, (Candidate("Obama,_Fukui", 0.9, 0.9),), None)


@pytest.mark.parametrize(
    ("linker", "line", "message"),
    [
        (
            "tagme",
            {**TAGME, "text": "Ob"},
            r"theirs.jsonl, line 1, annotations\[0\] says characters 0 to 5 of a text of 2",
        ),
        (
            "tagme",
            {**TAGME, "text": "Osama " * 5},
            r'annotations\[0\] says "Obama", but those characters of its text are "Osama"',
        ),
        (
            "rel",
            {"text": TEXT, "annotations": [[0, 5, "Obama"]]},
            r"\[0\] has 3 values; REL gives start, length, mention",
        ),
        (
            "rel",
            {"text": TEXT, "annotations": [[20, 9, "New York", "x", 1]]},
            r"says characters 20 to 29 of a text of 24",
        ),
        (
            "rel",
            {"text": TEXT, "annotations": [[0, 4, "Obama", "x", 1]]},
            r'says "Obama", but those characters .* "Obam"',
        ),
        (
            "refined",
            {"text": TEXT, "spans": [{"text": "Oba", "start": 0, "ln": 5}]},
            r'spans\[0\] says "Oba", but those',
        ),
        (
            "refined",
            {"text": TEXT, "spans": [{"text": "Obama", "start": 0, "ln": 5, "candidate_entities": [[1]]}]},
            "a candidate is an entity and its score, not",
        ),
        (
            "spacy",
            {"text": TEXT, "ents": [{"start": 0, "end": 99}]},
            r"ents\[0\] says characters 0 to 99 of a text of 24",
        ),
        ("spacy", {"text": TEXT, "ents": [{"start": 0, "end": 5}, {"start": 3, "end": 7}]}, "overlap, but no two may"),
        ("dexter", {}, r"mentions of 'dexter' are not read; there are refined, rel, spacy, tagme"),
    ],
)
def test_what_a_linker_cannot_have_written_is_refused(linker, line, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read(tmp_path, linker, line)
