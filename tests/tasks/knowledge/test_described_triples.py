"""Link prediction and triple classification by encoders that read descriptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import mm_kptm
from mm_kptm import cli
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.knowledge.triples import TripleData, read_claims
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.knowledge.embedding.ranking import measures, rank
from mm_kptm.knowledge.embedding.scoring import TransE
from mm_kptm.tasks.knowledge.link_prediction import LinkPrediction
from mm_kptm.tasks.knowledge.triple_classification import TripleClassification, false_ones, thresholds
from mm_kptm.train.settings import TrainSettings

PLACES = [(row, column) for row in range(4) for column in range(4)]
SMALL: dict[str, Any] = {"num_layers": 1, "dim": 32, "num_heads": 2, "ffn_dim": 64, "dropout": 0.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A grid of sixteen entities, told where they lie; some of the steps between neighbours are held out."""
    words = [f"{kind}{number}" for kind in ("row", "column") for number in range(4)]
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *words]))
    (tmp_path / "descriptions.tsv").write_text("".join(f"e{i}\trow{r} column{c}\n" for i, (r, c) in enumerate(PLACES)))
    number = {place: f"e{i}" for i, place in enumerate(PLACES)}
    down = [(number[r, c], "down", number[r + 1, c]) for r, c in PLACES if r < 3]
    right = [(number[r, c], "right", number[r, c + 1]) for r, c in PLACES if c < 3]
    steps = [*down[:9], *right[:9], *down[9:], *right[9:]]
    for part, triples in {"train": steps[:18], "valid": steps[18:21], "test": steps[21:]}.items():
        (tmp_path / f"{part}.tsv").write_text("".join("\t".join(triple) + "\n" for triple in triples))
    return tmp_path


def built(folder: Path, task: str, recipe: str = "kepler-base", **data: Any) -> Built:
    return build(
        Experiment(
            name="triples",
            task=task,
            encoder=EncoderSettings(recipe, sizes=SMALL, init_std=0.1),
            data=TripleData(name="triples", vocabulary=folder / "vocab.txt", folder=folder, **data),
            train=TrainSettings(seed=1),
        )
    )


