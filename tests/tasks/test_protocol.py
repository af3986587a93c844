"""The catalogue of tasks, and which system can serve which."""

import json
from dataclasses import fields, is_dataclass
from typing import get_args, get_origin

import pytest

import mm_kptm
from mm_kptm.errors import UserError
from mm_kptm.tasks import protocol
from mm_kptm.tasks.protocol import Task, catalogue, check_fit, find, write_predictions
from mm_kptm.tasks.text.sentence_retrieval import ParallelSentences
from mm_kptm.tasks.vision.knowledge_vqa import KnowledgeVQA
from mm_kptm.tasks.vision.vqa import VQA


def test_every_task_is_found_and_says_what_it_is():
    assert {"vqa": VQA, "knowledge-vqa": KnowledgeVQA, "parallel-sentences": ParallelSentences}.items() <= (
        catalogue().items()
    )
    for task in catalogue().values():
        assert task.needs and task.__doc__


def test_a_task_that_is_not_there_is_named_with_its_neighbour():
    with pytest.raises(UserError, match=r"no task is called 'vqaa'; did you mean vqa\?"):
        find("vqaa")
    with pytest.raises(UserError, match=r"no task is called 'qqqq'; there are .*knowledge-vqa, "):
        find("qqqq")
    assert find("vqa") is VQA


def test_two_tasks_of_one_name_are_refused(monkeypatch):
    class Other(VQA):
        pass

    monkeypatch.setattr("mm_kptm.tasks.vision.vqa.Other", Other, raising=False)
    catalogue.cache_clear()
    with pytest.raises(UserError, match=r"two tasks are called 'vqa'; rename the one in mm_kptm.tasks.vision.vqa"):
        protocol.catalogue()
    catalogue.cache_clear()


def test_a_system_that_reads_everything_fits():
    check_fit(VQA, mm_kptm.catalogue()["uniter-base"])
    check_fit(ParallelSentences, mm_kptm.catalogue()["bert-base"])


def test_a_system_that_cannot_see_is_refused_and_others_are_named():
    message = (
        r"the task vqa shows regions and text, but bert-base does not read regions; systems that do: .*uniter-base"
    )
    with pytest.raises(UserError, match=message) as raised:
        check_fit(VQA, mm_kptm.catalogue()["bert-base"])
    assert " bert-base" not in str(raised.value).partition("systems that do:")[2]


def test_predictions_are_lines_of_json(tmp_path):
    path = tmp_path / "predictions" / "test.jsonl"
    write_predictions([{"id": "a", "answer": "二十七", "correct": 1.0}, {"id": "b", "correct": 0.0}], path)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a", "b"]
    assert "二十七" in lines[0]
    assert [file.name for file in path.parent.iterdir()] == ["test.jsonl"]


def test_tasks_say_whether_objectives_may_stand_beside_them():
    for task in catalogue().values():
        bases = [base for one in task.__mro__ for base in getattr(one, "__orig_bases__", ())]
        tasks = [base for base in bases if isinstance(get_origin(base), type) and issubclass(get_origin(base), Task)]
        read = (get_args(base)[0] for base in tasks)  # the batch, or several of which it is one
        batches = next(several for one in read if all(map(is_dataclass, several := get_args(one) or (one,))))
        assert {task.single_inputs} == {"inputs" in {field.name for field in fields(batch)} for batch in batches}, task
