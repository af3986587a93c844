"""Several tasks share an encoder; those that have converged pause and go on when they decline."""

from pathlib import Path

import pytest
import torch

from mm_kptm import config
from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.run import evaluate, train
from mm_kptm.experiment.settings import Experiment
from mm_kptm.tasks.task_mixture import StopAndGo, TaskMixture
from mm_kptm.train.evaluation import Evaluation

ROOT = Path(__file__).parents[2]
DATA = "{name: number-world, questions: 12, eval_questions: 6, languages: [en], candidate_pool_size: 4"
UNITER = """
name: several
task: multi-task
data:
  name: several-tasks
  gap: 3
  tasks:
    vqa: %(data)s}
    pictures: %(data)s, task: retrieval, weight: 0.5}
    phrase-grounding: %(data)s}
encoder: {recipe: uniter-base, sizes: {dim: 32, num_heads: 2, num_layers: 1, ffn_dim: 64, dropout: 0.0}}
train: {steps: 4, batch_size: 4, eval_every: 2, save_every: 2}
out: %(out)s
"""


def settings(folder: Path, text: str = UNITER, **more: str) -> Experiment:
    (folder / "several.yaml").write_text(text % {"data": DATA, "out": folder / "runs", **more})
    return config.read(Experiment, folder / "several.yaml")


def test_an_experiment_trains_measures_and_tells_tasks_apart(tmp_path):
    asked = settings(tmp_path)
    built = train(asked, asked.folder, progress=False)
    assert isinstance(built.model, TaskMixture) and built.model.weights == {
        "vqa": 1,
        "pictures": 0.5,
        "phrase-grounding": 1,
    }
    batch = built.source("train").batch(range(4), seeded(0))
    losses = {name: built.model.of(name).loss(own) for name, own in batch.by_task.items()}
    expected = losses["vqa"] + 0.5 * losses["pictures"] + losses["phrase-grounding"]
    torch.testing.assert_close(built.model.loss(batch), expected)
    found = evaluate(asked.folder, "dev")
    assert {"vqa/accuracy", "pictures/text-to-image-recall@1", "phrase-grounding/recall@5"} <= found.keys()
    assert found["n"] == 18 and "score" in found
    assert all(name.partition("/")[0] in built.model.weights for name in found["by_type"])
    mixed = built.source("dev").batch([0, 7, 13, 1], seeded(0))
    assert mixed.places == {"vqa": (0, 3), "pictures": (1,), "phrase-grounding": (2,)}
    rows = built.model.predict(mixed)
    assert [row["task"] for row in rows] == ["vqa", "pictures", "phrase-grounding", "vqa"]
    scores = built.model.measure(mixed)["score"]
    assert scores[0] == built.model.of("vqa").measure(mixed.by_task["vqa"])["accuracy"][0]


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    whole = settings(tmp_path / "one")
    weights = train(whole, whole.folder, progress=False).model.state_dict()
    short = settings(tmp_path / "two", UNITER.replace("steps: 4", "steps: 4, schedule: constant"))
    long = settings(
        tmp_path / "one", UNITER.replace("steps: 4", "steps: 4, schedule: constant").replace("several\n", "again\n")
    )
    weights = train(long, long.folder, progress=False).model.state_dict()
    stopped = settings(tmp_path / "two", UNITER.replace("steps: 4", "steps: 2, schedule: constant"))
    train(stopped, stopped.folder, progress=False)
    resumed = train(short, short.folder, resume=True, progress=False).model.state_dict()
    assert weights.keys() == resumed.keys() and all(torch.equal(weights[name], resumed[name]) for name in weights)
    assert int(resumed["steps"]) == 4


def mixture(tmp_path: Path) -> TaskMixture:
    model = build(settings(tmp_path)).model
    assert isinstance(model, TaskMixture)
    return model


