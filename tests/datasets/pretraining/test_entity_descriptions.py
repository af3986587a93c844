"""Mentions meet descriptions of their entities in other languages."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mm_kptm.crosslingual.corpora.tokenized_descriptions import language_number
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.pretraining.entity_descriptions import EntityDescriptions
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from tests.arrow_folders import save

WORDS = ["i", "like", "rome", "and", "paris", "a", "city", "eine", "stadt", "in", "near"]
IDS = {word: len(BERT_SPECIALS) + place for place, word in enumerate(WORDS)}
SIZES = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 8, "max_positions": 24, "dropout": 0.0}
TEXTS: list[dict[str, Any]] = [
    {
        "text": "I like Rome and Paris",
        "mentions": [{"span": [7, 11], "entity": "Q1"}, {"span": [16, 21], "entity": "Q2"}],
    },
    {
        "text": "Rome",
        "language": "de",
        "mentions": [{"span": [0, 4], "entity": "Q1"}, {"span": [0, 4], "entity": "Q9"}],
    },
]
DESCRIBED = ["Q1\ten\ta city", "Q1\tde\teine stadt", "Q2\ten\tparis a city"]


@pytest.fixture
def data(tmp_path: Path) -> EntityDescriptions:
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, TEXTS)) + "\n")
    (tmp_path / "described.tsv").write_text("\n".join(DESCRIBED) + "\n")
    (tmp_path / "triples.tsv").write_text("Q1\tnear\tQ2\nQ2\tin\tQ9\n")
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *WORDS]) + "\n")
    return EntityDescriptions(
        name="entity-descriptions",
        vocabulary=tmp_path / "vocab.txt",
        train=tmp_path / "texts.jsonl",
        descriptions=tmp_path / "described.tsv",
        triples=tmp_path / "triples.tsv",
        max_length=16,
    )


def built(data: EntityDescriptions, objective: str) -> Built:
    return build(Experiment("own", EncoderSettings("xlm-k-base", SIZES), data, objectives={objective: 1.0}))


def test_a_mention_meets_a_description_in_another_language(data: EntityDescriptions) -> None:
    source = built(data, "entity-definition").training
    batch = source.batch([0, 1, 2], seeded(0)).by_name["entity-definition"]
    assert len(source) == 3, "a mention without a description is left out"
    assert [int(batch.starts[place]) - batch.text.layout.offsets[place] for place in range(3)] == [3, 5, 1]
    documents = [part.tolist()[1:-1] for part in batch.documents.layout.split(batch.documents.ids)]
    assert documents == [
        [IDS["eine"], IDS["stadt"]],
        [IDS["paris"], IDS["a"], IDS["city"]],
        [IDS["a"], IDS["city"]],
    ]


def test_negatives_may_be_of_the_language_of_the_text(data: EntityDescriptions) -> None:
    arguments = {"entity-definition": {"multi_queue": True, "queue_size": 8}}
    asked = Experiment(
        "own",
        EncoderSettings("xlm-k-base", SIZES),
        data,
        objectives={"entity-definition": 1.0},
        objective_arguments=arguments,
    )
    found = build(asked)
    batch = found.training.batch([0, 1, 2], seeded(0))
    languages = batch.by_name["entity-definition"].languages
    assert languages is not None and languages.tolist() == [language_number(code) for code in ("en", "en", "de")]
    found.model.train()
    found.model.loss(batch)
    head = found.model.system.head("entity-definition")
    assert head.languages.tolist() == [-1] * 5 + languages.tolist()


def test_a_triple_is_a_subject_with_its_relation_and_an_object(data: EntityDescriptions) -> None:
    source = built(data, "object-entailment").training
    batch = source.batch([0], seeded(0)).by_name["object-entailment"]
    assert len(source) == 1
    assert batch.subjects.ids.tolist() == [2, IDS["a"], IDS["city"], 3, IDS["near"], 3]
    assert batch.objects.ids.tolist() == [2, IDS["paris"], IDS["a"], IDS["city"], 3]


def test_folders_of_datasets_are_read_as_files_are(data: EntityDescriptions, tmp_path: Path) -> None:
    columns = dict(
        zip(("entity", "language", "text"), zip(*(line.split("\t") for line in DESCRIBED), strict=True), strict=True)
    )
    folder = replace(
        data,
        descriptions=save(tmp_path / "described", columns, files=2),
        triples=save(tmp_path / "claims", {"head": ["Q1", "Q2"], "relation": ["near", "in"], "tail": ["Q2", "Q9"]}),
    )
    sources = [built(one, "object-entailment").training for one in (data, folder)]
    one, other = (source.batch([0], seeded(0)).by_name["object-entailment"] for source in sources)
    assert one.subjects.ids.tolist() == other.subjects.ids.tolist()
    assert one.objects.ids.tolist() == other.objects.ids.tolist()
    save(tmp_path / "torn", {**columns, "language": ["en", None, "en"]})
    with pytest.raises(UserError, match=r"torn, row 2 should be an entity, a language and a description, set apart by"):
        built(replace(data, descriptions=tmp_path / "torn"), "object-entailment").source("train")


@pytest.mark.parametrize("objective", ["entity-definition", "object-entailment", "masked-tokens"])
def test_a_token_store_has_the_batches_of_texts_in_memory(
    objective: str, data: EntityDescriptions, tmp_path: Path
) -> None:
    """Also where descriptions and relations are too long, and where one is told twice."""
    long = " ".join(["city"] * 20)
    (tmp_path / "described.tsv").write_text("\n".join([*DESCRIBED, DESCRIBED[0], f"Q3\ten\t{long}"]) + "\n")
    (tmp_path / "triples.tsv").write_text(f"Q1\tnear\tQ2\nQ3\tin near\tQ1\nQ2\t{long}\tQ3\n")
    stored = replace(data, token_store=tmp_path / "store")
    in_memory, on_disk, again = (built(one, objective).training for one in (data, stored, stored))
    indices = range(len(in_memory))
    one, *others = (source.batch(indices, seeded(0)).by_name[objective] for source in (in_memory, on_disk, again))
    assert all(str(other) == str(one) for other in others)
    for source in (in_memory, on_disk):
        lengths = [source.length(index) for index in indices]
        assert lengths == source.lengths.tolist()
        if objective == "object-entailment":
            ends = one.subjects.layout.lengths, one.objects.layout.lengths
            assert lengths == [sum(both) for both in zip(*ends, strict=True)]
    assert len(list((tmp_path / "store").glob("*/store.json"))) == (1 if objective == "masked-tokens" else 2)


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("described.tsv", "Q1\ten", "line 1 should be an entity, a language and a description, set apart by tabs"),
        ("described.tsv", "Q1\ten\ta\nQ1\ten\tb", "line 2 describes Q1 in 'en' a second time; once is enough"),
        ("described.tsv", "Q7\ten\ta", "no mention in .* is of an entity that data.descriptions describes"),
        ("triples.tsv", "Q1\tQ2", "line 1 has 2 columns instead of 3; tabs part head, relation and tail"),
        ("triples.tsv", "Q1\tin\tQ9", "no triple in .* joins two entities that data.descriptions describes"),
    ],
)
def test_files_that_do_not_fit_are_refused(file: str, line: str, message: str, data: EntityDescriptions) -> None:
    (data.descriptions.parent / file).write_text(f"{line}\n")
    objective = "entity-definition" if file == "described.tsv" else "object-entailment"
    with pytest.raises(UserError, match=message):
        built(data, objective).source("train")


def test_triples_are_needed_where_they_are_read(data: EntityDescriptions) -> None:
    with pytest.raises(UserError, match=r"does not have; name a file of triples as data.triples$"):
        built(replace(data, triples=None), "object-entailment")
