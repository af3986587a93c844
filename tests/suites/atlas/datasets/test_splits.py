"""What leaks are kept out of Atlas's splits: shared drawings, shared families, shared strings, doubled flags."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from mm_kptm.errors import UserError
from mm_kptm.suites.atlas.data.atlas import open_atlas
from mm_kptm.suites.atlas.data.concepts import SKIN_TONES
from mm_kptm.suites.atlas.data.drawings import ALIKE, alike, small
from mm_kptm.suites.atlas.data.held_out import HELD_OUT_SUBGROUPS, held_out_concept
from mm_kptm.suites.atlas.datasets.composition_settings import AtlasCompositionsData
from mm_kptm.suites.atlas.datasets.controls import retrieval_controls
from mm_kptm.suites.atlas.datasets.flag_settings import AtlasFlagsData
from mm_kptm.suites.atlas.datasets.graph import graph_parts, write_graph
from mm_kptm.suites.atlas.datasets.settings import SAME_HAND, AtlasData
from mm_kptm.suites.atlas.datasets.splits import SPLITS, named, side_of, split_side, train_concepts

DATA = AtlasData()


def test_no_family_is_split():
    sides: dict[str, set[str]] = {}
    for one in open_atlas().concepts:
        if side_of(one) != "subgroup":
            sides.setdefault(one.family, set()).add(side_of(one))
    assert {family for family, of in sides.items() if len(of) > 1} == set()
    counts = {side: sum(side in of for of in sides.values()) for side in ("train", "dev", "concept")}
    assert counts["concept"] > 150 and counts["train"] > 900


def test_held_out_subgroups_lie_on_one_side_as_a_whole():
    for one in open_atlas().concepts:
        assert (side_of(one) == "subgroup") == (one.subgroup in HELD_OUT_SUBGROUPS)


@pytest.mark.parametrize("style", ["noto", "fluent-flat"])
def test_drawings_that_look_alike_as_they_are_or_in_a_mirror_are_of_one_family(style):
    atlas = open_atlas()
    family = {one.code: one.family for one in atlas.concepts}
    pairs = alike(atlas.pixels(style), atlas.drawn[style], least=ALIKE, mirrored=True)
    assert pairs, "there are some"
    assert [pair for pair in pairs if family[pair[0]] != family[pair[1]]] == []


def test_no_drawing_of_the_unseen_style_is_one_of_training():
    atlas = open_atlas()
    rows = {style: dict(zip(atlas.drawn[style], small(atlas.pixels(style)), strict=True)) for style in atlas.styles}
    for one, other in combinations(atlas.styles, 2):
        shared = rows[one].keys() & rows[other].keys()
        near = sum(np.abs(rows[one][code] - rows[other][code]).mean() < ALIKE for code in shared)
        assert near / len(shared) < 0.02, f"{one} and {other} are two hands"


@pytest.mark.parametrize("settings", [AtlasData, AtlasCompositionsData])
def test_a_style_by_a_hand_of_training_is_not_unseen(monkeypatch, settings):
    monkeypatch.setattr("mm_kptm.suites.atlas.datasets.settings.SAME_HAND", (frozenset({"noto", "noto-v1"}),))
    with pytest.raises(UserError, match=r"noto-v1, which shows the drawings of noto again; a style is unseen only"):
        settings()
    assert settings(styles=("fluent-flat",)).unseen_style == "noto-v1"


def test_drawings_that_are_one_vendors_twice_are_known_as_such():
    hands = {frozenset({"openmoji", "openmoji-black"}), frozenset({"fluent-flat", "fluent-3d"})}
    assert hands <= set(SAME_HAND), "nearest pixels find 85 and 94 of 100 drawings of one in the other"


def test_no_keyword_is_read_where_names_are(tmp_path: Path):
    """Keywords of a concept hold the words of its name."""
    atlas = open_atlas()
    keywords = {tail for _, relation, tail in atlas.facts if relation == "keyword"}
    assert len(keywords) > 1000 and not keywords & set(atlas.labels)
    assert not any(relation == "keyword" for facts in graph_parts(atlas).values() for _, relation, _ in facts)
    write_graph(atlas, tmp_path)
    linked = {line.split("\t")[1] for line in (tmp_path / "names.tsv").read_text().splitlines()[1:]}
    assert not linked & keywords
    for split in SPLITS:
        assert all(name == atlas.names[language][at] for at, language, name in named(DATA, split_side(DATA, split)))


def test_pieces_are_learnt_without_held_out_names():
    """A name that no split holds out is spelt in fewer pieces than one that no piece was learnt on."""
    atlas, tokenizer = open_atlas(), DATA.tokenizer()

    def pieces(held_out: bool) -> float:
        names = [
            name
            for name, one in zip(atlas.names["en"], atlas.concepts, strict=True)
            if held_out_concept(one) == held_out
        ]
        return sum(len(tokenizer.encode(name, "en").ids) for name in names) / sum(map(len, names))

    assert pieces(True) > 1.1 * pieces(False)


def test_skin_tones_are_out():
    assert not any(set(one.code.split("-")) & SKIN_TONES for one in open_atlas().concepts)


@pytest.mark.parametrize("split", ["lang-text", "lang-0"])
def test_names_that_a_trained_language_spells_the_same_are_left_out(split):
    side, atlas = split_side(DATA, split), open_atlas()
    kept = named(DATA, side)
    trained = {
        (concept, atlas.names[language][concept].casefold()) for language in DATA.languages for concept in side.concepts
    }
    assert not {(concept, name.casefold()) for concept, _, name in kept} & trained
    assert len(kept) > 0.9 * len(side.concepts) * len(side.languages)
    assert {language for _, language, _ in kept}.isdisjoint(DATA.languages)


def test_splits_differ_in_what_they_say():
    train = set(train_concepts(DATA))
    sides = {split: split_side(DATA, split) for split in SPLITS}
    for split in ("concept", "style-concept", "subgroup"):
        assert not set(sides[split].concepts) & train
    for split in ("iid", "lang-text", "lang-0"):
        assert set(sides[split].concepts) == train
    assert sides["style"].style == sides["style-concept"].style == "noto-v1"
    assert sides["lang-0"].languages == ("tr", "th") and sides["lang-text"].languages == ("ja", "sw")


def test_controls_stand_beside_the_splits_that_they_can_answer():
    style, concept, unread = (retrieval_controls(DATA, split) for split in ("style", "concept", "lang-0"))
    assert style["chance-recall@1"] < 0.002 and 0.2 < style["pixel-nearest-recall@1"] < 0.45
    assert concept.keys() == {"chance-recall@1", "chance-recall@10"}
    assert unread["string-overlap-recall@1"] > 10 * unread["chance-recall@1"]


def test_flags_that_are_the_same_picture_are_asked_about_once():
    atlas, data = open_atlas(), AtlasFlagsData(territories=250)
    drawn = dict(zip(atlas.drawn["flags"], small(atlas.pixels("flags")), strict=True))
    assert len(data.countries) > 150
    for one, other in combinations(data.countries, 2):
        assert np.abs(drawn[one] - drawn[other]).mean() >= ALIKE, (one, other)
    assert {"US", "FR", "AU", "NL"} <= set(data.countries) and "HM" not in data.countries


def test_disputed_territories_are_not_asked_about():
    asked = set(AtlasFlagsData(territories=250, relations=("capital",)).countries)
    assert asked.isdisjoint({"PS", "TW", "XK", "EH", "HK", "GS", "IL", "SZ", "GQ", "PW"})
    atlas = open_atlas()
    assert dict(AtlasFlagsData(relations=("capital",), territories=250).objects)["capital"]
    assert ("territory:KZ", "capital", "city:Astana") in atlas.facts


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"languages": ("en", "xx")}, r"data.languages has 'xx', but Atlas speaks en, de"),
        ({"parallel_languages": ("de",)}, r"data.parallel_languages has 'de', which is in data.languages"),
        ({"styles": ("noto", "notov1")}, r"no drawings in the style 'notov1'"),
        ({"styles": ("noto-v1",)}, r"data.unseen_style is noto-v1, which data.styles trains"),
        ({"languages": ()}, r"must name at least one language and one style"),
        ({"scenes": 0}, r"data.scenes is 0 but must be at least 1"),
        ({"max_length": 3}, r"they must be at least 4, 8 and 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        AtlasData(**settings)
