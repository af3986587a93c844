"""A transfer protocol chooses the training examples by their language, and leaves the others alone."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mm_kptm import config
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.comparison import compare
from mm_kptm.experiment.settings import Experiment

WORDS = [
    "the",
    "house",
    "is",
    "red",
    "blue",
    "das",
    "haus",
    "ist",
    "rot",
    "blau",
    "la",
    "maison",
    "est",
    "rouge",
    "bleue",
]
SAID = {
    "en": ["the house is red", "the house is blue"] * 3,
    "de": ["das haus ist rot", "das haus ist blau"] * 2,
    "fr": ["la maison est rouge", "la maison est bleue"] * 2,
}


def rows(texts: dict[str, list[str]]) -> str:
    lines = [
        {"text": text, "label": ("red", "blue")[number % 2], "language": language}
        for language, said in texts.items()
        for number, text in enumerate(said)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


@pytest.fixture
def settings(tmp_path: Path) -> Any:
    (tmp_path / "train.jsonl").write_text(rows(SAID))
    (tmp_path / "test.jsonl").write_text(rows({language: said[:2] for language, said in SAID.items()}))
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *WORDS]) + "\n")

    def made(**transfer: Any) -> Experiment:
        written = {
            "name": str(transfer.get("protocol", "all")),
            "task": "sentence-classification",
            "data": {
                "name": "custom-text",
                "train": str(tmp_path / "train.jsonl"),
                "test": str(tmp_path / "test.jsonl"),
                "vocabulary": str(tmp_path / "vocab.txt"),
                "languages": ["de", "en", "fr"],
            },
            "transfer": transfer or None,
            "encoder": {"recipe": "xlm-15", "sizes": {"dim": 8, "num_heads": 2, "num_layers": 1, "max_positions": 16}},
            "train": {"steps": 2, "batch_size": 4},
        }
        path = tmp_path / "experiment.yaml"
        path.write_text(json.dumps(written))
        return config.read(Experiment, path)

    return made


def trained(built: Built) -> list[str]:
    source = built.training
    return [about.language for about in source.batch(range(len(source)), seeded(0)).about]


@pytest.mark.parametrize(
    ("transfer", "expected"),
    [
        ({"protocol": "zero-shot"}, {"en": 6}),
        ({"protocol": "translate-train", "targets": ["de"]}, {"de": 4}),
        ({"protocol": "translate-train-all"}, {"en": 6, "de": 4, "fr": 4}),
        ({"protocol": "translate-train-all", "targets": ["fr"]}, {"en": 6, "fr": 4}),
        ({"protocol": "few-shot", "shots": 3}, {"en": 6, "de": 3, "fr": 3}),
        ({"protocol": "translate-test", "source": "de"}, {"de": 4}),
    ],
)
def test_training_examples_are_in_the_languages_of_the_protocol(transfer: Any, expected: Any, settings: Any) -> None:
    built = build(settings(**transfer))
    spoken = trained(built)
    assert {language: spoken.count(language) for language in spoken} == expected
    assert len(built.source("test")) == 6


def test_shots_are_drawn_by_their_seed(settings: Any) -> None:
    drawn = []
    for seed in (0, 0, 1, 2, 3):
        source = build(settings(protocol="few-shot", shots=2, seed=seed)).training
        drawn.append([about.id for about in source.batch(range(len(source)), seeded(0)).about])
    assert drawn[0] == drawn[1] and len({tuple(one) for one in drawn}) > 1


def test_translate_test_reads_every_test_as_the_source(settings: Any) -> None:
    built = build(settings(protocol="translate-test"))
    test = built.source("test").batch(range(6), seeded(0))
    assert set(test.inputs.text.languages.tolist()) == {1}
    assert [about.language for about in test.about] == ["en", "en", "de", "de", "fr", "fr"]
    plain = build(settings()).source("test").batch(range(6), seeded(0))
    assert set(plain.inputs.text.languages.tolist()) == {0, 1, 2}


def test_a_comparison_has_a_table_by_language_with_the_gap(settings: Any, tmp_path: Path) -> None:
    arms = [settings(protocol="zero-shot"), settings(protocol="translate-train-all")]
    found = compare(arms, tmp_path / "out", seeds=2, workers=1, nulls=False, unequal=True).comparison
    (table,) = (table for table in found.tables if table.title == "Split test, by language")
    values = {(row.arm, row.metric): row.value for row in table.rows}
    assert {metric for arm, metric in values if arm == "zero-shot"} == {"de", "en", "fr", "average", "gap from en"}
    gap = values["zero-shot", "en"] - (values["zero-shot", "de"] + values["zero-shot", "fr"]) / 2
    assert values["zero-shot", "gap from en"] == pytest.approx(gap)
    average = sum(values["zero-shot", language] for language in ("de", "en", "fr")) / 3
    assert values["zero-shot", "average"] == pytest.approx(average)


@pytest.mark.parametrize(
    ("transfer", "message"),
    [
        ({"protocol": "few-shot"}, "transfer.shots is 0, but few-shot takes 1 example or more"),
        ({"protocol": "zero-shot", "shots": 3}, "transfer.shots is 3, but few-shot takes"),
        (
            {"protocol": "translate-train"},
            "transfer.targets has 0 languages, but translate-train trains a model for one",
        ),
        ({"protocol": "zero-shot", "targets": ["en"]}, "transfer.targets has the source 'en'; name other languages"),
        (
            {"protocol": "zero-shot", "source": "ru"},
            "trains on examples in 'ru', but data.train has en, de, fr",
        ),
        ({"protocol": "few-shot", "shots": 9}, "9 shots in 'de' were asked for, but data.train has 4 examples in it"),
    ],
)
def test_what_a_protocol_lacks_is_named(transfer: Any, message: str, settings: Any) -> None:
    with pytest.raises(UserError, match=message):
        build(settings(**transfer)).source("train")


def test_words_of_training_texts_are_switched_anew_for_every_batch(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "en-de.txt").write_text("house\thaus\nred rot\n")
    path = tmp_path / "experiment.yaml"
    settings(protocol="zero-shot")
    written = json.loads(path.read_text())
    written["data"]["code_switching"] = {"dictionaries": {"de": str(tmp_path / "en-de.txt")}, "token_rate": 0.5}
    path.write_text(json.dumps(written))
    built = build(config.read(Experiment, path))
    shown = set()
    for seed in range(12):
        batch = built.training.batch([0], torch.Generator().manual_seed(seed))
        again = built.training.batch([0], torch.Generator().manual_seed(seed))
        assert torch.equal(batch.inputs.text.ids, again.inputs.text.ids)
        shown.add(" ".join((*BERT_SPECIALS, *WORDS)[number] for number in batch.inputs.text.ids[1:-1].tolist()))
    assert shown == {f"the {house} is {red}" for house in ("house", "haus") for red in ("red", "rot")}
    test = built.source("test").batch([0], seeded(0)).inputs.text.ids[1:-1].tolist()
    assert [(*BERT_SPECIALS, *WORDS)[number] for number in test] == ["the", "house", "is", "red"]
    assert "code_switching.de" in built.prepared.fingerprints
    written["data"]["code_switching"] = {"token_rate": 0.5}
    path.write_text(json.dumps(written))
    with pytest.raises(UserError, match=r"code_switching has no dictionaries; name a file by language"):
        config.read(Experiment, path)
