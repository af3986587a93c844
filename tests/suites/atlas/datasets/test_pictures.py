"""Questions about composed drawings and counting: what is asked, what is held out, and what rules find alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.suites.atlas.data.atlas import open_atlas
from mm_kptm.suites.atlas.datasets.composition_settings import AtlasCompositionsData
from mm_kptm.suites.atlas.datasets.compositions import composition_controls
from mm_kptm.suites.atlas.datasets.counting import compose_counts, count_controls
from mm_kptm.suites.atlas.datasets.picture_wording import HOW_MANY, PICTURE_QUESTIONS, WHAT, WHO, WITH
from mm_kptm.suites.atlas.datasets.settings import AtlasData
from mm_kptm.suites.atlas.datasets.splits import train_concepts

SMALL = {"num_layers": 1, "dim": 32, "num_heads": 2, "ffn_dim": 64, "dropout": 0.0}
NAMES = AtlasData(languages=("en", "de"), parallel_languages=("sw",))
COMPOSED = AtlasCompositionsData(languages=("en", "sw"), questions=200, variants=2)


def built(data: object, task: str = "vqa") -> Built:
    encoder = EncoderSettings("uniter-base", sizes=SMALL, init_std=0.1)
    return build(Experiment(name="pictures", task=task, data=data, encoder=encoder))


def named(code: str) -> str:
    atlas = open_atlas()
    return atlas.names["en"][atlas.index[code]]


def test_questions_are_worded_in_every_language():
    assert PICTURE_QUESTIONS.keys() == HOW_MANY.keys() == set(open_atlas().languages)
    assert all(questions.keys() == {WHO, WITH, WHAT} for questions in PICTURE_QUESTIONS.values())
    assert all(question.count("{}") == 1 for question in HOW_MANY.values())


def test_a_drawing_is_asked_who_is_in_it_and_what_they_have():
    asked = {(named(one.concept.code), one.kind): named(one.answer) for one in COMPOSED.compositions}
    assert asked["woman astronaut", WHO] == "woman" and asked["woman astronaut", WITH] == "rocket"
    assert asked["firefighter", WHO] == "person" and asked["firefighter", WITH] == "fire engine"
    assert asked["man running", WHO] == "man" and ("man running", WITH) not in asked
    assert asked["man in manual wheelchair: facing right", WITH] == "manual wheelchair"
    assert asked["person running", WHO] == "person" and asked["rocket", WHAT] == "rocket"
    assert not any(name.startswith("phoenix") for name, _ in asked), "a bird is nobody"


def test_five_folds_hold_out_every_family_once_and_training_knows_every_thing():
    every = {one.concept.family for one in COMPOSED.compositions if one.kind != WHAT}
    held: list[str] = []
    for fold in range(5):
        data = AtlasCompositionsData(fold=fold)
        train, test = (data.asked(split)[0] for split in ("train", "concept"))
        families = {one.concept.family for one in test}
        assert not families & {one.concept.family for one in train if one.kind != WHAT}
        assert {one.answer for one in test} <= {one.answer for one in train}
        assert not {one.concept.code for one in test} & {one.concept.code for one in train}
        held += families
    assert sorted(held) == sorted(every)


def test_the_controls_of_compositions_know_what_they_see():
    seen, held = (composition_controls(COMPOSED, split) for split in ("iid", "concept"))
    assert seen["pixel-nearest"] == 1.0, "a drawing of training is the nearest to itself"
    assert 0.2 < seen["chance"] < 1 / 3 and seen["question-only"] >= seen["majority"]
    assert held["picture-only"] == 0.0, "training never shows a held-out drawing"
    assert held["chance"] < held["pixel-nearest"] < 0.9


def test_compositions_are_read_as_regions_of_the_drawing():
    of = built(COMPOSED)
    source = of.prepared.sources["test-style"]()
    regions = source.batch([0], seeded(0, 0)).inputs.regions
    pixels = of.prepared.illustrate("test-style", 0).pixels[::4, ::4]
    assert regions.features.shape == (17, 432), "sixteen parts and the whole"
    whole = pixels.reshape(12, 4, 12, 4, 3).mean(axis=(1, 3)).round()
    assert np.allclose(regions.features[16].reshape(12, 12, 3) * 255, whole, atol=1)
    assert np.allclose(regions.features[5].reshape(12, 12, 3) * 255, pixels[12:24, 12:24], atol=1)
    assert torch.isfinite(of.model.loss(of.source("train").batch(range(8), seeded(0, 0))))
    assert {one.type for one in of.source("train").about} == {WHO, WITH, WHAT}
    assert {one.type for one in source.about} == {WHO, WITH} and {one.language for one in source.about} == {"en", "sw"}


def test_scenes_hold_as_many_drawings_as_the_answer_says():
    counted = compose_counts(NAMES, "concept", 300)
    atlas = open_atlas()
    for one in counted:
        copies = Counter(one.scene.concepts)
        assert copies[one.concept] == one.count and len(set(one.scene.cells)) == len(one.scene.concepts)
        assert len({atlas.concepts[concept].family for concept in copies}) == 3 and max(copies.values()) <= 4
    numbers = Counter(one.count for one in counted)
    assert set(numbers) == set(range(5)) and min(numbers.values()) > 30


def test_neither_the_question_nor_the_scene_alone_tells_the_number():
    train, test = compose_counts(NAMES, "iid", 3000), compose_counts(NAMES, "style", 400)
    found = count_controls(NAMES, "style", train, test)
    assert found["chance"] == 0.2 and max(found["majority"], found["question-only"]) < 0.3
    assert found["picture-only"] < 0.55, "the scene without the name tells which numbers are there, and not whose"
    assert "pixel-nearest" not in count_controls(NAMES, "concept", train, test[:20])
    assert count_controls(NAMES, "iid", train, train[:200])["pixel-nearest"] == 1.0


def test_training_draws_few_concepts_often_and_the_others_in_a_tail():
    shares = {}
    for skew in (1, 3):
        counts = Counter(concept for one in compose_counts(NAMES, "iid", 3000, skew) for concept in one.scene.concepts)
        shares[skew] = sum(count for _, count in counts.most_common(len(train_concepts(NAMES)) // 8)) / counts.total()
    assert shares[1] < 0.3 < 0.4 < shares[3] < 0.6, "an eighth of them is half of what is shown"
    of = built(replace(NAMES, concept_skew=3, scenes=500))
    scenes, tests = of.source("train"), of.source("test-iid")
    assert tests.about == built(NAMES).source("test-iid").about, "the test draws all of them equally often"
    tailed = [Counter(one.group for one in source.about).most_common(1)[0][1] for source in (scenes, tests)]
    assert tailed[0] > tailed[1], "though the test has twice as many questions"


def test_regions_are_standardized_by_the_drawings_of_training():
    source = built(replace(NAMES, scenes=500)).source("train")
    features = source.batch(range(500), seeded(0, 0)).inputs.regions.features
    assert features.mean().abs() < 0.05 and abs(features.std() - 1) < 0.05
    assert features.mean(dim=0).abs().mean() < 0.15, "white grounds are gone"


def test_the_name_is_in_the_question_for_a_number():
    of = built(NAMES)
    source = of.prepared.sources["test-lang-text"]()
    assert {one.language for one in source.about} == {"sw"}
    picture = of.prepared.illustrate("test-lang-text", 2)
    assert picture.question.startswith("ngapi: ") and picture.pixels.shape == (192, 192, 3)
    batch = source.batch([2], seeded(0, 0))
    assert len(picture.regions) == batch.inputs.regions.features.shape[0]
    assert batch.scores.argmax() == int(source.about[2].target)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"languages": ("en", "xx")}, r"data.languages has 'xx', but questions are asked in ar, de"),
        ({"styles": ("notto",)}, r"no drawings in the style 'notto'; did you mean noto"),
        ({"unseen_style": "noto"}, r"data.unseen_style is noto, which data.styles trains"),
        ({"fold": -1}, r"data.fold is -1, but there are folds 0 to 4"),
        ({"languages": ()}, r"must name at least one language and one style"),
        ({"variants": 0}, r"data.variants is 0 but must be at least 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        AtlasCompositionsData(**settings)


@pytest.mark.parametrize("key", ["scenes", "concept_skew"])
def test_scenes_and_their_tail_are_at_least_one(key):
    with pytest.raises(UserError, match=rf"^data.{key} is 0 but must be at least 1$"):
        replace(NAMES, **{key: 0})


@pytest.mark.parametrize("task", ["vqa", "grounding"])
def test_training_never_shows_the_scenes_of_the_test(task):
    with pytest.raises(UserError, match=r"data.scenes is 1000, with which training would show the scenes of the test"):
        built(replace(NAMES, scenes=1000), task).source("train")


def test_scenes_are_whole_however_skewed_the_concepts_are():
    counts = compose_counts(NAMES, "iid", 200, 40)
    assert all(len(set(one.scene.concepts)) == 3 for one in counts)
    assert {one.count for one in counts} == set(range(5))
