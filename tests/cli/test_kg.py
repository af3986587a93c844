"""The group kg: what a graph holds, what lies around an entity, vectors of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mm_kptm import cli
from mm_kptm.knowledge.embedding.embeddings import load_embeddings

GRAPH = "rome\tin\titaly\nmilan\tin\titaly\nitaly\tin\teurope\nitaly\tborders\tfrance\nfrance\tborders\titaly\n"


@pytest.fixture(autouse=True)
def towns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("towns.tsv").write_text(GRAPH)


def asked(capsys, *arguments):
    assert cli.main(["kg", *arguments]) == 0
    return capsys.readouterr().out


def test_info_counts_what_there_is(capsys):
    found = json.loads(asked(capsys, "info", "towns.tsv", "--json"))
    assert (found["triples"], found["entities"], found["components"]) == (5, 5, 1)
    assert found["relations"] == {"in": 3, "borders": 2}
    lines = asked(capsys, "info", "towns.tsv").splitlines()
    assert ["triples", "5"] in [line.split() for line in lines]
    assert lines[-2:] == ["  in       3", "  borders  2"]


def test_neighbours_are_the_triples_that_lead_away(capsys):
    near = json.loads(asked(capsys, "neighbours", "towns.tsv", "rome", "--json"))
    assert near == [{"head": "rome", "relation": "in", "tail": "italy"}]
    two = json.loads(asked(capsys, "neighbours", "towns.tsv", "rome", "--hops", "2", "--json"))
    assert [row["tail"] for row in two] == ["italy", "europe", "france"]
    along = json.loads(asked(capsys, "neighbours", "towns.tsv", "rome", "--hops", "3", "--relation", "in", "--json"))
    assert [row["tail"] for row in along] == ["italy", "europe"]
    lines = asked(capsys, "neighbours", "towns.tsv", "rome", "--hops", "9", "--limit", "1").splitlines()
    assert lines[2].split() == ["rome", "in", "italy"]
    assert lines[-1] == "3 more; --limit 4 shows them"
    assert asked(capsys, "neighbours", "towns.tsv", "europe") == "no triple leads away from europe\n"


def test_vectors_are_trained_measured_and_written(capsys):
    printed = asked(capsys, "train", "pykeen:nations", "--out", "new/e", "--epochs", "2", "--dim", "8", "--json")
    found = json.loads(printed)
    assert found["triples"] == {"train": 1592, "valid": 199, "test": 201}
    assert 0 < found["filtered"]["test"]["mrr"] < 1
    embeddings = load_embeddings("new/e")
    assert (len(embeddings), embeddings.model, embeddings.settings["epochs"]) == (14, "transe", 2)
    table = asked(capsys, "train", "towns.tsv", "--out", "plain", "--epochs", "1", "--holdout", "0.2")
    assert table.splitlines()[-1] == "plain"


def test_saved_vectors_are_ranked_as_they_were_when_trained(capsys):
    for graph, model in (("pykeen:nations", "rotate"), ("towns.tsv", "transe")):
        arguments = ["--model", model, "--epochs", "2", "--dim", "8", "--holdout", "0.2", "--seed", "3", "--json"]
        trained = json.loads(asked(capsys, "train", graph, "--out", model, *arguments))
        again = json.loads(asked(capsys, "evaluate", model, graph, "--holdout", "0.2", "--json"))
        assert again["filtered"] == trained["filtered"]
        assert again["triples"] == trained["triples"]
    assert asked(capsys, "evaluate", "rotate", "pykeen:nations").splitlines()[-1] == "rotate"
    assert cli.main(["kg", "evaluate", "rotate", "towns.tsv"]) == 2
    sentence = "5 of 5 entities of the graph have no vector, such as europe; train vectors on this graph, or leave its"
    assert sentence in capsys.readouterr().err


def test_what_train_does_not_know_is_counted(capsys):
    Path("parts").mkdir()
    Path("parts/train.tsv").write_text(GRAPH)
    Path("parts/valid.tsv").write_text("rome\tin\teurope\nparis\tin\tfrance\n")
    assert cli.main(["kg", "train", "parts", "--out", "e", "--epochs", "1"]) == 0
    out, err = capsys.readouterr()
    assert "valid: 1 triples with entities or relations unseen in train are dropped" in err
    assert out.splitlines()[2].split()[:2] == ["valid", "1"]


def test_a_run_that_is_killed_leaves_no_folder(tmp_path):
    command = [sys.executable, "-m", "mm_kptm", "kg", "train", "pykeen:nations", "--out", "e", "--epochs", "100000"]
    process = subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(5)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["towns.tsv"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["info", "nix.tsv"], "there is no graph nix.tsv; name a file of triples, a folder, or pykeen:nations"),
        (["info", "pykeen:natoins"], "pykeen has no data set 'natoins'; did you mean nations?"),
        (["neighbours", "towns.tsv", "rom"], "the graph of 5 entities has none called 'rom'; did you mean rome?"),
        (
            ["neighbours", "towns.tsv", "rome", "--relation", "On"],
            "the graph has no relation 'On'; there are borders, in",
        ),
        (["neighbours", "towns.tsv", "rome", "--hops", "0"], "neighbours are one hop away at least, not 0"),
        (["neighbours", "towns.tsv", "rome", "--limit", "0"], "--limit is 0 but must be at least 1"),
        (["train", "towns.tsv", "--out", "towns.tsv"], "towns.tsv exists already; name a folder that does not"),
        (["train", "towns.tsv", "--out", "e", "--dim", "0"], "dim is 0 but must be at least 1"),
        (["train", "towns.tsv", "--out", "e", "--device", "gpu"], "--device is 'gpu', but there is cpu alone here"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments, sentence, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert cli.main(["kg", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err == f"mm-kptm: {sentence}\n"
