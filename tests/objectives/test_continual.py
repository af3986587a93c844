"""Objectives arrive one after the other, and the old ones are not forgotten."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.continual import SEQUENTIAL_MULTI_TASK, ContinualSchedule, ForTask
from mm_kptm.objectives.token_classes import TokenClasses

SMALL = ContinualSchedule({"one": (20, 10, 10), "two": (0, 30, 10), "three": (0, 0, 40)})


def test_every_objective_has_its_steps_in_every_stage() -> None:
    trained = [SMALL.objective(step) for step in range(1, SMALL.steps + 1)]
    assert SMALL.lengths == (20, 40, 60)
    for stage, (first, stop) in enumerate([(0, 20), (20, 60), (60, 120)]):
        counts = Counter(trained[first:stop])
        assert counts == {name: steps[stage] for name, steps in SMALL.stages.items() if steps[stage]}


def test_the_steps_of_an_objective_are_spread_over_its_stage() -> None:
    """In no ten steps of the last stage is any of them missing, or more than one step off its share."""
    last = [SMALL.objective(step) for step in range(61, 121)]
    for first in range(0, 60, 6):
        counts = Counter(last[first : first + 6])
        assert abs(counts["one"] - 1) <= 1 and abs(counts["two"] - 1) <= 1 and abs(counts["three"] - 4) <= 1


def test_shares_are_those_of_the_stage() -> None:
    assert SMALL.shares(1) == {"one": 1.0}
    assert SMALL.shares(60) == {"one": 0.25, "two": 0.75}
    assert SMALL.shares(61) == {"one": 1 / 6, "two": 1 / 6, "three": 2 / 3}


def test_the_published_table_gives_every_task_as_many_steps() -> None:
    schedule = ContinualSchedule(SEQUENTIAL_MULTI_TASK)
    assert {sum(steps) for steps in schedule.stages.values()} == {50_000}
    assert schedule.steps == 200_000 and schedule.lengths[0] == 20_000


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({}, r"^a schedule needs at least one stage with the steps of an objective$"),
        ({"a": (1, 2), "b": (1,)}, r"but they differ in their stages: a has 2, b has 1$"),
        ({"a": (1, -2)}, r"^stages.a is \[1, -2\], but no stage has fewer than 0 steps$"),
        ({"a": (1, 0), "b": (1, 0)}, r"^stage 2 has no step of any objective; leave it out$"),
    ],
)
def test_stages_that_say_nothing_are_refused(stages: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ContinualSchedule(stages)


@pytest.mark.parametrize("step", [0, 121])
def test_there_are_no_steps_outside_the_stages(step: int) -> None:
    with pytest.raises(UserError, match=rf"^step {step} was asked for, but the stages have the steps 1 to 120$"):
        SMALL.objective(step)


def words(seed: int) -> Inputs:
    """Twelve words a text; the two tasks ask for two different bits of each word's number."""
    ids = torch.randint(4, 24, (16, 12), generator=torch.Generator().manual_seed(seed))
    marks = {"capitalization": ids.flatten() % 2, "document-words": ids.flatten() // 2 % 2}
    return Inputs(text=replace(Tokens.of(ids.tolist()), token_labels=marks))


def trained(stages: dict[str, tuple[int, ...]], seed: int) -> dict[str, float]:
    """The loss of every task on texts never seen, after the last stage."""
    sizes = {"dim": 8, "num_heads": 2, "num_layers": 2, "ffn_dim": 16, "vocab_size": 24, "max_positions": 12}
    system = mm_kptm.build("ernie2", seed=seed, heads=list(stages), num_tasks=2, dropout=0.0, **sizes).train()
    objectives = {name: ForTask(TokenClasses(name), task) for task, name in enumerate(stages)}
    optimizer = torch.optim.AdamW(system.parameters(), lr=5e-3)
    schedule = ContinualSchedule(stages)
    for step in range(1, schedule.steps + 1):
        objective = objectives[schedule.objective(step)]
        optimizer.zero_grad()
        objective.loss(system, objective.prepare(words(step), torch.Generator())).backward()
        optimizer.step()
    with torch.no_grad():
        held = {name: objective.prepare(words(10_000), torch.Generator()) for name, objective in objectives.items()}
        return {name: objectives[name].loss(system, batch).item() for name, batch in held.items()}


@pytest.mark.parametrize("seed", [0, 1])
def test_old_tasks_are_not_forgotten(seed: int) -> None:
    """As many steps of each task, one after the other or with the old one going on: 1.1 against 0.02 when measured."""
    plain = trained({"capitalization": (80, 0), "document-words": (0, 80)}, seed)
    continual = trained({"capitalization": (56, 24), "document-words": (0, 80)}, seed)
    assert plain["capitalization"] > 0.5 > 0.1 > continual["capitalization"]
    assert max(plain["document-words"], continual["document-words"]) < 0.1


def test_every_row_is_told_its_task() -> None:
    """And the objective sees nothing else of it."""
    batch = ForTask(TokenClasses("capitalization"), 3).prepare(words(0), torch.Generator())
    assert torch.equal(batch.inputs.text.tasks, torch.full((192,), 3))
    assert words(0).text.tasks is None
    one, other = (ForTask(TokenClasses("capitalization"), task) for task in (0, 1))
    assert one.name == "capitalization" and one.heads == ("capitalization",)
    sizes = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 8, "vocab_size": 24, "max_positions": 12}
    system = mm_kptm.build("ernie2", seed=0, heads=["capitalization"], num_tasks=2, **sizes)
    losses = [task.loss(system, task.prepare(words(0), torch.Generator())) for task in (one, other)]
    assert losses[0] != losses[1]
