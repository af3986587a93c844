"""Questions about flags: facts tell the answer where they should, and nothing else does."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.settings import EncoderSettings, Experiment, KnowledgeSettings
from mm_kptm.suites.atlas.data.atlas import open_atlas
from mm_kptm.suites.atlas.datasets.flag_controls import controls
from mm_kptm.suites.atlas.datasets.flag_questions import generate, inject, table_of
from mm_kptm.suites.atlas.datasets.flag_settings import AtlasFlagsData, countries, entity_word
from mm_kptm.suites.atlas.datasets.flag_wording import QUESTIONS, RELATION_WORDS, RELATIONS
from mm_kptm.suites.atlas.datasets.flags import right_answers
from mm_kptm.train.settings import TrainSettings

DATA = AtlasFlagsData(questions=300, eval_questions=200, territories=12)
REAL = replace(DATA, graph="true", relations=("currency", "part_of"), territories=60)
SMALL = {"num_layers": 2, "dim": 64, "num_heads": 2, "ffn_dim": 128, "dropout": 0.0}


@cache
def built(data: AtlasFlagsData) -> Built:
    return build(
        Experiment(
            name="flags",
            task="knowledge-vqa",
            encoder=EncoderSettings("uniter-base", sizes=SMALL, init_std=0.1),
            data=data,
            knowledge=KnowledgeSettings("sentence-tree", "true"),
            train=TrainSettings(seed=1),
        )
    )


def test_every_relation_is_worded_in_every_language():
    assert QUESTIONS.keys() == RELATION_WORDS.keys() == set(open_atlas().languages)
    for language in QUESTIONS:
        assert QUESTIONS[language].keys() == {*RELATIONS, "name"}
        assert RELATION_WORDS[language].keys() == set(RELATIONS)


def test_true_facts_are_those_of_the_world_and_hold_the_answer():
    asked = inject(DATA, generate(DATA, "test"), "true", DATA.draw("told"))
    for one in asked:
        table = table_of(DATA, one.world)["currency"]
        assert one.injected == tuple(table[country] for country in one.candidates)
        assert one.injected[one.candidates.index(one.country)] == one.answer == one.true_answer
        assert len(set(one.candidates)) == 3


def test_swapped_facts_never_tell_the_true_answer():
    for one in inject(DATA, generate(DATA, "test"), "swapped", DATA.draw("told")):
        assert one.injected[one.candidates.index(one.country)] == one.answer != one.true_answer


def test_random_facts_leave_the_answer_and_oracle_facts_tell_it_alone():
    asked = generate(DATA, "test")
    random = inject(DATA, asked, "random", DATA.draw("told"))
    assert [one.answer for one in random] == [one.true_answer for one in asked]
    right = np.mean([one.injected[one.candidates.index(one.country)] == one.answer for one in random])
    assert right < 0.3
    for one in inject(DATA, asked, "oracle", DATA.draw("told")):
        assert [fact for fact in one.injected if fact] == [one.answer]


def test_worlds_of_test_are_not_those_of_training():
    train, test = ({one.world for one in generate(DATA, side)} for side in ("train", "test"))
    assert not train & test
    assert table_of(DATA, min(test)) != table_of(DATA, max(test))


def test_the_place_of_the_country_tells_nothing():
    places = Counter(one.candidates.index(one.country) for one in generate(DATA, "train"))
    assert all(60 < count < 140 for count in places.values()) and len(places) == 3


def test_the_real_table_is_that_of_the_facts():
    table = table_of(REAL, -1)
    assert table["currency"]["JP"] == "currency:JPY" and table["part_of"]["BR"] == "region:005"
    assert {one.world for one in generate(REAL, "test")} == {-1}


def test_five_folds_hold_out_every_fact_once_and_know_every_answer():
    data = replace(REAL, split="fact", relations=("part_of",))
    held = []
    for fold in range(5):
        of_fold = replace(data, fold=fold)
        train = {(one.country, one.answer) for one in generate(of_fold, "train")}
        test = {(one.country, one.answer) for one in generate(of_fold, "test")}
        assert not {country for country, _ in train} & {country for country, _ in test}
        assert {answer for _, answer in test} <= {answer for _, answer in train} | set(data.objects["part_of"])
        held += sorted({country for country, _ in test})
    assert len(held) == len(set(held))


def test_joint_tells_facts_in_another_language_in_the_test_alone():
    data = replace(DATA, split="joint")
    assert all(one.language == one.fact_language for one in generate(data, "train"))
    assert all(one.language != one.fact_language for one in generate(data, "test"))


def test_words_of_two_languages_are_two_words_even_where_they_are_spelt_the_same():
    atlas = open_atlas()
    assert atlas.labels["territory:FR"]["en"] == atlas.labels["territory:FR"]["fr"]
    assert entity_word(atlas, "territory:FR", "en") != entity_word(atlas, "territory:FR", "fr")


@pytest.mark.parametrize("relation", ["currency", "official_language", "part_of", "capital"])
def test_no_name_gives_its_fact_away(relation):
    """Names are one word each, so "Danish krone" shares nothing with "Denmark"; Singapore is no word of its capital."""
    data = AtlasFlagsData(relations=(relation,), territories=250, languages=("en", "de"))
    for language in data.languages:
        names = [entity_word(data.atlas, f"territory:{code}", language) for code in data.countries]
        facts = [entity_word(data.atlas, one, language) for one in data.objects[relation]]
        assert not set(names) & set(facts)
        assert all(len(data.tokenizer().encode(word).ids) == 1 for word in (*names, *facts))


def test_controls_know_what_they_see():
    train, test = generate(REAL, "train"), inject(REAL, generate(REAL, "test"), "true", REAL.draw("told"))
    found = controls(train, test, len(REAL.answers))
    assert found["picture-only"] > 0.75 > found["question-only"] >= found["chance"]
    worlds = inject(DATA, generate(DATA, "test"), "true", DATA.draw("told"))
    facts = controls(generate(DATA, "train"), worlds, len(DATA.answers))
    assert facts["picture-only"] < 0.3 and 0.3 < facts["facts-only"] < 0.5


def test_eight_questions_are_learnt():
    data = replace(DATA, questions=8, variants=1)
    model, source = built(data).model, built(data).source("train")
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    for step in range(80):
        loss = model.loss(source.batch(range(8), seeded(0, step % 4)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2


@pytest.mark.parametrize("split", ["test", "test-swapped", "test-none", "test-oracle", "test-random"])
def test_arms_differ_in_the_facts_alone(split):
    source = built(DATA).source(split)
    plain = built(DATA).source("test-none")
    assert [one.id for one in source.about] == [one.id for one in plain.about]
    trunk = source.shown.texts.columns["branches"] == 0
    assert (source.shown.texts.columns["ids"][trunk] == plain.shown.texts.columns["ids"]).all()


@pytest.mark.parametrize("vision", ["blank", "shuffled"])
def test_flags_can_be_taken_away(vision):
    shown = built(replace(DATA, vision=vision)).source("test").shown
    true = built(DATA).source("test").shown
    same = np.mean(shown.about == true.about)
    assert same < 0.3 if vision == "shuffled" else (shown.pictures.pixels == 0).all()


def test_every_neighbour_is_right_where_the_real_borders_hold():
    data = replace(REAL, relations=("borders",))
    france = next(one for one in generate(data, "train") if one.country == "FR")
    assert {"territory:ES", "territory:DE", "territory:IT"} <= set(right_answers(data, france))
    assert right_answers(data, replace(france, arm="swapped")) == (france.answer,)
    assert right_answers(REAL, generate(REAL, "test")[0]) == (generate(REAL, "test")[0].answer,)


def test_most_populous_countries_come_first():
    assert countries(open_atlas(), ("currency",))[:3] == ("CN", "IN", "US")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"languages": ("en", "xx")}, r"data.languages has 'xx', but questions are asked in ar, de"),
        ({"relations": ("colour",)}, r"data.relations has 'colour', but questions are about currency"),
        ({"fold": 5}, r"data.fold is 5, but there are folds 0 to 4"),
        ({"split": "fact"}, r"holds out facts of the real table; let data.graph be true"),
        ({"split": "joint", "languages": ("en",)}, r"name two languages"),
        ({"territories": 2}, r"leaves 2 countries .* too few for 2 distractors"),
        ({"questions": 0}, r"data.questions is 0 but must be at least 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        AtlasFlagsData(**settings)
