"""Explanations: recorded attention changes no answer, every row gets a share, and the page holds everything."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mm_kptm import cli, config, experiment
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.settings import Experiment
from mm_kptm.experiment.visual.explanations import explain
from mm_kptm.nn.ragged import recorded_attention
from mm_kptm.tasks.vision.attribution import GRADIENT_INPUT, METHODS, attribute

TWO = {"num_region_layers": 1, "num_cross_layers": 1}
SINGLE, DUAL = "uniter-base", "lxmert-base"


def settings(out: Path, recipe: str = SINGLE, task: str = "knowledge-vqa", kind: str = "sentence-tree") -> Experiment:
    (out / "e.yaml").write_text(
        f"""
        name: e
        task: {task}
        data: {{name: number-world, questions: 40, eval_questions: 12, languages: [en], numbers: 10}}
        encoder:
          recipe: {recipe}
          sizes: {{num_layers: 2, dim: 16, num_heads: 2, ffn_dim: 32, dropout: 0.0}}
          init_std: 0.2
        knowledge: {{kind: {kind}}}
        train: {{steps: 2, batch_size: 8}}
        out: {out}
        """
    )
    extra = [f"--encoder.sizes.{name}={value}" for name, value in TWO.items()] if recipe == DUAL else []
    return config.read(Experiment, out / "e.yaml", extra)


def question(built: Built) -> object:
    return built.source("test").batch([0], torch.Generator())


@pytest.mark.parametrize("recipe", [SINGLE, DUAL])
def test_recorded_attention_changes_no_answer_and_sums_to_one(tmp_path: Path, recipe: str) -> None:
    built = build(settings(tmp_path, recipe))
    batch = question(built)
    built.task.eval()
    plain = built.task(batch.inputs)
    with recorded_attention() as records:
        torch.testing.assert_close(built.task(batch.inputs), plain, atol=1e-5, rtol=1e-4)
    assert records
    for record in records:
        sums = record.weights.sum(-1)
        torch.testing.assert_close(sums[sums > 0], torch.ones_like(sums[sums > 0]))


@pytest.mark.parametrize("recipe", [SINGLE, DUAL])
def test_every_region_and_token_gets_a_share_by_every_method(tmp_path: Path, recipe: str) -> None:
    built = build(settings(tmp_path, recipe))
    batch = question(built)
    found = attribute(built.task, batch)
    for method in METHODS:
        assert found.tokens[method].shape == (batch.inputs.text.rows,)
        assert found.regions[method].shape == (batch.inputs.regions.layout.total,)
        assert (found.regions[method] >= 0).all() and found.regions[method].sum() > 0, method


def test_a_region_without_features_has_no_gradient_x_input(tmp_path: Path) -> None:
    built = build(settings(tmp_path))
    batch = question(built)
    regions = batch.inputs.regions
    features = regions.features.clone()
    features[0] = 0
    dark = replace(batch, inputs=batch.inputs.with_streams(regions=replace(regions, features=features)))
    found = attribute(built.task, dark).regions[GRADIENT_INPUT]
    assert found[0] == 0 and (found[1:] > 0).all()


def test_answers_are_attributed_one_by_one(tmp_path: Path) -> None:
    built = build(settings(tmp_path))
    with pytest.raises(UserError, match="answers are attributed one by one, but the batch holds 2 examples"):
        attribute(built.task, built.source("test").batch([0, 1], torch.Generator()))


def test_a_page_shows_answers_with_boxes_and_facts_and_scores_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = settings(tmp_path)
    experiment.train(chosen, tmp_path / "e", progress=False)
    assert cli.main(["explain", str(tmp_path / "e"), "--n", "6", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    region, fact = printed["scores"]
    assert (region["part"], fact["part"]) == ("region", "fact")
    for score in (region, fact):
        assert 0 < score["chance"] < 1 and 0 < score["n"] <= 6
        assert set(score["hits"]) == set(METHODS) and all(0 <= hit <= 1 for hit in score["hits"].values())
    page = Path(printed["page"]).read_text()
    assert page.count("<article") == 6 and page.count("data:image/png;base64") == 6
    assert "facts given" in page and 'title="decides"' in page and "<rect" in page
    assert not re.search(r"""(?:src|href)=["']https?:""", page)
    assert cli.main(["explain", str(tmp_path / "e"), "--n", "2"]) == 0
    assert "gradient x attention" in capsys.readouterr().out


@pytest.mark.parametrize("task", ["grounding", "visual-entailment", "multiple-choice"])
def test_labels_choices_and_regions_are_explained_too(
    tmp_path: Path, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = settings(tmp_path, task=task, kind="none")
    experiment.train(chosen, tmp_path / "e", progress=False)
    built = build(chosen)
    batch = question(built)
    found = attribute(built.task, batch)
    for method in METHODS:
        assert found.regions[method].shape == (batch.inputs.regions.layout.total,)
        assert found.regions[method].sum() > 0 and found.tokens[method].sum() > 0, method
    if task == "multiple-choice":  # the best choice alone is read
        place = int(built.task.predict(batch)[0]["answer"])
        first, stop = batch.inputs.text.layout.offsets[place : place + 2]
        assert found.inputs.text.ids.tolist() == batch.inputs.text.ids[first:stop].tolist()
    assert cli.main(["explain", str(tmp_path / "e"), "--n", "3", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    page = Path(printed["page"]).read_text()
    assert page.count("<article") == 3 and "<rect" in page
    assert [score["part"] for score in printed["scores"]] == (["region"] if task == "grounding" else [])


def test_what_cannot_be_explained_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="0 answers were to be explained; explain one at least"):
        explain(tmp_path, count=0)
    chosen = settings(tmp_path, task="nlvr2", kind="none")
    experiment.train(chosen, tmp_path / "e", progress=False)
    with pytest.raises(
        UserError, match="was trained on nlvr2, but what is explained is one answer, label, choice or region for a text"
    ):
        explain(tmp_path / "e")
    built = build(chosen)
    with pytest.raises(UserError, match="nlvr2 chooses no one answer for a text about an image"):
        attribute(built.task, question(built))
