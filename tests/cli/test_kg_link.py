"""kg link: texts in, linked texts out, whole or not at all."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mm_kptm
from mm_kptm import cli
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS

NAMES = (
    "surface\tentity\tcount\tlanguage\nParis\tQ90\t9\ten\nParis\tQ167646\t1\ten\nNew York\tQ60\t1\ten\n"
    "York\tQ42462\t1\ten\nParis\tQ90\t1\tde\n巴黎\tQ90\t1\tzh\n"
)
GRAPH = (
    "<q:90> <q:in> <q:142> .\n"
    '<q:90> <http://www.w3.org/2000/01/rdf-schema#label> "Paris"@en .\n'
    '<q:90> <http://schema.org/description> "capital of france"@en .\n'
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("names.tsv").write_text(NAMES, encoding="utf-8")
    Path("graph.nt").write_text(GRAPH, encoding="utf-8")
    Path("texts.txt").write_text("to Paris\n\nNew York and 巴黎\n", encoding="utf-8")
    return tmp_path


def linked(capsys, *options: str, names: str = "names.tsv", texts: str = "texts.txt") -> list[dict]:
    assert cli.main(["kg", "link", names, texts, *options]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def entities(texts: list[dict]) -> list[list[str | None]]:
    return [[mention["entity"] for mention in text["mentions"]] for text in texts]


def test_every_text_comes_back_with_its_mentions(folder, capsys):
    texts = linked(capsys)
    assert [(text["id"], text["text"]) for text in texts] == [("1", "to Paris"), ("3", "New York and 巴黎")]
    assert entities(texts) == [["Q90"], ["Q60", "Q90"]]
    assert entities(linked(capsys, "--overlaps")) == [["Q90"], ["Q60", "Q42462", "Q90"]]
    assert entities(linked(capsys, "--language", "de")) == [["Q90"], []]
    assert entities(linked(capsys, "--language", "en", "--threshold", "0.95")) == [[None], ["Q60"]]
    assert entities(linked(capsys, names="graph.nt")) == [["q:90"], []]


def test_the_page_shows_what_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "knowledge.md").read_text(encoding="utf-8")
    section = page[page.index("## Entity linking") :]
    table, command, line = (re.search(f"```{kind}\n(.*?)```", section, re.DOTALL)[1] for kind in ("tsv", "sh", "json"))
    Path("names.tsv").write_text(table, encoding="utf-8")
    Path("texts.txt").write_text(json.loads(line)["text"], encoding="utf-8")
    assert cli.main(command.split()[1:]) == 0
    assert Path("linked.jsonl").read_text(encoding="utf-8") == line


def test_json_is_one_value(folder, capsys):
    assert cli.main(["kg", "link", "names.tsv", "texts.txt", "--json"]) == 0
    assert [text["id"] for text in json.loads(capsys.readouterr().out)] == ["1", "3"]
    assert cli.main(["kg", "link", "names.tsv", "texts.txt", "--json", "--out", "out/linked.jsonl"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"out": str(Path("out/linked.jsonl")), "texts": 2, "mentions": 3, "linked": 3}
    assert len(Path("out/linked.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    assert cli.main(["kg", "link", "names.tsv", "texts.txt", "--out", "out/linked.jsonl"]) == 0
    assert "3 mentions in 2 texts, 3 linked" in capsys.readouterr().out


def test_what_is_written_is_linked_again(folder, capsys):
    assert cli.main(["kg", "link", "names.tsv", "texts.txt", "--out", "linked.jsonl"]) == 0
    capsys.readouterr()
    assert entities(linked(capsys, texts="linked.jsonl")) == [["Q90"], ["Q60", "Q90"]]


def test_what_another_linker_found_is_named_by_the_dictionary(folder, capsys):
    found = {"spot": "Paris", "start": 3, "end": 8, "rho": 0.3, "title": "Paris"}
    Path("tagme.jsonl").write_text(json.dumps({"text": "to Paris", "annotations": [found]}), encoding="utf-8")
    (text,) = linked(capsys, "--from", "tagme", "--language", "en", texts="tagme.jsonl")
    assert (text["mentions"][0]["entity"], text["language"]) == ("Q90", "en")
    assert entities(linked(capsys, "--from", "tagme", "--threshold", "0.4", texts="tagme.jsonl")) == [[None]]


@pytest.fixture
def encoder(folder):
    """A tiny model with the vocabulary of its pieces."""
    pieces = (*BERT_SPECIALS, "to", "paris", "capital", "of", "france")
    sizes = {"dim": 16, "num_layers": 2, "num_heads": 2, "ffn_dim": 32, "vocab_size": len(pieces)}
    mm_kptm.save(mm_kptm.build("bert-base", heads=(), seed=0, **sizes), "model")
    Path("model/vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    return "model"


def test_an_encoder_reads_the_context(encoder, capsys):
    (text, _) = linked(capsys, "--encoder", encoder, "--language", "en", names="graph.nt")
    (candidate,) = text["mentions"][0]["candidates"]
    assert candidate["prior"] == 1.0 and 0.5 < candidate["score"] < 1.0
    again = linked(capsys, "--encoder", encoder, "--language", "en", names="graph.nt")
    assert again[0] == text
    (text, _) = linked(capsys, "--encoder", encoder, "--weight", "0", names="graph.nt")
    assert "score" not in text["mentions"][0]["candidates"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["names.tsv", "texts.txt", "--language", "fr"], "names.tsv has no names in 'fr'; it has de, en, zh"),
        (["graph.nt", "texts.txt", "--language", "de"], "graph.nt has no names in 'de'; it has en"),
        (["names.tsv", "empty.txt"], "empty.txt is empty; one text a line was expected"),
        (["empty.txt", "texts.txt"], "empty.txt is empty; a dictionary of names has a name and an entity a line"),
        (["names.tsv", "latin.txt"], "latin.txt, line 2 is not UTF-8"),
        (["latin.txt", "texts.txt"], "latin.txt, line 2 is not UTF-8"),
        (["names.tsv", "nothing.txt"], "texts were looked for in nothing.txt, but there is no such file"),
        (["nothing.tsv", "texts.txt"], "there is no graph nothing.tsv"),
        (
            ["names.tsv", "texts.txt", "--threshold", "2"],
            "the threshold of linking is 2, but scores lie between 0 and 1",
        ),
        (["names.tsv", "texts.txt", "--out", "."], "--out is ., a folder, but names the file to write"),
        (["names.tsv", "texts.txt", "--from", "tagmes"], "mentions of 'tagmes' are not read; did you mean tagme?"),
        (["names.tsv", "texts.txt", "--encoder", "nothing"], "nothing is no encoder of texts"),
        (
            ["names.tsv", "texts.txt", "--from", "rel", "--encoder", "model"],
            "--encoder reads texts for our own linker, but --from says that rel read them",
        ),
    ],
)
def test_a_mistake_is_one_sentence(arguments, message, folder, capsys):
    Path("empty.txt").write_text("\n", encoding="utf-8")
    Path("latin.txt").write_bytes("Rom\tQ220\nM\xfcnchen\tQ1726\n".encode("latin-1"))
    assert cli.main(["kg", "link", *arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1
    assert not out


def test_a_file_that_breaks_off_leaves_no_output(folder, capsys):
    Path("texts.jsonl").write_text('{"text": "to Paris"}\n{"text"\n', encoding="utf-8")
    assert cli.main(["kg", "link", "names.tsv", "texts.jsonl", "--out", "out.jsonl"]) == 2
    assert "texts.jsonl, line 2, column 8: no valid JSON" in capsys.readouterr().err
    assert not list(folder.glob("out.jsonl*"))


def test_a_killed_command_leaves_no_torn_output(folder):
    """Texts come through a pipe that stays open, so that it is killed while it writes."""
    os.mkfifo("pipe")
    Path("out.jsonl").write_text("old\n", encoding="utf-8")
    command = [sys.executable, "-m", "mm_kptm", "kg", "link", "names.tsv", "pipe", "--out", "out.jsonl"]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    with open("pipe", "w", encoding="utf-8") as pipe:
        pipe.write("to Paris\n" * 100_000)
        pipe.flush()
        while not any(part.stat().st_size for part in folder.glob(".out.jsonl.*.part")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert Path("out.jsonl").read_text(encoding="utf-8") == "old\n"


def test_the_same_bytes_whatever_the_seed_of_hashes(folder):
    outputs = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "mm_kptm", "kg", "link", "names.tsv", "texts.txt", "--overlaps"]
        outputs.add(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert len(outputs) == 1