def test_a_task_pauses_once_it_has_converged_and_goes_on_once_it_declines(tmp_path):
    model = mixture(tmp_path)
    source = build(settings(tmp_path)).source("dev")
    steady = {"vqa": [0.5, 0.5, 0.5, 0.5, 0.4], "pictures": [0.1, 0.2, 0.3, 0.4, 0.5]}
    states = []
    for turn in range(5):
        per_task = [torch.full((6,), steady.get(name, [0.0] * 5)[turn]).double() for name in source.sources]
        model.after_evaluation("dev", source, Evaluation({"score": torch.cat(per_task)}, 18))
        states.append(dict(zip(model.tasks, model.paused.tolist(), strict=True)))
    assert [state["vqa"] for state in states] == [0, 0, 1, 1, 0]  # two evaluations without a gain, then a drop
    assert [state["pictures"] for state in states] == [0] * 5
    assert [state["phrase-grounding"] for state in states] == [0, 0, 1, 1, 1]
    model.paused.copy_(torch.tensor([0, 0, 1]))  # phrase-grounding, pictures, vqa
    active = []
    for step in range(1, 7):
        model.after_step(step)
        active.append(model.active["vqa"])
    assert active == [False, False, True, False, False, True]
    model.paused.fill_(1)
    assert all(model.active.values())  # a step without any task would learn nothing
    model.schedule = None
    assert all(model.active.values())


def test_nothing_pauses_on_another_split(tmp_path):
    model, source = mixture(tmp_path), build(settings(tmp_path)).source("dev")
    for _ in range(5):
        model.after_evaluation("test", source, Evaluation({"score": torch.zeros(18).double()}, 18))
    assert not model.paused.any()


def test_texts_carry_the_token_of_their_task(tmp_path):
    read = config.read(Experiment, ROOT / "experiments" / "vision" / "12-in-1.yaml")
    for block in read.data.tasks.values():
        block |= {"questions": 8, "eval_questions": 4, "candidate_pool_size": 4}
    built = build(read)
    batch = built.source("train").batch(range(2), seeded(0))
    seen = []
    hook = built.system.encoder.embed.register_forward_pre_hook(lambda _, given: seen.append(given[0].text.tasks))
    assert built.model.loss(batch).isfinite()
    assert [tasks.unique().tolist() for tasks in seen] == [[10], [12], [8], [5], [13], [1]]  # in the order of names
    seen.clear()
    rows = built.model.predictions(built.source("dev"), batch_size=4)
    hook.remove()
    assert {row["task"] for row in rows} == set(read.data.tasks)
    assert {int(task) for tasks in seen for task in tasks.unique()} == {1, 5, 8, 10, 12, 13}
    alone = built.model.of("vqa")
    told = built.model._ask("vqa", "forward", batch.by_task["vqa"].inputs)
    assert not torch.allclose(told, alone(batch.by_task["vqa"].inputs))  # no token outside of the mixture


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pictures: ": "other: ", "task: retrieval": "task: retrievel"}, "no task is called 'retrievel'"),
        ({"weight: 0.5": "weight: 0"}, r"data.tasks.pictures.weight is 0 but must be a number greater than 0"),
        ({"weight: 0.5": "task_id: -1"}, r"data.tasks.pictures.task_id is -1 but must be a whole number of 0 or more"),
        (
            {"number-world, questions": "number-wrld, questions"},
            r"data.tasks.vqa.name is 'number-wrld', which is no data set",
        ),
        ({"weight: 0.5": "questins: 3"}, r"data.tasks.pictures.questins: unknown key questins"),
        ({"weight: 0.5": "questions: many"}, "questions"),
        ({"gap: 3": "gap: 0"}, r"data.gap is 0 but must be at least 1"),
        ({"phrase-grounding: ": "visual-entailment: "}, r"want other heads of the same encoder: vqa"),
    ],
)
def test_what_does_not_fit_is_said(change, message, tmp_path):
    text = UNITER
    for old, new in change.items():
        text = text.replace(old, new, 1) if "number-world" not in old else text
    more = {"data": DATA.replace("number-world", "number-wrld")} if "number-world, questions" in change else {}
    with pytest.raises(UserError, match=message):
        build(settings(tmp_path, text, **more))


def test_one_task_is_no_mixture(tmp_path):
    text = UNITER.replace(
        "    pictures: %(data)s, task: retrieval, weight: 0.5}\n    phrase-grounding: %(data)s}\n", ""
    )
    with pytest.raises(UserError, match=r"data.tasks has 1 tasks, but a mixture has two at least"):
        settings(tmp_path, text)
    with pytest.raises(UserError, match=r"data.gap is 0 but must be at least 1"):
        StopAndGo(gap=0)
