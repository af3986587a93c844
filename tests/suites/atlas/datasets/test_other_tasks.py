"""The graph, names of entities, classes, parallel names and scenes of Atlas."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mm_kptm import cli
from mm_kptm.batch import Inputs
from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.suites.atlas.data.atlas import open_atlas
from mm_kptm.suites.atlas.datasets.graph import COUNTRY_RELATIONS, graph_parts
from mm_kptm.suites.atlas.datasets.scenes import compose
from mm_kptm.suites.atlas.datasets.settings import AtlasData

SMALL = {"num_layers": 1, "dim": 32, "num_heads": 2, "ffn_dim": 64, "dropout": 0.0}
DATA = AtlasData(languages=("en", "de"), parallel_languages=("sw",), image_size=24)


def built(task: str | None, recipe: str, sizes: dict[str, object], **more: object) -> Built:
    return build(Experiment(name="other", task=task, data=DATA, encoder=EncoderSettings(recipe, sizes=sizes), **more))


def test_a_fact_and_its_reverse_lie_in_one_part_and_train_knows_every_entity():
    parts = graph_parts(open_atlas())
    counts = {part: len(facts) for part, facts in parts.items()}
    assert counts["train"] > 1800 and counts["valid"] > 120 and counts["test"] > 120
    of = {fact: part for part, facts in parts.items() for fact in facts}
    assert len(of) == sum(counts.values())
    for (head, relation, tail), part in of.items():
        if relation == "borders" and (back := (tail, relation, head)) in of:
            assert of[back] == part, "the reverse would tell the answer"
    seen = {entity for head, _, tail in parts["train"] for entity in (head, tail)}
    assert {entity for part in ("valid", "test") for h, _, t in parts[part] for entity in (h, t)} <= seen


def test_the_graph_is_written_for_the_verbs_of_graphs(tmp_path: Path, capsys):
    assert cli.main(["data", "export", "atlas-graph", "--out", str(tmp_path / "graph"), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    lines = (tmp_path / "graph" / "train.tsv").read_text().splitlines()
    assert counts["train"] == len(lines)
    assert {line.split("\t")[1] for line in lines} == set(COUNTRY_RELATIONS)
    with pytest.raises(UserError, match="Atlas has no relation 'colour'"):
        graph_parts(open_atlas(), ("colour",))


@pytest.mark.slow
def test_the_graph_is_ranked_as_by_the_pipeline_of_pykeen(tmp_path: Path, capsys):
    from pykeen.pipeline import pipeline
    from pykeen.triples import TriplesFactory

    graph, vectors = tmp_path / "graph", tmp_path / "vectors"
    assert cli.main(["data", "export", "atlas-graph", "--out", str(graph)]) == 0
    asked = ["kg", "train", str(graph), "--out", str(vectors), "--epochs", "10", "--json"]
    assert cli.main(asked) == 0
    capsys.readouterr()
    assert cli.main(["kg", "evaluate", str(vectors), str(graph), "--json"]) == 0
    ours = json.loads(capsys.readouterr().out)
    train = TriplesFactory.from_path(graph / "train.tsv")
    ids = {"entity_to_id": train.entity_to_id, "relation_to_id": train.relation_to_id}
    valid, test = (TriplesFactory.from_path(graph / f"{part}.tsv", **ids) for part in ("valid", "test"))
    theirs = pipeline(
        training=train, validation=valid, testing=test, model="TransE", model_kwargs={"embedding_dim": 64},
        loss="nssa", loss_kwargs={"margin": 6.0}, optimizer="Adam", optimizer_kwargs={"lr": 0.01},
        negative_sampler_kwargs={"num_negs_per_pos": 32}, random_seed=0, device="cpu",
        training_kwargs={"num_epochs": 10, "batch_size": 256, "use_tqdm": False},
        evaluation_kwargs={"use_tqdm": False},
    )  # fmt: skip
    mrr = theirs.get_metric("both.realistic.inverse_harmonic_mean_rank")
    assert ours["filtered"]["test"]["mrr"] == pytest.approx(mrr, abs=0.03)


@pytest.mark.parametrize(
    ("text", "language", "entity"),
    [
        ("Japan und Mexiko", "de", "territory:JP"),
        ("法国", "zh", "territory:FR"),
        ("die Währung heißt Schweizer Franken", "de", "currency:CHF"),
    ],
)
def test_names_in_several_languages_are_linked(tmp_path: Path, capsys, text, language, entity):
    from mm_kptm.suites.atlas.datasets.graph import write_graph

    write_graph(open_atlas(), tmp_path)
    (tmp_path / "texts.txt").write_text(text + "\n", encoding="utf-8")
    asked = ["kg", "link", str(tmp_path / "names.tsv"), str(tmp_path / "texts.txt"), "--language", language]
    assert cli.main(asked) == 0
    (line,) = capsys.readouterr().out.strip().splitlines()
    assert entity in {mention["entity"] for mention in json.loads(line)["mentions"]}


def test_drawings_are_classified_among_all_subgroups():
    tower = {"patch_size": 8, "width": 16, "layers": 1, "head_width": 8}
    text = {"recipe": "bert-base", "pooling": "mean", **SMALL}
    of = built("zero-shot-classification", "dual-tower", {"embed_dim": 16, "image": tower, "text": text})
    source = of.prepared.sources["test-subgroup"]()
    rows = of.model.predict(source.batch(range(4), seeded(0, 0)))
    assert {row["target"] for row in rows} <= {one.subgroup for one in open_atlas().concepts}
    controls = of.prepared.baselines("test-subgroup")
    assert controls["chance"] < 0.02 < controls["majority"]


def test_parallel_names_leave_out_what_is_spelt_the_same():
    source = built("parallel-sentences", "bert-base", SMALL).prepared.sources["test"]()
    atlas = open_atlas()
    for meaning in source.meanings:
        first, other = (atlas.names[one][atlas.index[meaning.id]] for one in meaning.languages)
        assert first.casefold() != other.casefold()
    assert {meaning.languages for meaning in source.meanings} == {("en", "de"), ("en", "sw")}


def test_names_and_their_translations_feed_pretraining():
    of = built(None, "xlm-15", SMALL, objectives={"masked-tokens": 1.0, "translation-language-modeling": 1.0})
    batch = of.source("train").batch(range(6), seeded(0, 0))
    loss = of.model.loss(batch)
    assert torch.isfinite(loss)


def test_sentences_of_packages_are_read_beside_the_names(tmp_path: Path):
    rows = [{"en": "save the file", "de": "die Datei sichern", "fr": "enregistrer"}, {"en": "a page", "sw": "ukurasa"}]
    path = tmp_path / "catalogues.jsonl"
    path.write_text("".join(json.dumps({"sentences": row}) + "\n" for row in rows), encoding="utf-8")

    def trained(data: AtlasData) -> dict[str, int]:
        objectives = {"masked-tokens": 1.0, "translation-language-modeling": 1.0}
        encoder = EncoderSettings("xlm-15", sizes=SMALL)
        of = build(Experiment(name="names", task=None, data=data, encoder=encoder, objectives=objectives))
        sources = of.source("train").inputs
        return {name: len(source) for name, source in sources.items()} | {"test": len(of.source("test"))}

    names, both = trained(DATA), trained(replace(DATA, sentences=(path,)))
    assert both["masked-tokens"] - names["masked-tokens"] == 4, "French is no language of these settings"
    assert both["translation-language-modeling"] - names["translation-language-modeling"] == 4
    assert both["test"] == names["test"]
    path.write_text('{"sentences": {"fr": "enregistrer", "es": "guardar"}}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"catalogues.jsonl holds no sentence in two of en, de, sw; name other"):
        trained(replace(DATA, sentences=(path,)))


def test_controls_stand_beside_classes_scenes_and_parallel_names():
    tower = {"patch_size": 8, "width": 16, "layers": 1, "head_width": 8}
    text = {"recipe": "bert-base", "pooling": "mean", **SMALL}
    drawn = built("zero-shot-classification", "dual-tower", {"embed_dim": 16, "image": tower, "text": text})
    unseen = drawn.prepared.baselines("test-style-concept")
    assert unseen["majority"] < unseen["pixel-nearest"] < 0.9
    scenes = built("grounding", "uniter-base", SMALL).prepared
    assert scenes.baselines("test-iid")["pixel-nearest"] == 1.0 and "pixel-nearest" not in scenes.baselines(
        "test-concept"
    )
    assert 0.5 < scenes.baselines("test-style")["pixel-nearest"] < 1.0
    names = built("parallel-sentences", "bert-base", SMALL).prepared.baselines("test")
    assert names["chance"] < 0.01 < names["string-overlap"] < 0.3


def test_scenes_show_different_families_side_by_side():
    for scene in compose(DATA, "concept", 60):
        families = {open_atlas().concepts[one].family for one in scene.concepts}
        assert 2 <= len(scene.concepts) <= 5 and len(families) == len(scene.concepts)
        assert len(set(scene.cells)) == len(scene.cells)
        boxes = np.array(scene.boxes)
        assert boxes.min() >= 0 and boxes.max() <= 1


def test_the_box_of_a_scene_holds_the_drawing_that_is_named():
    of = built("grounding", "uniter-base", SMALL)
    source = of.prepared.sources["test"]()
    inputs: Inputs = source.batch([3], seeded(0, 0)).inputs
    picture = of.prepared.illustrate("test", 3).pixels
    scene = compose(DATA, "iid", 1000)[3]
    left, top, right, bottom = (round(float(at) * 192) for at in scene.boxes[scene.target])
    shown = picture[top:bottom, left:right].reshape(12, 4, 12, 4, 3).mean(axis=(1, 3)).round()
    region = inputs.regions.features[source.targets[3]].reshape(12, 12, 3) * 255
    assert np.allclose(shown, region.numpy(), atol=1)
    rows = of.model.predictions(_first(source, 8), batch_size=8)
    assert len(rows) == 8 and all(row["type"].startswith("of-") for row in rows)


def _first(source, count):
    class First:
        about = source.about[:count]

        def __len__(self):
            return count

        length = staticmethod(source.length)
        batch = staticmethod(source.batch)

    return First()
