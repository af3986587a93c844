"""Listings name everything there is, for readers and for machines."""

from __future__ import annotations

import json

import pytest

import mm_kptm
from mm_kptm import cli


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(arguments) == 0
    return capsys.readouterr().out


def test_systems_are_listed_with_what_they_read(capsys):
    rows = json.loads(printed(capsys, "list", "systems", "--json"))
    assert {row["name"] for row in rows} == set(mm_kptm.catalogue())
    assert all(row["reads"] and row["paper"] for row in rows)
    for name in mm_kptm.catalogue():
        assert name in printed(capsys, "list", "systems")


def test_data_sets_are_the_choices_of_the_experiment_file(capsys):
    names = [row["name"] for row in json.loads(printed(capsys, "list", "datasets", "--json"))]
    assert names == sorted(names) and {"number-world", "vqa-v2", "xnli", "custom-text"} <= set(names)


def test_tasks_are_listed_with_what_they_need(capsys):
    rows = json.loads(printed(capsys, "list", "tasks", "--json"))
    assert {"vqa", "knowledge-vqa", "parallel-sentences"} <= {row["name"] for row in rows}
    assert all(row["needs"] and row["what"] for row in rows)


def test_a_system_is_shown_with_its_sizes_and_exact_count(capsys):
    shown = json.loads(printed(capsys, "show", "bert-base", "--json"))
    system = mm_kptm.build("bert-base")
    assert shown["parameters"] == sum(parameter.numel() for parameter in system.parameters())
    assert shown["sizes"]["num_layers"] == 12
    assert shown["paper"].startswith("Devlin et al. 2019")


def test_layers_that_are_alike_are_shown_once(capsys):
    text = printed(capsys, "show", "bert", "--depth", "4")
    assert "0-11 (Layer, 7,087,872)" in text
    assert text.count("AttentionSublayer") == 1
    assert "Linear" not in printed(capsys, "show", "bert", "--depth", "1")


def test_a_data_set_is_shown_too(capsys):
    assert "VQA v2's own question and annotation files" in printed(capsys, "show", "vqa-v2")


def test_an_unknown_name_is_refused_with_the_nearest(capsys):
    assert cli.main(["show", "brt-base"]) == 2
    assert capsys.readouterr().err == "mm-kptm: nothing here is called 'brt-base'; did you mean bert-base?\n"


def test_objectives_are_listed_with_what_they_need_of_data(capsys):
    rows = {row["name"]: row for row in json.loads(printed(capsys, "list", "objectives", "--json"))}
    assert rows["masked-region-classes"]["needs"] == [
        "texts",
        "image regions",
        "class distributions of image regions",
    ]
    assert "Devlin et al. 2019" in rows["next-sentence"]["paper"]
    assert "documents of several sentences" in printed(capsys, "show", "next-sentence")


@pytest.mark.parametrize("kind", ["systems", "tasks", "datasets", "objectives"])
def test_a_list_fits_100_columns_unless_asked_to_be_wide(kind, capsys):
    assert cli.main(["list", kind]) == 0
    out, err = capsys.readouterr()
    assert max(map(len, out.splitlines())) <= 100
    wide = printed(capsys, "list", kind, "--wide")
    assert "…" not in wide and len(wide.splitlines()) == len(out.splitlines())
    assert ("--wide" in err) == ("…" in out) == (max(map(len, wide.splitlines())) > 100)
