"""The settings of Number World reach what is made of it."""

from dataclasses import replace

import pytest
import torch

from mm_kptm.data.sampler import seeded
from mm_kptm.datasets.protocol import DataRequest
from mm_kptm.errors import UserError
from mm_kptm.knowledge.kinds.protocol import find_kind
from mm_kptm.suites.number_world.datasets.parallel_texts import parallel_sentences, pretraining
from mm_kptm.suites.number_world.datasets.questions import asked_about_facts, knowledge_vqa, vqa
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.suites.number_world.datasets.sources import specials
from mm_kptm.systems.discovery import find

SAID = NumberWorldData(questions=60, eval_questions=12, numbers=24, languages=("en", "de"), texts="translations")
REQUEST = DataRequest(find("xlm-15"), objectives={"masked-tokens": 1.0})


def test_sentences_are_about_the_topics_asked_for():
    data = replace(SAID, topics=("owner", "colour"))
    source = parallel_sentences(data, REQUEST).sources["test"]()
    assert {meaning.type for meaning in source.meanings} == {"owner", "colour"}


def test_a_topic_that_does_not_exist_is_named():
    with pytest.raises(UserError, match="there are no sentences about 'weather'; the topics are caption, colour"):
        parallel_sentences(replace(SAID, topics=("weather",)), REQUEST).sources["test"]()


@pytest.mark.parametrize("share", [0.15, 0.4])
def test_the_share_hidden_is_the_one_asked_for(share):
    source = pretraining(replace(SAID, mask_rate=share), REQUEST).sources["train"]()
    every = range(len(source))
    batch = source.batch(every, seeded(0)).by_name["masked-tokens"]
    markers = torch.tensor(sorted(specials().never_masked))
    may = (~torch.isin(source.inputs.batch(every, seeded(0)).text.ids, markers)).sum().item()
    assert len(batch.rows) / may == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("side", ["dev", "test"])
def test_both_sides_that_are_measured_can_be_told_other_facts(side):
    data = NumberWorldData(split="world", questions=30, eval_questions=20, numbers=20)
    sources = knowledge_vqa(data, DataRequest(find("uniter-base"), find_kind("sentence-tree"), "true")).sources
    true, swapped = (sources[split]().about for split in (side, f"{side}-swapped"))
    assert [about.id for about in swapped] == [about.id for about in true]
    assert [about.factual_answer for about in swapped] == [about.target for about in true]
    assert all(about.factual_answer != about.target for about in swapped)


@pytest.mark.parametrize("split", ["joint", "hop"])
def test_the_number_between_the_hops_is_the_one_that_the_image_shows(split):
    data = NumberWorldData(split=split, questions=30, eval_questions=30, numbers=20, num_perception_questions=10)
    sources = knowledge_vqa(data, DataRequest(find("uniter-base"), find_kind("sentence-tree"), "true")).sources
    train, test = sources["train"](), sources["test"]()
    labels = train.shown.labels["bridge-entity"].tolist()
    assert [label >= 0 for label in labels] == [about.id.startswith("fact") for about in train.about]
    scenes, questions = asked_about_facts(data, "test", "true", data.worlds)
    seen = [scenes.things(question.scene)[question.subject].value for question in questions]
    assert test.batch(range(30), seeded(0)).inputs.labels["bridge-entity"].tolist() == seen


def test_wordings_of_facts_may_be_answered_by_the_number_that_they_mean():
    data = NumberWorldData(questions=20, eval_questions=10, numbers=20, num_bridge_questions=30, relations=("owner",))
    source = vqa(data, DataRequest(find("uniter-base"))).sources["train"]()
    bridges = [number for number, about in enumerate(source.about) if about.type == "bridge"]
    assert len(source) == 50 and len(bridges) == 30
    batch = source.batch(bridges, seeded(0))
    said = [f"number:{number}" for number in batch.inputs.labels["bridge-entity"].tolist()]
    assert [about.target for about in batch.about] == said
    assert [source.answers[place] for place in batch.scores.argmax(1).tolist()] == said
    assert batch.inputs.text.attention_mask is None, "no fact is told"


def test_the_numbers_of_questions_cannot_be_negative():
    with pytest.raises(UserError, match=r"^data.num_bridge_questions is -1 but must not be negative$"):
        replace(SAID, num_bridge_questions=-1)
