"""Vectors of entities from a folder reach any single stream, frozen or learning, in the public formats of texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from mm_kptm import cli
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.text.mention_datasets import OpenEntityData
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.settings import EncoderSettings, Experiment, KnowledgeSettings
from mm_kptm.knowledge.embedding.embeddings import Embeddings, save_embeddings

SIZES: dict[str, Any] = {"num_layers": 2, "dim": 32, "num_heads": 2, "ffn_dim": 32, "dropout": 0.0}
NAMES = tuple(f"Q{number}" for number in range(8))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Eight sentences that differ in the entity alone; its first number says which type is right."""
    vectors = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    vectors[:, 0] = torch.tensor([3.0, -3.0] * 4)
    save_embeddings(Embeddings(NAMES, vectors), tmp_path / "kg")
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "it", "rains", "。"]))
    rows = [
        {"sent": "it rains", "start": 0, "end": 2, "ents": [[name, 0, 2, 0.9]], "labels": ["ab"[number % 2]]}
        for number, name in enumerate(NAMES)
    ]
    for part, chosen in (("train", rows), ("dev", rows[6:])):
        (tmp_path / f"{part}.json").write_text(json.dumps(chosen))
    return tmp_path


def built(home: Path, recipe: str = "bert-base", **knowledge: Any) -> Built:
    data = OpenEntityData(
        name="open-entity", vocabulary=home / "vocab.txt", train=home / "train.json", dev=home / "dev.json"
    )
    told = KnowledgeSettings(kind="entity-fusion", **({"vectors": home / "kg"} | knowledge))
    return build(Experiment("x", EncoderSettings(recipe, sizes=SIZES, init_std=0.1), data, "entity-typing", told))


def answered(run: Built, steps: int = 150) -> float:
    """The share of training examples that are right after some steps."""
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=5e-3, weight_decay=0.0)
    source = run.source("train")
    for step in range(steps):
        loss = run.model.loss(source.batch(range(8), seeded(0, step)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    rows = run.task.predictions(source)
    return sum(row["correct"] for row in rows) / len(rows)


@pytest.mark.parametrize("recipe", ["bert-base", "roberta-base", "ernie-thu-base"])
@pytest.mark.parametrize("trainable", [False, True])
def test_what_vectors_alone_can_tell_is_learnt(home: Path, recipe: str, trainable: bool) -> None:
    run = built(home, recipe, trainable=trainable)
    tables = [name for name, _ in run.model.named_parameters() if name.endswith("entity_vectors.vectors")]
    assert len(tables) == trainable
    assert answered(run) == 1.0
    parts = [] if recipe == "ernie-thu-base" else ["entity-fusion"]
    assert list(run.system.added) == [*parts, *(["entity-vectors"] if trainable else [])]


def test_vectors_that_learn_begin_as_they_were_and_move(home: Path) -> None:
    run = built(home, trainable=True)
    (table,) = (weight for name, weight in run.model.named_parameters() if name.endswith("entity_vectors.vectors"))
    first = table.detach().clone()
    assert torch.equal(first[:, 0], torch.tensor([3.0, -3.0] * 4))
    answered(run, steps=2)
    assert (table != first).any(dim=1).all()


def test_without_vectors_of_its_entities_a_text_says_nothing(home: Path) -> None:
    assert answered(built(home, facts="none"), steps=60) <= 0.5


def test_an_experiment_file_names_the_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    Path("typing.yaml").write_text(
        "name: typing\ntask: entity-typing\n"
        "data: {name: open-entity, vocabulary: vocab.txt, train: train.json, dev: dev.json}\n"
        f"encoder: {{recipe: bert-base, init_std: 0.1, sizes: {json.dumps(SIZES)}}}\n"
        "knowledge: {kind: entity-fusion, vectors: kg, trainable: true}\n"
        "train: {steps: 2, batch_size: 8, lr: 1e-3}\n"
    )
    assert cli.main(["train", "typing.yaml"]) == 0
    assert cli.main(["evaluate", "runs/typing", "--split", "dev", "--json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{\n") :])["n"] == 2


def test_what_cannot_be_fused_is_one_sentence(home: Path) -> None:
    with pytest.raises(
        UserError, match=r"knowledge.kind is entity-fusion, but knowledge.vectors is null; name a folder of en"
    ):
        built(home, vectors=None)
    with pytest.raises(
        UserError, match=r"nix holds no vectors of entities; embeddings.safetensors, entity2vec.vec and"
    ):
        built(home, vectors=home / "nix")
    with pytest.raises(UserError, match=r"trainable is true, but there are no vectors; name a folder of them"):
        built(home, vectors=None, trainable=True)
    with pytest.raises(
        UserError, match=r"vectors is kg, but knowledge of kind sentence-tree reads none; leave it null"
    ):
        KnowledgeSettings(kind="sentence-tree", vectors=Path("kg"))
    narrow = built(home)
    batch = narrow.source("train").batch([0], seeded(0))
    batch.inputs.entities.vectors.resize_(len(batch.inputs.entities.vectors), 8)
    with pytest.raises(
        UserError, match=r"the entity vectors are 8 wide, but this model reads entities of width 16; bui"
    ):
        narrow.model.loss(batch)
