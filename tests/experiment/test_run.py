"""A run folder holds what is needed to go on, to measure and to open the model elsewhere."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mm_kptm
from mm_kptm import config, experiment
from mm_kptm.adaptation.side_adapter import AdaptedStream
from mm_kptm.datasets.vision.vqa_v2 import VqaV2Data
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.run import opened
from mm_kptm.experiment.settings import EncoderSettings, Experiment, Kind, KnowledgeSettings
from mm_kptm.knowledge.fusion.ernie import FusedStream
from mm_kptm.knowledge.fusion.kar import RecontextualisedStream
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.train.settings import TrainSettings

TINY = EncoderSettings(
    recipe="uniter-base",
    sizes={"num_layers": 1, "dim": 16, "num_heads": 2, "ffn_dim": 32, "dropout": 0.0},
    init_std=0.1,
)
DATA = NumberWorldData(questions=60, eval_questions=20, languages=("en", "fr"))


def tiny(out: Path, **changes: object) -> Experiment:
    settings = Experiment(
        name="tiny",
        task="vqa",
        encoder=TINY,
        data=DATA,
        train=TrainSettings(steps=4, batch_size=16, lr=1e-3, log_every=2),
        out=out,
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["vqa", "knowledge-vqa", "parallel-sentences"])
def test_every_task_of_number_world_trains_and_is_measured(task: str, tmp_path: Path) -> None:
    told = KnowledgeSettings("sentence-tree", "true") if task == "knowledge-vqa" else KnowledgeSettings()
    settings = tiny(tmp_path, task=task, knowledge=told)
    experiment.train(settings, settings.folder, progress=False)
    result = experiment.evaluate(settings.folder, "test")
    rows = [json.loads(line) for line in (settings.folder / "predictions" / "test.jsonl").read_text().splitlines()]
    assert 0 <= float(str(result["accuracy"])) <= 1
    assert result["accuracy"] == pytest.approx(sum(row["correct"] for row in rows) / len(rows))
    assert {row["language"] for row in rows} <= {"en", "fr"}
    assert result["baselines"] == json.loads((settings.folder / "baselines.json").read_text())["test"]


def test_swapped_facts_are_a_split_of_their_own(tmp_path: Path) -> None:
    settings = tiny(tmp_path, task="knowledge-vqa", knowledge=KnowledgeSettings("sentence-tree", "true"))
    experiment.train(settings, settings.folder, progress=False)
    assert "memorised" in experiment.evaluate(settings.folder, "test-swapped")


def test_without_a_tree_no_facts_are_told(tmp_path: Path) -> None:
    told = build(tiny(tmp_path, task="knowledge-vqa", knowledge=KnowledgeSettings("sentence-tree", "true"))).source(
        "test"
    )
    silent = build(tiny(tmp_path, task="knowledge-vqa", knowledge=KnowledgeSettings("none"))).source("test")
    generator = torch.Generator()
    assert told.batch([0], generator).inputs.text.attention_mask is not None
    assert silent.batch([0], generator).inputs.text.attention_mask is None


@pytest.mark.parametrize("texts", ["captions", "sentences", "translations"])
def test_objectives_alone_pretrain(texts: str, tmp_path: Path) -> None:
    objectives = {"masked-tokens": 1.0} | ({"image-text-matching": 0.5} if texts == "captions" else {})
    settings = tiny(tmp_path, task=None, objectives=objectives, data=replace(DATA, texts=texts))
    experiment.train(settings, settings.folder, progress=False)
    measured = experiment.evaluate(settings.folder, "dev")
    assert set(objectives) <= measured.keys()


def test_what_was_pretrained_is_opened_by_the_next_run(tmp_path: Path) -> None:
    first = tiny(tmp_path, name="first", task=None, objectives={"masked-tokens": 1.0})
    experiment.train(first, first.folder, progress=False)
    second = tiny(tmp_path, name="second", encoder=EncoderSettings("uniter", weights=first.folder / "model"))
    before = build(second)
    pretrained = mm_kptm.load(str(first.folder / "model"))
    torch.testing.assert_close(before.system.encoder.state_dict(), pretrained.encoder.state_dict())
    experiment.train(second, second.folder, progress=False)
    assert "vqa" in mm_kptm.load(str(second.folder / "model")).heads


def test_a_run_says_what_it_was(tmp_path: Path) -> None:
    settings = tiny(tmp_path)
    experiment.train(settings, settings.folder, progress=False)
    assert config.read(Experiment, settings.folder / "config.yaml") == settings
    assert json.loads((settings.folder / "data.json").read_text()) == settings.data.fingerprints
    again, built = opened(settings.folder)
    saved = mm_kptm.load(str(settings.folder / "model"))
    torch.testing.assert_close(built.system.state_dict(), saved.state_dict())
    assert again == settings


def test_every_seed_may_begin_with_a_run_of_its_own(tmp_path: Path) -> None:
    for seed in (3, 4):
        start = tiny(tmp_path, name=f"start-{seed}", train=TrainSettings(steps=0, seed=seed))
        experiment.train(start, start.folder, progress=False)
    weights = EncoderSettings("uniter", weights=tmp_path / "start-{seed}" / "model")
    for seed in (3, 4):
        built = build(tiny(tmp_path, encoder=weights, train=TrainSettings(seed=seed)))
        saved = mm_kptm.load(tmp_path / f"start-{seed}" / "model")
        torch.testing.assert_close(built.system.state_dict(), saved.state_dict(), rtol=0, atol=0)
    with pytest.raises(UserError, match="start-5"):
        build(tiny(tmp_path, encoder=weights, train=TrainSettings(seed=5)))


def test_the_same_seed_gives_the_same_fresh_weights(tmp_path: Path) -> None:
    torch.manual_seed(1)
    one = build(tiny(tmp_path)).model.state_dict()  # type: ignore[attr-defined]
    torch.manual_seed(2)
    two = build(tiny(tmp_path)).model.state_dict()  # type: ignore[attr-defined]
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    three = build(tiny(tmp_path, train=TrainSettings(seed=1))).model.state_dict()  # type: ignore[attr-defined]
    assert any(not torch.equal(one[name], three[name]) for name in one)


def test_other_data_are_refused_when_a_run_goes_on(tmp_path: Path) -> None:
    settings = tiny(tmp_path)
    experiment.train(settings, settings.folder, progress=False)
    other = replace(settings, data=replace(DATA, seed=9))
    with pytest.raises(UserError, match="was trained on other data: settings has changed since; start a new run"):
        experiment.train(other, settings.folder, resume=True, progress=False)


def test_a_task_that_the_system_cannot_serve_opens_no_file(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    data = VqaV2Data(name="vqa-v2", questions=nowhere, annotations=nowhere, features=nowhere, vocabulary=nowhere)
    with pytest.raises(UserError, match="the task vqa shows regions and text, but bert-base does not read regions"):
        build(tiny(tmp_path, encoder=EncoderSettings("bert-base"), data=data))


def test_data_that_cannot_feed_a_task_say_what_they_can(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    data = VqaV2Data(name="vqa-v2", questions=nowhere, annotations=nowhere, features=nowhere, vocabulary=nowhere)
    with pytest.raises(UserError, match="vqa-v2 cannot feed parallel-sentences; it can feed vqa"):
        build(tiny(tmp_path, task="parallel-sentences", data=data))


def test_a_split_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="these data have no split 'tset'; there are train, dev, test"):
        build(tiny(tmp_path)).source("tset")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no run folder: it has no config\.yaml"):
        experiment.evaluate(tmp_path)
    settings = tiny(tmp_path)
    settings.folder.mkdir()
    (settings.folder / "config.yaml").write_text(config.dump(settings))
    with pytest.raises(UserError, match="has no checkpoint yet; go on with `mm-kptm train --resume"):
        experiment.evaluate(settings.folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"languages": ("en", "it")}, "data.languages has 'it', but Number World speaks en, de, fr, es, zh"),
        ({"languages": ()}, "data.languages is empty; name at least one"),
        ({"questions": 0}, "data.questions is 0 but must be at least 1"),
        ({"eval_questions": 0}, "data.eval_questions is 0 but must be at least 1"),
        ({"num_perception_questions": -1}, "data.num_perception_questions is -1 but must not be negative"),
        ({"mask_rate": 1.0}, "data.mask_rate is 1.0 but must be a share of the tokens, above 0 and below 1"),
        ({"split": "idd"}, "there is no split called 'idd'"),
    ],
)
def test_settings_of_number_world_that_make_no_sense_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(DATA, **change)  # type: ignore[arg-type]


def test_a_side_without_an_allowed_language_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"the test side of lang-0 speaks de, fr, es, zh, but data\.languages allows en"
    ):
        replace(DATA, split="lang-0", languages=("en",)).side("test")


def test_an_unknown_objective_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no objective is called .masked-token.; did you mean masked-tokens\?"):
        build(tiny(tmp_path, task=None, objectives={"masked-token": 1.0}))


def test_objectives_stand_beside_a_task(tmp_path: Path) -> None:
    """The loss has both parts, and the run is measured, saved and opened as that of a task."""
    settings = tiny(tmp_path, objectives={"masked-tokens": 0.5})
    trained = experiment.train(settings, settings.folder, progress=False)
    assert trained.task is not None and {"vqa", "masked-tokens"} == set(trained.system.heads)
    result = experiment.evaluate(settings.folder, "test")
    assert {"accuracy", "loss", "by_type"} <= result.keys()
    assert set(mm_kptm.load(str(settings.folder / "model")).heads) == {"vqa", "masked-tokens"}


def test_objectives_beside_a_task_of_two_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"objectives \(masked-tokens\) were asked for beside parallel-sentences"):
        build(tiny(tmp_path, task="parallel-sentences", objectives={"masked-tokens": 1.0}))


def test_facts_that_reach_no_example_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"knowledge\.kind is sentence-tree, but the vqa of these data cannot give facts in that form; ",
    ):
        build(tiny(tmp_path, knowledge=KnowledgeSettings("sentence-tree", "true")))


@pytest.mark.parametrize(
    ("kind", "made"), [("entity-fusion", FusedStream), ("region-fusion", FusedStream), ("kar", RecontextualisedStream)]
)
def test_facts_reach_an_encoder_that_was_published_without_them(kind: Kind, made: type, tmp_path: Path) -> None:
    """It trains, is measured and opened as a run."""
    settings = tiny(tmp_path, task="knowledge-vqa", knowledge=KnowledgeSettings(kind))
    trained = experiment.train(settings, settings.folder, progress=False)
    assert isinstance(trained.system.encoder, made)
    _, built = opened(settings.folder)
    torch.testing.assert_close(built.system.state_dict(), trained.system.state_dict())
    assert "memorised" in experiment.evaluate(settings.folder, "test-swapped")


def test_facts_are_told_in_the_form_that_was_asked_for_and_no_other(tmp_path: Path) -> None:
    told = {}
    for kind in ("none", "sentence-tree", "entity-fusion", "region-fusion", "kar"):
        settings = tiny(tmp_path, task="knowledge-vqa", knowledge=KnowledgeSettings(kind))  # type: ignore[arg-type]
        for split in ("test", "test-swapped"):
            inputs = build(settings).source(split).batch(range(4), torch.Generator()).inputs
            told[kind, split] = (
                inputs.text.attention_mask is not None,
                inputs.entities is not None,
                inputs.region_entities is not None,
                bool(inputs.candidates),
            )
    assert {kind for kind, found in told.items() if not any(found)} == {("none", "test"), ("none", "test-swapped")}
    assert all(sum(found) == (kind != "none") for (kind, _), found in told.items())


@pytest.mark.parametrize("kind", ["side-adapter", "knowledge-embedding"])
def test_facts_are_learnt_beside_a_task(kind: Kind, tmp_path: Path) -> None:
    """They stand in no question; what they add to the loss has the weight that was asked for."""
    settings = tiny(tmp_path, task="knowledge-vqa", knowledge=KnowledgeSettings(kind, weight=0.5))
    trained = experiment.train(settings, settings.folder, progress=False)
    _, built = opened(settings.folder)
    torch.testing.assert_close(built.system.state_dict(), trained.system.state_dict())
    batch = built.training.batch(range(4), torch.Generator())
    inputs = batch.examples.inputs  # type: ignore[attr-defined]
    assert inputs.text.attention_mask is None and inputs.entities is None and inputs.candidates is None
    (name,) = batch.batches.by_name  # type: ignore[attr-defined]
    learnt = built.model.objectives[name].loss(built.system, batch.batches.by_name[name])  # type: ignore[attr-defined]
    torch.testing.assert_close(built.model.loss(batch), built.task.loss(batch.examples) + 0.5 * learnt)  # type: ignore[attr-defined, union-attr]
    assert "facts-only" not in built.prepared.baselines("test")


def test_an_arm_that_is_given_no_facts_learns_none(tmp_path: Path) -> None:
    for kind in ("side-adapter", "knowledge-embedding"):
        settings = tiny(tmp_path, task="knowledge-vqa", knowledge=KnowledgeSettings(kind, "none"))  # type: ignore[arg-type]
        built = build(settings)
        assert built.task is built.model
        assert isinstance(built.system.encoder, AdaptedStream) == (kind == "side-adapter")


def test_a_weight_of_facts_is_positive() -> None:
    with pytest.raises(UserError, match=r"knowledge\.weight is 0 but must be greater than 0"):
        KnowledgeSettings("knowledge-embedding", weight=0)


def test_fused_facts_change_what_is_answered(tmp_path: Path) -> None:
    two_layers = replace(TINY, sizes={**TINY.sizes, "num_layers": 2})  # one to fuse, one to read what was fused
    fusion = KnowledgeSettings("entity-fusion", "true")
    built = build(tiny(tmp_path, task="knowledge-vqa", encoder=two_layers, knowledge=fusion))
    inputs = built.source("test").batch(range(8), torch.Generator()).inputs
    silent = inputs.with_streams(entities=replace(inputs.entities, vectors=torch.zeros_like(inputs.entities.vectors)))
    assert not torch.allclose(built.model(inputs), built.model(silent), atol=1e-4)  # type: ignore[operator]


def test_facts_stand_at_the_regions_that_they_are_about(tmp_path: Path) -> None:
    """The question names no number; swapped facts change the vectors of the same regions, and nothing else."""
    fusion = KnowledgeSettings("region-fusion", "true")
    two_layers = replace(TINY, sizes={**TINY.sizes, "num_layers": 2})
    built = build(tiny(tmp_path, task="knowledge-vqa", encoder=two_layers, knowledge=fusion))
    true, swapped = (
        built.source(split).batch(range(8), torch.Generator()).inputs for split in ("test", "test-swapped")
    )
    layout, _ = true.repeat_shared()
    assert true.region_entities.linked.all() and len(true.region_entities.linked) == layout.total
    assert torch.equal(true.text.ids, swapped.text.ids)
    told = build(tiny(tmp_path, task="knowledge-vqa", knowledge=KnowledgeSettings("entity-fusion", "true")))
    assert (
        true.text.layout.total < told.source("test").batch(range(8), torch.Generator()).inputs.text.layout.total
    )  # no names behind the question
    assert not torch.equal(true.region_entities.vectors, swapped.region_entities.vectors)
    assert not torch.allclose(built.model(true), built.model(swapped), atol=1e-4)  # type: ignore[operator]
    blind = true.with_streams(region_entities=replace(true.region_entities, vectors=true.region_entities.vectors[1:]))
    with pytest.raises(UserError, match=r"entities stand on the grid of the regions, but there are \d+ regions, "):
        built.model(blind)  # type: ignore[operator]


def test_fusion_at_regions_wants_them_in_one_stream_with_the_text(tmp_path: Path) -> None:
    lxmert = EncoderSettings("lxmert-base", sizes={"dim": 16, "num_heads": 2, "ffn_dim": 32, "num_layers": 1})
    with pytest.raises(UserError, match=r"that reads text and regions in one stream, which lxmert-base does not"):
        build(tiny(tmp_path, task="knowledge-vqa", encoder=lxmert, knowledge=KnowledgeSettings("region-fusion")))


def test_fusion_wants_layers_to_mix_in(tmp_path: Path) -> None:
    sizes = {"dim": 16, "num_heads": 2, "ffn_dim": 32, "num_layers": 0}
    lxmert = EncoderSettings("lxmert-base", sizes=sizes)
    with pytest.raises(
        UserError, match=r"knowledge\.kind entity-fusion was asked for with lxmert-base, but its parts are"
    ):
        build(tiny(tmp_path, task="knowledge-vqa", encoder=lxmert, knowledge=KnowledgeSettings("entity-fusion")))


def test_sizes_may_be_lists_and_are_read_again(tmp_path: Path) -> None:
    """ViLBERT's co-attentions have places of their own; the run's settings open like those of its file."""
    sizes = {
        "dim": 16, "num_heads": 2, "ffn_dim": 32, "num_layers": 2, "region_states": 16, "region_heads": 2,
        "region_ffn_dim": 32, "num_region_layers": 1, "num_cross_layers": 2, "cross_dim": 16, "cross_heads": 2,
        "cross_text": [0, 1], "cross_regions": [0, 1],
    }  # fmt: skip
    settings = tiny(tmp_path, task="vqa", encoder=EncoderSettings("vilbert-base", sizes=sizes))
    trained = experiment.train(settings, settings.folder, progress=False)
    again, built = opened(settings.folder)
    assert again.encoder.sizes["cross_text"] == [0, 1]
    torch.testing.assert_close(built.system.state_dict(), trained.system.state_dict())
    file = tmp_path / "e.yaml"
    file.write_text(config.dump(settings))
    assert config.read(Experiment, file, ["--encoder.sizes.cross_text=[1, 2]"]).encoder.sizes["cross_text"] == [1, 2]
