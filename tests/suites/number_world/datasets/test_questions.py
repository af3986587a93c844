"""The settings of Number World reach what is made of it."""

from dataclasses import replace

import pytest
import torch

from mm_kptm.data.sampler import seeded
from mm_kptm.datasets.protocol import DataRequest
from mm_kptm.errors import UserError
from mm_kptm.knowledge.kinds.protocol import find_kind
from mm_kptm.suites.number_world.datasets.questions import knowledge_vqa, parallel_sentences, pretraining
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
    markers = torch.tensor(sorted(specials().never_hidden))
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
