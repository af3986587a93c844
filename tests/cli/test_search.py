"""The verbs of picture search, from the command line: what they print, and what they refuse."""

import json

import pytest

from mm_kptm import cli
from mm_kptm.suites.search import model as models
from tests.suites.search.towers import model, paint


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "open_model", lambda path: model(2.0 if "other" in str(path) else 1.0, str(path)))
    (tmp_path / "colours").mkdir()
    for name, colour in {"red.png": (250, 0, 0), "green.png": (0, 250, 0), "blue.png": (0, 0, 250)}.items():
        paint(tmp_path / "pictures" / name, colour)
    return tmp_path / "pictures"


def run(*words):
    return cli.main(["search", *map(str, words)])


def test_index_then_query(pictures, capsys):
    assert run("index", "pictures", "--model", "colours") == 0
    said = capsys.readouterr().out
    assert "search-index: 3 pictures (3 files read, 3 embedded)" in said
    assert run("query", "blue", "-k", "2") == 0
    printed = capsys.readouterr()
    first, second = printed.out.splitlines()
    assert first == "+1.0000  blue.png" and second.startswith("+0.")
    assert printed.err == "fact: <b>blue</b> is a colour\n"


def test_one_json_value(pictures, capsys):
    assert run("index", "pictures", "--model", "colours", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["pictures"], report["read"], report["embedded"], report["skipped"]) == (3, 3, 3, [])
    assert run("query", "--image", pictures / "red.png", "--json") == 0
    found = json.loads(capsys.readouterr().out)["found"]
    assert found[0]["name"] == "red.png" and found[0]["similarity"] == pytest.approx(1)


def test_a_second_index_reads_nothing_and_names_what_it_skipped(pictures, capsys):
    (pictures / "torn.png").write_bytes(b"no picture")
    assert run("index", "pictures", "--model", "colours") == 0
    assert "skipped: pictures/torn.png is no picture of a known kind" in capsys.readouterr().err
    paint(pictures / "torn.png", (1, 1, 1))
    run("index", "pictures", "--model", "colours")
    capsys.readouterr()
    assert run("index", "pictures", "--model", "colours") == 0
    assert "4 pictures (0 files read, 0 embedded)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "query red --index none",
            "none is no index; make it with `mm-kptm search index FOLDER --model RUN --index none`",
        ),
        ("query", "search by one thing: a text, or a picture with --image FILE"),
        ("query red --image pictures/red.png", "search by one thing"),
        ("query red -k 0", "0 results were asked for; from 1 to 1000 can be shown"),
        ("query --image nowhere.png", "picture nowhere.png is not there"),
        ("query --image torn.png", "torn.png is no picture of a known kind"),
        ("query red --model other", "was made with"),
        ("serve --port 70000", "--port is 70000, but ports go from 0 to 65535"),
        ("index empty --model colours", "empty holds no picture; files of these kinds are read: .jpg"),
        ("index nowhere --model colours", "pictures were looked for in nowhere, which is no folder"),
        ("index pictures --model other", "index again with --rebuild, or name another --index"),
        ("index pictures --model colours --batch 0", "--batch is 0; embed 1 picture at once at least"),
    ],
)
def test_a_mistake_is_one_sentence_and_the_index_stays_usable(pictures, tmp_path, capsys, words, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn.png").write_bytes(b"no picture")
    run("index", "pictures", "--model", "colours")
    capsys.readouterr()
    assert run(*words.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mm-kptm: ") and said in line
    assert run("query", "red", "-k", 1) == 0
    assert capsys.readouterr().out.endswith("red.png\n")


def test_a_model_that_moved_is_asked_for(pictures, tmp_path, capsys):
    run("index", "pictures", "--model", "colours")
    (tmp_path / "colours").rename(tmp_path / "elsewhere")
    assert run("query", "red") == 2
    assert "is no longer there; name where it is as --model" in capsys.readouterr().err
    assert run("query", "red", "--model", "elsewhere") == 0
