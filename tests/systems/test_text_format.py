"""The form in which a family reads texts is part of its recipe, and no name of a family is compared for it."""

import re
from pathlib import Path

import pytest

import mm_kptm
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.datasets.knowledge_settings import KnowledgeTextSettings
from mm_kptm.datasets.text.mention_datasets import OpenEntityData
from mm_kptm.systems.discovery import find
from mm_kptm.systems.text_format import BERT_FORMAT, UER_FORMAT, SequenceTemplate, TextFormat

PACKAGE = Path(mm_kptm.__file__).parent
BERT_IDS = Specials(pad=0, unknown=1, start=2, stop=3, mask=4)
ROBERTA_IDS = Specials(pad=1, unknown=3, start=0, stop=2, mask=4, between=2)


@pytest.mark.parametrize(
    ("template", "specials", "single", "pair"),
    [
        (SequenceTemplate(), BERT_IDS, [2, 7, 8, 3], [2, 7, 8, 3, 9, 3]),
        (SequenceTemplate(), ROBERTA_IDS, [0, 7, 8, 2], [0, 7, 8, 2, 2, 9, 2]),
        (UER_FORMAT.template, BERT_IDS, [2, 7, 8], [2, 7, 8, 3, 9, 3]),
        (UER_FORMAT.word_template, BERT_IDS, [7, 8], [7, 8, 3, 9, 3]),
    ],
)
def test_a_template_leaves_room_for_exactly_what_it_adds(template, specials, single, pair):
    assert template.around([[7, 8]], specials) == single
    assert template.around([[7, 8], [9]], specials) == pair
    assert template.max_pieces(len(single), 1, specials) == 2
    assert template.max_pieces(len(pair), 2, specials) == 3


def test_the_published_formats_are_those_of_their_families():
    formats = {name: recipe.text for name, recipe in mm_kptm.catalogue().items() if recipe.text != BERT_FORMAT}
    clip = {name for name in formats if find(name).family in ("clip", "open-clip")}
    t5 = {name for name in formats if find(name).family in ("t5", "mt5")}
    assert formats.keys() - clip - t5 == {
        "kbert-base",
        "k-adapter-large",
        "k-adapter-factual",
        "k-adapter-linguistic",
        "kepler-base",
        "xlm-15",
        "unicoder-15",
        "siglip-b-16",
        *("laser", "multifit", "multifit-backward", "multifit-bidirectional", "mbart-large-50", "mbart-large-cc25"),
        *("uniter-base", "uniter-large", "visualbert-base", "vl-bert-base", "vl-bert-large", "vlp-base"),
    }
    assert all(formats[name] == TextFormat(tokenizer="clip") for name in clip)
    assert t5 and all(formats[name] == TextFormat(tokenizer="t5") for name in t5)
    assert formats["siglip-b-16"] == TextFormat(tokenizer="siglip")
    assert formats["kbert-base"] == UER_FORMAT
    assert formats["k-adapter-large"].markers["relation-classification"].pieces == ("@", "@", "#", "#")
    assert formats["kepler-base"].markers["entity-typing"].inside
    assert len(formats["xlm-15"].languages) == find("xlm-15").published_sizes()["num_languages"]


def test_settings_take_the_format_of_the_recipe_unless_they_name_another(tmp_path):
    settings = KnowledgeTextSettings(name="x", vocabulary=tmp_path)
    assert settings.text_format(find("kbert-base")) is UER_FORMAT
    assert settings.text_format(find("bert-base")) is BERT_FORMAT
    assert KnowledgeTextSettings(name="x", vocabulary=tmp_path, layout="bert").text_format(find("kbert")) is BERT_FORMAT
    data = OpenEntityData(name="open-entity", vocabulary=tmp_path, train=tmp_path)
    assert data.text_format(find("k-adapter-large")) == TextFormat(markers=find("k-adapter-large").text.markers)


def test_no_data_set_and_no_task_compares_names_of_families():
    for room in ("datasets", "tasks", "preprocessing", "experiment"):
        for path in (PACKAGE / room).rglob("*.py"):
            assert not re.search(r"\.family\b", path.read_text()), path
