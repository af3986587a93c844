"""What a run leaves in ``model/`` is the system it trained, with all that knowledge put around it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mm_kptm
from mm_kptm import cli, experiment
from mm_kptm.adaptation.side_adapter import AdaptedStream
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.protocol import PreparedData
from mm_kptm.datasets.text.mention_datasets import OpenEntityData
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.knowledge import apply_knowledge
from mm_kptm.experiment.settings import EncoderSettings, Experiment, Kind, KnowledgeSettings
from mm_kptm.knowledge.embedding.embeddings import Embeddings, save_embeddings
from mm_kptm.knowledge.fusion.entity_embedding import WithVectors
from mm_kptm.knowledge.fusion.ernie import FusedStream
from mm_kptm.knowledge.fusion.kar import RecontextualisedStream
from mm_kptm.models.single import SingleStream
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.train.settings import TrainSettings

SIZES: dict[str, Any] = {"num_layers": 2, "dim": 16, "num_heads": 2, "ffn_dim": 32, "dropout": 0.0}
DATA = NumberWorldData(questions=60, eval_questions=20, languages=("en",))
FRESH = EncoderSettings("uniter-base", sizes=SIZES, init_std=0.1)
MADE: dict[Kind, type] = {
    "sentence-tree": SingleStream,
    "entity-fusion": FusedStream,
    "kar": RecontextualisedStream,
    "side-adapter": AdaptedStream,
    "knowledge-embedding": SingleStream,
}
HEADS = {"side-adapter": {"fact-completion"}, "knowledge-embedding": {"knowledge-embedding"}}


def told(out: Path, kind: Kind, name: str = "first", encoder: EncoderSettings = FRESH, **changes: Any) -> Experiment:
    """Questions about facts of Number World."""
    train = TrainSettings(steps=4, batch_size=16, lr=1e-2)
    knowledge = KnowledgeSettings(kind)
    return replace(Experiment(name, encoder, DATA, "knowledge-vqa", knowledge, train=train, out=out), **changes)


def home(at: Path, entities: int = 8, seed: int = 0) -> Path:
    """Sentences that name entities, and a folder of vectors for them."""
    at.mkdir(exist_ok=True)
    names = tuple(f"Q{number}" for number in range(entities))
    vectors = torch.randn(entities, 16, generator=torch.Generator().manual_seed(seed))
    save_embeddings(Embeddings(names, vectors), at / "kg")
    (at / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "it", "rains", "。"]))
    rows = [
        {"sent": "it rains", "start": 0, "end": 2, "ents": [[name, 0, 2, 0.9]], "labels": ["ab"[number % 2]]}
        for number, name in enumerate(names)
    ]
    for part, chosen in (("train", rows), ("dev", rows[4:])):
        (at / f"{part}.json").write_text(json.dumps(chosen))
    return at


def typed(at: Path, name: str = "first", weights: Path | None = None, steps: int = 4, **knowledge: Any) -> Experiment:
    """Types of entities whose vectors learn."""
    data = OpenEntityData(name="open-entity", vocabulary=at / "vocab.txt", train=at / "train.json", dev=at / "dev.json")
    asked = KnowledgeSettings(**({"kind": "entity-fusion", "vectors": at / "kg", "trainable": True} | knowledge))
    encoder = EncoderSettings("bert-base", sizes={} if weights else SIZES, weights=weights, init_std=0.1)
    train = TrainSettings(steps=steps, batch_size=8, lr=5e-3)
    return Experiment(name, encoder, data, "entity-typing", asked, train=train, out=at)


def trained(settings: Experiment) -> Path:
    """The model folder of a run."""
    experiment.train(settings, settings.folder, progress=False)
    return settings.folder / "model"


def onward(settings: Experiment, model: Path) -> Experiment:
    """The same experiment from a model folder on, without another step."""
    encoder = EncoderSettings(settings.encoder.recipe, weights=model)
    return replace(settings, name="second", encoder=encoder, train=replace(settings.train, steps=0))


def predicted(settings: Experiment, split: str) -> bytes:
    experiment.evaluate(settings.folder, split)
    return (settings.folder / "predictions" / f"{split}.jsonl").read_bytes()


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = dict(one.named_parameters()), dict(other.named_parameters())
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("kind", MADE)
def test_a_run_with_knowledge_comes_back_from_its_model_folder(kind: Kind, tmp_path: Path) -> None:
    """With its parts, heads, sizes and data; nothing but tensors and plain words lies there."""
    first = told(tmp_path, kind)
    run = experiment.train(first, first.folder, progress=False)
    back = mm_kptm.load(str(first.folder / "model"))
    assert type(back.encoder) is MADE[kind] and same(back, run.system) and not back.training
    assert set(back.heads) == {"vqa"} | HEADS.get(kind, set())
    assert (back.added, back.head_sizes) == (run.system.added, run.system.head_sizes)
    assert back.data == DATA.fingerprints
    assert {path.name for path in (first.folder / "model").iterdir()} == {
        "README.md",
        "config.json",
        "manifest.json",
        "model.safetensors",
    }
    said = json.loads((first.folder / "model" / "config.json").read_text())
    assert (said["recipe"], list(said["added"])) == ("uniter-base", [kind] if MADE[kind] is not SingleStream else [])


@pytest.mark.parametrize("kind", MADE)
def test_a_second_run_from_the_folder_answers_byte_for_byte_alike(kind: Kind, tmp_path: Path) -> None:
    first = told(tmp_path, kind)
    second = onward(first, trained(first))
    trained(second)
    for split in ("test", "test-swapped"):
        assert predicted(first, split) == predicted(second, split)


@pytest.mark.parametrize("kind", MADE)
def test_what_the_folder_holds_is_not_drawn_anew(kind: Kind, tmp_path: Path) -> None:
    """An ``init_std`` is for fresh weights, and none are."""
    first = told(tmp_path, kind)
    model = trained(first)
    again = build(told(tmp_path, kind, "second", EncoderSettings("uniter-base", weights=model, init_std=0.1)))
    assert same(again.system, mm_kptm.load(str(model)))


def test_vectors_that_learnt_come_back_as_they_became(tmp_path: Path) -> None:
    first = typed(home(tmp_path))
    run = experiment.train(first, first.folder, progress=False)
    model = first.folder / "model"
    back = mm_kptm.load(str(model))
    assert isinstance(back.encoder, WithVectors) and list(back.added) == ["entity-fusion", "entity-vectors"]
    assert same(back, run.system) and back.data["vectors"] == run.prepared.fingerprints["vectors"]
    assert run.prepared.vectors is not None
    assert not torch.equal(back.encoder.entity_vectors.vectors, run.prepared.vectors)


def test_a_head_of_the_task_alone_goes_on_too(tmp_path: Path) -> None:
    """BERT has no head for types: the task's own one is not the system's, and lies in the folder all the same."""
    first = typed(home(tmp_path), steps=80)
    run = experiment.train(first, first.folder, progress=False)
    assert set(run.own) == {"head.fresh.weight", "head.fresh.bias"}
    second = onward(first, first.folder / "model")
    trained(second)
    assert predicted(first, "dev") == predicted(second, "dev")
    assert all(json.loads(row)["correct"] for row in predicted(first, "dev").splitlines())
    assert same(mm_kptm.load(str(first.folder / "model")), run.system)


def test_a_head_for_other_labels_is_fresh(tmp_path: Path) -> None:
    model = trained(typed(home(tmp_path)))
    rows = json.loads((tmp_path / "train.json").read_text())
    for row, name in zip(rows, "abcabcab", strict=True):
        row["labels"] = [name]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    run = build(typed(tmp_path, "second", model))
    assert run.own["head.fresh.weight"].shape == (3, 16)
    assert same(run.system, mm_kptm.load(str(model)))


def test_the_folder_says_which_vectors_were_read(tmp_path: Path) -> None:
    """Vectors that do not learn stay where they lie; their hash tells them from others."""
    homes = [home(tmp_path / str(seed), seed=seed) for seed in range(2)]
    models = [trained(typed(at, trainable=False)) for at in homes]
    one, other = (mm_kptm.load(str(model)) for model in models)
    assert list(one.added) == ["entity-fusion"] and not any(
        "entity_vectors" in name for name, _ in one.named_parameters()
    )
    assert len(one.data["vectors"]) == 64 and one.data["vectors"] != other.data["vectors"]


def test_parts_are_fresh_where_the_folder_has_none(tmp_path: Path) -> None:
    model = trained(told(tmp_path, "none", "start"))
    start = mm_kptm.load(str(model))
    run = build(told(tmp_path, "entity-fusion", encoder=EncoderSettings("uniter-base", weights=model)))
    held, ours = dict(start.encoder.named_parameters()), dict(run.system.encoder.named_parameters())
    assert held.keys() < ours.keys() and all(torch.equal(ours[name], held[name]) for name in held)


def test_vectors_can_begin_to_learn_later(tmp_path: Path) -> None:
    model = trained(typed(home(tmp_path), trainable=False))
    run = build(typed(tmp_path, "second", model))
    assert list(run.system.added) == ["entity-fusion", "entity-vectors"] and isinstance(run.system.encoder, WithVectors)
    assert run.prepared.vectors is not None
    assert torch.equal(run.system.encoder.entity_vectors.vectors, run.prepared.vectors)
    assert same(run.system.encoder.encoder, mm_kptm.load(str(model)).encoder)


def test_a_head_of_learnt_facts_is_left_behind_by_who_learns_none(tmp_path: Path) -> None:
    model = trained(told(tmp_path, "knowledge-embedding"))
    run = build(told(tmp_path, "none", "second", EncoderSettings("uniter", weights=model)))
    assert set(run.system.heads) == {"vqa"}


@pytest.mark.parametrize(
    ("held", "kind", "asks"),
    [
        ("entity-fusion", "none", "no added parts"),
        ("entity-fusion", "sentence-tree", "no added parts"),
        ("side-adapter", "entity-fusion", "entity-fusion"),
    ],
)
def test_a_folder_of_another_kind_is_refused(held: Kind, kind: Kind, asks: str, tmp_path: Path) -> None:
    model = trained(told(tmp_path, held))
    with pytest.raises(
        UserError, match=rf"uniter-base with {held}, but knowledge asks for {asks}; let knowledge\.kind a"
    ):
        build(told(tmp_path, kind, "second", EncoderSettings("uniter-base", weights=model)))


def test_another_number_of_entities_is_refused(tmp_path: Path) -> None:
    model = trained(typed(home(tmp_path / "first")))
    with pytest.raises(
        UserError, match=r"with entity-vectors of num_entities 8, but the data of this experiment ask f"
    ):
        build(typed(home(tmp_path / "second", entities=9), "second", model))


def test_another_number_of_relations_is_refused(tmp_path: Path) -> None:
    model = trained(told(tmp_path, "knowledge-embedding"))
    weights, fewer = EncoderSettings("uniter-base", weights=model), replace(DATA, relations=("owner",))
    with pytest.raises(UserError, match=r"with knowledge-embedding of num_relations 3, but the data of this exp"):
        build(told(tmp_path, "knowledge-embedding", "second", weights, data=fewer))


def test_facts_of_another_width_are_refused(tmp_path: Path) -> None:
    model = trained(told(tmp_path, "kar"))
    narrow = PreparedData({}, lambda system: system, sizes={"entity_dim": 8}, knowledge_bases=("numbers",))
    with pytest.raises(UserError, match=r"kar of bases\.numbers\.entity_dim 64, but the data of thi"):
        apply_knowledge(mm_kptm.load(str(model)), KnowledgeSettings("kar"), narrow)


def test_vectors_that_learnt_other_entities_are_refused(tmp_path: Path) -> None:
    model = trained(typed(home(tmp_path / "first")))
    with pytest.raises(
        UserError, match=r"vectors that learnt the entities of another folder than knowledge\.vectors nam"
    ):
        build(typed(home(tmp_path / "second", seed=1), "second", model))


def lacking(model: Path) -> None:
    tensors = load_file(model / "model.safetensors")
    save_file({name: x for name, x in tensors.items() if "fusions" not in name}, model / "model.safetensors")


def saying(**changes: Any) -> Callable[[Path], None]:
    def change(model: Path) -> None:
        said = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(said | changes))

    return change


def torn(model: Path) -> None:
    (model / "config.json").write_text((model / "config.json").read_text()[:80])


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (
            lacking,
            "says that it holds uniter-base with entity-fusion, but its model.safetensors has no encoder.fusions.0.",
        ),
        (torn, "config.json does not say which system lies beside it; save the system again"),
        (saying(added=[]), "config.json does not say which system lies beside it; save the system again"),
        (
            saying(added={"entity-fuson": {}}),
            "no addition is called 'entity-fuson'; did you mean entity-fusion?",
        ),
        (
            saying(added={"entity-fusion": {"width": 3}}),
            "fusion has no size 'width'; it has entity_dim, entity_heads, kinds",
        ),
        (
            saying(added={"entity-vectors": {"entity_dim": 3}}),
            "entity-vectors needs a size num_entities, which is not g",
        ),
        (
            saying(added={"knowledge-embedding": {}}),
            "embedding adds no part to an encoder; it has the heads knowledge-embedding",
        ),
        (
            saying(heads={"fact-completion": {}}),
            "the head fact-completion needs a size num_objects, which is not g",
        ),
        (
            saying(heads={"vqa": {"answers": 3}}),
            "the head vqa has no size 'answers'; did you mean num_answers?",
        ),
    ],
)
def test_a_spoilt_folder_is_refused_in_one_sentence(
    spoil: Callable[[Path], None], complaint: str, tmp_path: Path
) -> None:
    model = trained(told(tmp_path, "entity-fusion"))
    spoil(model)
    (model / "manifest.json").unlink()  # as if it had been changed on purpose
    with pytest.raises(UserError) as raised:
        mm_kptm.load(str(model))
    assert complaint in str(raised.value) and "\n" not in str(raised.value)


def test_parts_that_the_folder_lacks_can_be_asked_to_be_fresh(tmp_path: Path) -> None:
    model = trained(told(tmp_path, "entity-fusion"))
    held = mm_kptm.load(str(model))
    lacking(model)
    with pytest.raises(
        UserError, match=r"model.safetensors has \d+ bytes where .* remove manifest.json if the files were"
    ):
        mm_kptm.load(str(model), fresh=["encoder.fusions."], seed=0)
    (model / "manifest.json").unlink()
    back = mm_kptm.load(str(model), fresh=["encoder.fusions."], seed=0)
    assert same(back.encoder.layers, held.encoder.layers) and not same(back.encoder.fusions, held.encoder.fusions)


def test_the_command_line_refuses_another_kind_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = trained(told(tmp_path, "entity-fusion"))
    path = tmp_path / "second.yaml"
    path.write_text(
        "name: second\ntask: knowledge-vqa\ndata: {name: number-world, questions: 20}\n"
        f"encoder: {{recipe: uniter-base, weights: {model}}}\nknowledge: {{kind: kar}}\n"
    )
    assert cli.main(["train", str(path), f"--out={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "holds uniter-base with entity-fusion, but knowledge asks for kar" in said
