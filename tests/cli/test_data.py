"""`data validate` reads files as a task would, and names what is wrong with its line."""

import json

import pytest

from mm_kptm import cli

PAIR = {"premise": "It rains.", "hypothesis": "It is wet.", "label": "entailment"}


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_files_that_are_right_are_counted(tmp_path, capsys):
    one, two = lines(tmp_path / "a.jsonl", PAIR, PAIR), lines(tmp_path / "b.jsonl", PAIR)
    assert cli.main(["data", "validate", "entailment", one, two, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"file": one, "examples": 2}, {"file": two, "examples": 1}]
    assert cli.main(["data", "validate", "entailment", one]) == 0
    assert capsys.readouterr().out.splitlines()[2].split() == [one, "2"]


def test_a_published_format_is_checked_by_its_name(tmp_path, capsys):
    (tmp_path / "test-de.tsv").write_text("Es regnet.\tEs ist nass.\tentailment\nEs regnet.\tEs ist nass.\tmaybe\n")
    assert cli.main(["data", "validate", "entailment", str(tmp_path / "test-de.tsv"), "--format", "xnli"]) == 2
    sentence = 'test-de.tsv, line 2: the label must be one of contradiction, entailment, neutral, but it is "maybe"\n'
    assert capsys.readouterr().err.endswith(sentence)


def test_columns_and_label_names_are_those_of_the_settings(tmp_path, capsys):
    file = tmp_path / "reviews.csv"
    file.write_text("sentence,y,source\nfine,1,web\nbad,0,web\n")
    named = ["--column", "text=sentence", "--column", "label=y"]
    command = ["data", "validate", "sentence-classification", str(file), *named]
    assert cli.main([*command, "--label-names", "negative,positive", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"file": str(file), "examples": 2}]
    assert cli.main([*command, "--label-names", "negative"]) == 2
    assert "'y' is 1, but the label names are 1, for 0 to 0" in capsys.readouterr().err
    assert cli.main([*command, "--label-names", "p,p"]) == 2
    assert "the label names hold 'p' twice; every label has a name of its own\n" in capsys.readouterr().err
    assert cli.main([*command, "--label-names", "p,"]) == 2
    assert 'the label names are ["p", ""], of which one is blank\n' in capsys.readouterr().err
    assert cli.main(["data", "validate", "sentence-classification", str(file), "--column", "text=words"]) == 2
    assert "has no column 'words', which data.columns names for 'text'" in capsys.readouterr().err


def test_the_column_of_the_answer_may_be_missing(tmp_path, capsys):
    file = tmp_path / "new.csv"
    file.write_text("sentence\nfine\n")
    named = ["--column", "text=sentence", "--column", "label=y"]
    assert cli.main(["data", "validate", "sentence-classification", str(file), *named, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"file": str(file), "examples": 1}]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["entailment", "x.jsonl", "--column", "text"], "--column takes KEY=COLUMN, such as text=sentence, not 'text'"),
        (
            ["entailment", "x.jsonl", "--format", "xnli", "--column", "premise=a"],
            "columns are named for files of the format 'xnli', which has its own; leave them out",
        ),
        (["entailment", "x.jsonl"], "x.jsonl, line 2 has no 'hypothesis'; it has premise"),
        (["entailment", "nix.jsonl"], "nix.jsonl was to be read, but there is no such file"),
        (["entailmnt", "x.jsonl"], "no task is called 'entailmnt'; did you mean entailment?"),
        (
            ["entailment", "x.jsonl", "--format", "tacred"],
            "the task entailment reads no format 'tacred'; it reads custom, ",
        ),
        (["knowledge-vqa", "x.jsonl"], "the task knowledge-vqa reads no format 'custom'; it reads ok-vqa"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "x.jsonl", PAIR, {"premise": "x"})
    assert cli.main(["data", "validate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith(f"mm-kptm: {sentence}")
