"""The experiment files that come with the suite, and those that its pages show, say what can be run."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from mm_kptm import config
from mm_kptm.datasets.protocol import find_task_dataset
from mm_kptm.experiment.build import build
from mm_kptm.experiment.null_arms import arms_of
from mm_kptm.experiment.run import train
from mm_kptm.experiment.settings import Experiment, Kind, KnowledgeSettings
from mm_kptm.systems.discovery import find

HOME = Path(__file__).parents[2]
FILES = sorted((HOME / "experiments").rglob("*.yaml"))
SMALL = (
    "--encoder.sizes={num_layers: 2, dim: 16, num_heads: 2, ffn_dim: 32}",
    "--data.questions=30",
    "--data.num_perception_questions=10",
)


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(HOME / "experiments")) for path in FILES])
def test_every_file_names_a_system_and_a_task_that_its_data_feed(path):
    settings = config.read(Experiment, path)
    assert find(settings.encoder.recipe)
    assert find_task_dataset(settings.trained, settings.data)


def test_the_joint_pair_differs_in_the_graph_alone():
    with_graph, without = (
        config.read(Experiment, HOME / "experiments" / "joint" / f"{name}-graph.yaml") for name in ("with", "without")
    )
    assert replace(without, name="with-graph", knowledge=KnowledgeSettings("sentence-tree")) == with_graph
    start = config.read(Experiment, HOME / "experiments" / "joint" / "start.yaml")
    assert with_graph.encoder.weights == Path("runs/joint-starts") / f"{start.name}-seed-{{seed}}" / "model"
    assert with_graph.objectives == {"bridge-entity": 0.5}
    assert len(arms_of([without, with_graph], nulls=True)) == 7


@pytest.mark.parametrize("arm", ["with-graph", "without-graph", "answers-only", "from-wordings"])
def test_the_arms_about_the_joint_world_are_trained_from_their_starts(arm, tmp_path):
    small = (*SMALL[1:], "--data.eval_questions=10", f"--out={tmp_path}", "--train.steps=2")
    home = HOME / "experiments" / "joint"
    name = "start-wordings" if arm == "from-wordings" else "start"
    start = config.read(Experiment, home / f"{name}.yaml", (*small, SMALL[0], f"--name={name}-seed-0"))
    train(start, start.folder, progress=False)
    settings = config.read(
        Experiment, home / f"{arm}.yaml", (*small, f"--encoder.weights={tmp_path}/{name}-seed-{{seed}}/model")
    )
    built = train(settings, settings.folder, progress=False)
    assert ("bridge-entity" in built.system.heads) == arm.endswith("graph")


@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_mixture_on_the_page_about_comparisons_can_be_built(kind, tmp_path):
    (block,) = re.findall(r"```yaml\n(.+?)```", (HOME / "docs" / "compare.md").read_text(), re.DOTALL)
    path = tmp_path / "mixed.yaml"
    path.write_text(block)
    built = build(config.read(Experiment, path, (*SMALL, f"--knowledge.kind={kind}")))
    assert built.task is not None and len(built.training) == 40
    learnt = {"side-adapter": {"fact-completion"}, "knowledge-embedding": {"knowledge-embedding"}}.get(kind, set())
    assert set(built.system.heads) == {"vqa", "masked-tokens"} | learnt


def test_the_ways_of_telling_differ_in_knowledge_alone():
    """One encoder, start, budget and data; the first in order is the one that is told nothing."""
    arms = [config.read(Experiment, path) for path in sorted((HOME / "experiments" / "knowledge").glob("*.yaml"))]
    bare = arms[0]
    assert bare.knowledge.given == "none"
    assert all(replace(arm, name=bare.name, knowledge=bare.knowledge) == bare for arm in arms)
    kinds = [arm.knowledge.kind for arm in arms if arm.knowledge.facts == "true"]
    others = (HOME / "experiments" / "knowledge-vision").glob("*.yaml")
    beside = {config.read(Experiment, path).knowledge.kind for path in others}
    assert len(kinds) == len(set(kinds)) and set(kinds) | beside == set(get_args(Kind))  # some need regions
    start = config.read(Experiment, HOME / "experiments" / "knowledge-start.yaml")
    assert bare.encoder.weights == start.folder / "model"
    assert len(arms_of(arms, nulls=False)) == len(arms) == 8


def test_null_arms_of_ways_that_add_no_parts_are_the_arm_that_is_told_nothing():
    folder = HOME / "experiments" / "knowledge"
    arms = [config.read(Experiment, folder / f"{file}.yaml") for file in ("0-no-knowledge", "1-k-bert", "5-kepler")]
    without_facts = {arm.name for arm in arms_of([*arms, config.read(Experiment, folder / "2-ernie.yaml")], nulls=True)}
    assert {name for name in without_facts if name.endswith("no-facts")} == {"ernie-no-facts"}


def test_a_file_is_read_without_what_would_run_it():
    """A misspelt key is answered at once: no loop, compiler or scikit-learn is imported before."""
    heavy = {
        "mm_kptm.train.loop",
        "sklearn",
        "scipy.stats",
        "sympy",
        "matplotlib",
        "pykeen",
        "torch.distributed.checkpoint",
    }
    program = f"import sys, mm_kptm.experiment.settings; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=HOME)
    assert done.stdout == "[]\n"