def learnt(run: Built, steps: int = 120) -> float:
    source, model = run.source("train"), run.model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for step in range(steps):
        loss = model.loss(source.batch(range(len(source)), seeded(0, step)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize("recipe", ["kepler-base", "bert-base"])
def test_what_is_learnt_is_ranked_first(folder: Path, recipe: str) -> None:
    run = built(folder, "link-prediction", recipe, negatives=4)
    model = run.model
    assert isinstance(model, LinkPrediction)
    before = model.summary(model.predictions(run.source("train")))
    learnt(run)
    rows = model.predictions(run.source("train"))
    after = model.summary(rows)
    assert after["mrr"] > max(0.9, before["mrr"] + 0.2)
    assert model.summary(model.predictions(run.source("test")))["mrr"] > 0.4  # steps that were never told
    assert len(rows) == 2 * 18
    assert len({row["id"] for row in rows}) == len(rows)
    assert all((row["rank"] == 1) == (row["answer"] == row["target"]) == bool(row["correct"]) for row in rows)


def test_ranks_are_those_of_the_vectors(folder: Path) -> None:
    run = built(folder, "link-prediction")
    model, source = run.model, run.source("test")
    assert isinstance(model, LinkPrediction)
    model.eval()
    vectors = model.vectors(source, range(16), 5)
    one = torch.cat([model.vectors(source, [number], 5) for number in range(16)])
    torch.testing.assert_close(vectors, one)
    every = torch.cat([run.source(split).triples for split in ("train", "dev", "test")])
    found = measures(rank(TransE(vectors, model.scorer.relation.weight.detach(), norm=2), source.triples, every).both)
    told = model.summary(model.predictions(source, batch_size=3))
    assert told["mrr"] == pytest.approx(found["mrr"])
    assert told["hits@3"] == pytest.approx(found["hits@3"])
    assert told["mrr"] == pytest.approx((told["head-mrr"] + told["tail-mrr"]) / 2)


def test_other_known_answers_are_no_rivals(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "train.tsv").write_text("e0\tnear\te1\ne0\tnear\te4\ne0\tnear\te5\n")
    run = built(folder, "link-prediction")
    model = run.model
    assert isinstance(model, LinkPrediction)
    places = torch.zeros(16, SMALL["dim"])
    places[:, 0] = 100.0 * torch.arange(16)
    places[[0, 1, 4, 5], 0] = torch.tensor([0.0, 10.0, 11.0, 12.0])  # one behind the other, e1 where the relation leads
    with torch.no_grad():
        model.scorer.relation.weight.zero_()[:, 0] = 10.0
    monkeypatch.setattr(model, "vectors", lambda source, numbers, batch_size: places[list(numbers)])
    rows = [row for row in model.predictions(run.source("train")) if row["type"] == "tail"]
    assert [(row["answer"], row["rank"]) for row in rows] == [("e1", 1), ("e4", 1), ("e5", 1)]


def test_candidates_can_be_those_of_the_split(folder: Path) -> None:
    source = built(folder, "link-prediction", candidates="split").source("test")
    assert source.candidates == (12, 13, 14, 15)
    model = built(folder, "link-prediction", candidates="split").model
    assert isinstance(model, LinkPrediction)
    assert {row["answer"] for row in model.predictions(source)} <= {"e12", "e13", "e14", "e15"}


def test_true_and_false_triples_are_told_apart_by_thresholds_of_dev(folder: Path) -> None:
    (folder / "valid.tsv").write_text((folder / "train.tsv").read_text())
    run = built(folder, "triple-classification", negatives=4)
    model = run.model
    assert isinstance(model, TripleClassification)
    learnt(run)
    rows = model.predictions(run.source("train"))
    assert [row["target"] for row in rows] == ["true"] * 18 + ["false"] * 18
    assert sum(row["correct"] for row in rows) / len(rows) > 0.8
    assert rows == model.predictions(run.source("train"), batch_size=5)
    known = {tuple(triple) for split in ("train", "dev") for triple in run.source(split).triples.tolist()}
    assert not known & {tuple(triple) for triple in false_ones(run.source("train"))}


def test_named_false_triples_are_asked(folder: Path) -> None:
    (folder / "test.tsv").write_text("e9\tright\te10\t1\ne9\tright\te3\t-1\n")
    run = built(folder, "triple-classification")
    assert isinstance(run.model, TripleClassification)
    rows = run.model.predictions(run.source("test"))
    assert [(row["group"], row["target"]) for row in rows] == [("e9 right e10", "true"), ("e9 right e3", "false")]


def test_thresholds_tell_as_many_rightly_as_any() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(6, (40,), generator=generator).float()
    relations = torch.randint(3, (40,), generator=generator)
    truth = torch.rand(40, generator=generator) < 0.5
    bounds = thresholds(scores, relations, truth, 4)
    tried = torch.arange(-1, 7) + 0.5
    for relation in range(3):
        chosen = relations == relation
        told = [((scores[chosen] > bound) == truth[chosen]).sum() for bound in tried]
        assert ((scores[chosen] > bounds[relation]) == truth[chosen]).sum() == max(told)
    assert ((scores > bounds[3]) == truth).sum() == max(((scores > bound) == truth).sum() for bound in tried)
    with pytest.raises(UserError, match="thresholds are chosen on the dev split, but it has no triples"):
        thresholds(scores[:0], relations[:0], truth[:0], 3)


def test_the_command_line_trains_and_measures_both(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    for task in ("link-prediction", "triple-classification"):
        Path("run.yaml").write_text(
            f"name: {task}\ntask: {task}\ndata: {{name: triples, vocabulary: vocab.txt, folder: .}}\n"
            f"encoder: {{recipe: kepler-base, init_std: 0.1, sizes: {json.dumps(SMALL)}}}\n"
            "train: {steps: 2, batch_size: 8, lr: 1e-3}\n"
        )
        assert cli.main(["train", "run.yaml"]) == 0
        capsys.readouterr()
        assert cli.main(["evaluate", f"runs/{task}", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found.keys() >= ({"mrr", "hits@10", "leads"} if task == "link-prediction" else {"accuracy", "leads"})
        assert cli.main(["data", "validate", task, "test.tsv", "--format", "triples"]) == 0
        capsys.readouterr()


def test_what_does_not_fit_is_one_sentence(folder: Path) -> None:
    with pytest.raises(UserError, match=r"the head knowledge-embedding of kepler-base has vectors of 1 relations, but"):
        small = mm_kptm.build("kepler-base", heads={"knowledge-embedding": {"num_relations": 1}}, **SMALL)
        LinkPrediction(small, 2)
    with pytest.raises(UserError, match=r"data.negatives is 0 but must be at least 1"):
        built(folder, "link-prediction", negatives=0)
    (folder / "test.tsv").write_text("e1\tnext\tmars\n")
    with pytest.raises(UserError, match=r"test.tsv is about 1 entities without a description, such as mars; describe"):
        built(folder, "link-prediction")
    (folder / "test.tsv").write_text("\n")
    with pytest.raises(UserError, match=r"test.tsv holds no true triple; it needs one at least"):
        built(folder, "link-prediction")
    for line in ("e1\tnext\n", "e1\tnext\te2\tmaybe\n", "e1\tnext\te2\t1\tmore\n", "e1\t\te2\n"):
        (folder / "test.tsv").write_text("e1\tnext\te2\n" + line)
        with pytest.raises(
            UserError, match=r"test.tsv, line 2 is .*; a triple is head, relation and tail between tabs"
        ):
            read_claims(folder / "test.tsv")
    (folder / "valid.tsv").unlink()
    with pytest.raises(UserError, match=r"has no valid.tsv, on which triple-classification chooses its thresholds"):
        built(folder, "triple-classification")
    (folder / "train.tsv").unlink()
    with pytest.raises(UserError, match=r"has no train.tsv or train.txt; name a folder with triples to learn from"):
        built(folder, "link-prediction")
    with pytest.raises(UserError, match=r"nix was to be read, but there is no such file"):
        read_claims(folder / "nix")
