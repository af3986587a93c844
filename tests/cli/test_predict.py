"""`predict` writes down what a run answers, `submit` writes what a server takes, each from a real run."""

import json

import pytest

from mm_kptm import cli, experiment
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.custom import OwnTexts
from mm_kptm.datasets.protocol import FileReader
from mm_kptm.datasets.text.xnli import XnliData, check_submission, read_xnli, write_submission
from mm_kptm.errors import UserError
from mm_kptm.experiment import predict as predicting
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.train.settings import TrainSettings

SMALL = {"num_layers": 1, "dim": 16, "num_heads": 2, "ffn_dim": 32, "max_positions": 64}
HEADER = "language\tgold_label\tsentence1\tsentence2\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on XNLI whose test has two languages."""
    home = tmp_path_factory.mktemp("xnli")
    (home / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "rain", "wet", "dry"]))
    (home / "train-en.tsv").write_text("rain\twet\tentailment\nrain\tdry\tcontradiction\n")
    (home / "test.tsv").write_text(
        HEADER + "de\tneutral\train\train\nde\tentailment\train\twet\nfr\tneutral\train\train\n"
    )
    data = XnliData(
        name="xnli", vocabulary=home / "vocab.txt", train=home / "train-en.tsv", test=home / "test.tsv", max_length=16
    )
    settings = Experiment(
        "tiny", EncoderSettings("bert-base", sizes=SMALL), data, "entailment", train=TrainSettings(steps=1), out=home
    )
    experiment.train(settings, settings.folder, progress=False)
    return settings.folder


def rows_of(text):
    return [json.loads(line) for line in text.splitlines()]


def test_a_split_is_predicted_and_kept(run, capsys):
    assert cli.main(["predict", str(run)]) == 0
    rows = rows_of(capsys.readouterr().out)
    assert [row["id"] for row in rows] == ["de-1", "de-2", "fr-1"]
    assert rows == rows_of((run / "predictions" / "test.jsonl").read_text())


def test_a_file_without_answers_is_predicted(run, tmp_path, capsys):
    (tmp_path / "dev-en.tsv").write_text("rain\twet\n")
    arguments = ["predict", str(run), "--input", str(tmp_path / "dev-en.tsv"), "--out", str(tmp_path / "rows.jsonl")]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'rows.jsonl'}\n"
    (row,) = rows_of((tmp_path / "rows.jsonl").read_text())
    assert row["answer"] and not row.keys() & {"correct", "target"}


def test_one_label_a_line_and_one_file_a_language_are_submitted(run, tmp_path, capsys):
    assert cli.main(["submit", str(run), "--out", str(tmp_path)]) == 0
    files = capsys.readouterr().out.splitlines()
    assert files == [str(tmp_path / "xnli" / f"test-{language}.tsv") for language in ("de", "fr")]
    assert [len((tmp_path / file).read_text().splitlines()) for file in files] == [2, 1]
    check_submission(tmp_path, "test", read_xnli(run.parent / "test.tsv"))


def test_what_a_server_would_refuse_is_refused_first(run, tmp_path):
    asked = read_xnli(run.parent / "test.tsv")
    row = {"language": "de", "answer": "neutral"}
    write_submission([row, row], tmp_path)
    with pytest.raises(UserError, match=r"test-fr.tsv was to be read, but there is no such file"):
        check_submission(tmp_path, "test", asked)
    write_submission([row], tmp_path)
    with pytest.raises(
        UserError, match=r"test-de.tsv, line 2 is missing: the file has 1 lines, but there are 2 pairs in 'de'"
    ):
        check_submission(tmp_path, "test", asked)
    write_submission([row, {"language": "de", "answer": "maybe"}], tmp_path)
    with pytest.raises(UserError, match=r"test-de.tsv, line 2 must be one of contradiction, .* but it is \"maybe\""):
        check_submission(tmp_path, "test", asked)


def test_runs_that_cannot_are_told_so(run, tmp_path, capsys):
    data = NumberWorldData(questions=8, eval_questions=4)
    encoder = EncoderSettings("uniter-base", sizes=SMALL)
    steps = TrainSettings(steps=1, batch_size=4)
    asking = Experiment("asking", encoder, data, "entailment", train=steps, out=tmp_path)
    silent = Experiment("silent", encoder, data, objectives={"masked-tokens": 1.0}, train=steps, out=tmp_path)
    for settings in (asking, silent):
        experiment.train(settings, settings.folder, progress=False)
    for arguments, sentence in (
        (["predict", str(asking.folder), "--input", "x"], "was trained on number-world, which is read from no file of"),
        (
            ["submit", str(asking.folder)],
            "was trained on number-world, whose answers no server takes; `mm-kptm ",
        ),
        (["submit", str(asking.folder), "--check", "x"], "number-world, whose official files cannot be checked here"),
        (["predict", str(silent.folder)], "pretrained without a task and answers nothing; predict a run that has one"),
        (["predict", str(run), "--split", "dev"], "these data have no split 'dev'; there are train, test"),
        (["predict", str(run), "--out", str(tmp_path)], "a folder, but names the file to write"),
        (["predict", "nix"], "nix is no run folder: it has no config.yaml"),
    ):
        assert cli.main(arguments) == 2
        assert sentence in capsys.readouterr().err


def test_a_file_is_predicted_part_by_part(tmp_path, capsys, monkeypatch):
    """The rows are those of the whole file, and nothing is printed of a file that breaks off."""
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "a", "b", "c"]))
    lines = [json.dumps({"text": " ".join("abc"[: 1 + n % 3]), "label": "xy"[n % 2]}) + "\n" for n in range(11)]
    (tmp_path / "own.jsonl").write_text("".join(lines))
    own = dict.fromkeys(("train", "test"), tmp_path / "own.jsonl")
    data = OwnTexts(name="custom-text", vocabulary=tmp_path / "vocab.txt", max_length=8, **own)
    encoder = EncoderSettings("bert-base", sizes=SMALL)
    settings = Experiment("own", encoder, data, "sentence-classification", train=TrainSettings(steps=1), out=tmp_path)
    experiment.train(settings, settings.folder, progress=False)
    command = ["predict", str(settings.folder), "--input", str(tmp_path / "own.jsonl")]
    assert cli.main(command) == 0
    whole = rows_of(capsys.readouterr().out)
    made = []
    monkeypatch.setattr(predicting, "PART", 4)
    monkeypatch.setattr(FileReader, "__call__", lambda *_: pytest.fail("the whole file is held"))
    parts = FileReader.parts
    monkeypatch.setattr(FileReader, "parts", lambda *some: (made.append(len(one)) or one for one in parts(*some)))
    assert cli.main(command) == 0
    rows = rows_of(capsys.readouterr().out)
    assert made == [4, 4, 3] and [row["id"] for row in rows] == [str(n) for n in range(1, 12)]
    for row, same in zip(rows, whole, strict=True):
        assert row == {**same, "score": pytest.approx(same["score"], abs=1e-5)}
    (tmp_path / "own.jsonl").write_text("".join(lines) + "{\n")
    assert cli.main(command) == 2
    out, err = capsys.readouterr()
    assert out == "" and "own.jsonl, line 12, column 2: no valid JSON" in err
