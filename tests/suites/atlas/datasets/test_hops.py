"""Facts of two steps: both are injected, both are needed, and the split hop asks for what training never chains."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import EncoderSettings, Experiment, KnowledgeSettings
from mm_kptm.suites.atlas.data.atlas import open_atlas
from mm_kptm.suites.atlas.datasets.flag_controls import controls
from mm_kptm.suites.atlas.datasets.flag_questions import REAL, FlagQuestion, generate, inject, steps_of, table_of
from mm_kptm.suites.atlas.datasets.flag_settings import AtlasFlagsData, entity_word
from mm_kptm.suites.atlas.datasets.flags import right_answers
from mm_kptm.suites.atlas.datasets.hops import HOP_QUESTIONS, SCRIPT_WORDS, TWO_STEPS

HOPS = AtlasFlagsData(
    split="hop", relations=tuple(TWO_STEPS), territories=40, questions=300, eval_questions=200, languages=("en", "de")
)
TRUE = replace(HOPS, graph="true")


def injected(data: AtlasFlagsData, arm: str, side: str = "test") -> list[FlagQuestion]:
    return inject(data, generate(data, side), arm, data.draw("told"))


def followed(one: FlagQuestion) -> str:
    """The answer that the injected facts lead to."""
    return dict(one.middle)[str(one.injected[one.candidates.index(one.country)])]


def test_both_questions_are_worded_in_every_language():
    assert HOP_QUESTIONS.keys() == SCRIPT_WORDS.keys() == set(open_atlas().languages)
    assert all(questions.keys() == TWO_STEPS.keys() for questions in HOP_QUESTIONS.values())


@pytest.mark.parametrize("data", [HOPS, TRUE], ids=["worlds", "true"])
@pytest.mark.parametrize("arm", ["true", "swapped", "oracle"])
def test_the_two_injected_facts_lead_to_the_answer(data, arm):
    for one in injected(data, arm):
        assert followed(one) == one.answer
        between, ends = steps_of(data, one.world, one.relation)
        assert one.true_answer == ends[between[one.country]]
        if arm == "swapped":
            assert one.answer != one.true_answer
            assert one.injected[one.candidates.index(one.country)] != between[one.country]
        if arm == "oracle":
            assert len(one.middle) == 1 and len([fact for fact in one.injected if fact]) == 1


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_language_and_its_script_are_two_words(language):
    first, second = (
        {entity_word(HOPS.atlas, one, language) for one in HOPS.objects[relation]}
        for relation in ("official_language", "language_script")
    )
    assert not first & second and {"arabic", "arabisch"} & {word.rpartition(":")[2] for word in first}


def test_random_facts_leave_the_answer():
    asked = injected(HOPS, "random")
    assert [one.answer for one in asked] == [one.true_answer for one in generate(HOPS, "test")]
    assert sum(followed(one) == one.answer for one in asked) < 0.3 * len(asked)


def test_training_asks_for_first_steps_and_chains_other_countries():
    train, test = generate(HOPS, "train"), generate(HOPS, "test")
    chained = {(one.relation, one.country) for one in train if one.relation in TWO_STEPS}
    asked = {(one.relation, one.country) for one in test}
    assert asked and not asked & chained
    assert {relation for relation, _ in asked} == set(TWO_STEPS)
    assert {one.relation for one in train} == {*TWO_STEPS, "official_language", "borders"}
    held = {(relation, code) for fold in range(5) for relation, code in _held(replace(HOPS, fold=fold))}
    assert held == {(relation, code) for relation in TWO_STEPS for code in HOPS.countries}


def _held(data: AtlasFlagsData) -> set[tuple[str, str]]:
    return {(relation, code) for relation in TWO_STEPS for code in data.countries if data.holds_out(code, relation)}


def test_the_real_world_chains_real_facts():
    tables = table_of(AtlasFlagsData(relations=tuple(TWO_STEPS), graph="true"), REAL)
    assert tables["language_script"]["RU"] == "script:Cyrl" and tables["language_script"]["BR"] == "script:Latn"
    assert tables["official_language"]["BR"] == "language:pt"
    asked = generate(replace(TRUE, split="iid", questions=2000), "train")
    germany = next(one for one in asked if (one.relation, one.country) == ("neighbour_currency", "DE"))
    assert {"currency:EUR", "currency:CHF", "currency:PLN", "currency:CZK"} <= set(right_answers(TRUE, germany))
    assert right_answers(TRUE, replace(germany, arm="swapped")) == (germany.answer,)


def test_facts_alone_find_one_of_what_lies_at_the_end():
    found = controls(generate(HOPS, "train"), injected(HOPS, "true"), len(HOPS.answers))
    assert 0.3 < found["facts-only"] < 0.6 and found["picture-only"] < 0.4
    scripts = replace(TRUE, relations=("language_script",))
    real = controls(generate(scripts, "train"), injected(scripts, "true"), len(scripts.answers))
    assert real["question-only"] > 0.4, "most scripts are Latin"


def test_questions_of_two_steps_are_trained_and_shown():
    encoder = EncoderSettings(
        "uniter-base", sizes={"num_layers": 1, "dim": 32, "num_heads": 2, "ffn_dim": 64, "dropout": 0.0}
    )
    knowledge = KnowledgeSettings("sentence-tree", "true")
    built = build(Experiment(name="hop", task="knowledge-vqa", data=HOPS, encoder=encoder, knowledge=knowledge))
    loss = built.model.loss(built.source("train").batch(range(8), seeded(0, 0)))
    assert torch.isfinite(loss)
    shown = built.prepared.illustrate("test", 0)
    assert shown.question == HOP_QUESTIONS[built.source("test").about[0].language][built.source("test").about[0].type]
    assert sum(fact.used for fact in shown.facts) == 2, "one fact of each step"


def test_a_fact_of_one_step_is_refused():
    with pytest.raises(UserError, match=r"the split hop asks for facts of two steps, but data.relations has 'capital'"):
        AtlasFlagsData(split="hop", relations=("capital",))


@pytest.mark.parametrize("arm", ["true", "swapped", "random", "none"])
def test_the_bridge_is_what_the_answering_fact_hangs_from(arm):
    for one in injected(HOPS, arm, "dev"):
        if one.relation not in TWO_STEPS:
            assert one.bridge == f"territory:{one.country}"
        elif arm == "swapped":
            assert one.bridge == one.injected[one.candidates.index(one.country)]
        else:
            between, ends = steps_of(HOPS, one.world, one.relation)
            assert one.bridge == between[one.country] and ends[one.bridge] == one.answer


def test_questions_name_their_bridges_to_the_objective():
    data = replace(HOPS, num_name_questions=40)
    encoder = EncoderSettings(
        "uniter-base", sizes={"num_layers": 1, "dim": 32, "num_heads": 2, "ffn_dim": 64, "dropout": 0.0}
    )
    knowledge = KnowledgeSettings("sentence-tree", "true")
    built = build(
        Experiment(
            name="hop",
            task="knowledge-vqa",
            data=data,
            encoder=encoder,
            knowledge=knowledge,
            objectives={"bridge-entity": 0.5},
        )
    )
    source = built.source("train")
    batch = source.batch(range(len(source)), seeded(0, 0))
    task = built.model.training_source(source).batch(range(8), seeded(0, 0))
    labels = batch.inputs.labels["bridge-entity"].tolist()
    kinds = {
        one: {label for label, about in zip(labels, source.about, strict=True) if about.type == one}
        for one in ("name", "official_language", "language_script")
    }
    assert kinds["name"] == {-1}
    assert kinds["official_language"] <= set(range(40)) and min(kinds["language_script"]) >= 40
    assert built.system.head("bridge-entity").out_features == len(data.bridges)
    assert torch.isfinite(built.model.loss(task))


@pytest.mark.parametrize(("territories", "sizes"), [(20, {4}), (40, {8}), (7, {1, 2})])
def test_folds_hold_out_as_many_countries_each(territories, sizes):
    held = [_held(replace(HOPS, territories=territories, fold=fold)) for fold in range(5)]
    for relation in TWO_STEPS:
        codes = [[code for one, code in fold if one == relation] for fold in held]
        assert set(map(len, codes)) == sizes
        assert sorted(code for fold in codes for code in fold) == sorted(
            replace(HOPS, territories=territories).countries
        )


def test_a_fold_without_a_country_is_refused():
    data = AtlasFlagsData(split="hop", relations=("language_script",), territories=4, languages=("en",), fold=4)
    with pytest.raises(
        UserError, match=r"^fold 4 of the split hop leaves nothing to ask in test about 4 countries; take"
    ):
        generate(data, "test")
