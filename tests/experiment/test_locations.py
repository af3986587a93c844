"""Paths lead from the experiment file, and a run is evaluated wherever it and its data have gone."""

import shutil
from pathlib import Path

import pytest

from mm_kptm import cli, experiment
from mm_kptm.config.paths import is_there, paths_of, with_paths
from mm_kptm.errors import UserError
from mm_kptm.experiment.locations import read_experiment, relocated
from mm_kptm.train.settings import TrainSettings

WORDS = ("good", "bad", "film", "play", "is", "very")
EXPERIMENT = """\
name: reviews
task: sentence-classification
data: {name: custom-text, train: files/train.tsv, test: files/test.tsv, vocabulary: files/vocab.txt, max_length: 8}
encoder: {recipe: bert-base, sizes: {num_layers: 1, dim: 16, num_heads: 2, ffn_dim: 32}}
train: {steps: 2, batch_size: 4, save_every: 2, eval_every: 2}
"""


def project(folder: Path) -> Path:
    (folder / "files").mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "files/vocab.txt").write_text("\n".join(vocabulary) + "\n")
    rows = [f"{place} is {word}\t{label}" for place in ("film", "play") for word, label in (("good", 1), ("bad", 0))]
    for name in ("train", "test"):
        (folder / f"files/{name}.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    return folder / "experiment.yaml"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    project(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert cli.main(["train", "experiment.yaml"]) == 0
    return home


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "home"))


def test_paths_of_a_file_lead_from_it_and_those_of_the_command_line_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project(tmp_path / "project")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    read = read_experiment(path)
    assert read.data.train == path.parent / "files/train.tsv"
    assert read.out == Path("runs")
    project(tmp_path / "here" / "other")
    shutil.move(tmp_path / "here/other/files", tmp_path / "here/files")  # both places have it: that of the file is read
    assert read_experiment(path).data.train == path.parent / "files/train.tsv"
    given = read_experiment(path, ["--data.train=files/train.tsv"])
    assert (given.data.train, given.data.test) == (Path("files/train.tsv"), path.parent / "files/test.tsv")
    changed = read_experiment(path, changes={"data": {"test": "files/test.tsv"}, "train.steps": 1})
    assert (changed.data.train, changed.data.test) == (path.parent / "files/train.tsv", Path("files/test.tsv"))


def test_a_path_that_is_only_here_is_found_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project(tmp_path)
    (tmp_path / "experiments").mkdir()
    moved = path.rename(tmp_path / "experiments/experiment.yaml")
    monkeypatch.chdir(tmp_path)
    assert read_experiment(moved.relative_to(tmp_path)).data.train == Path("files/train.tsv")


def test_a_project_that_was_moved_is_evaluated_from_anywhere(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert experiment.evaluate(home / "runs/reviews", "test")["n"] == 4


def test_a_run_that_was_mailed_finds_its_data_in_its_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(home / "runs/reviews", tmp_path / "inbox/reviews"))
    shutil.rmtree(home)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["evaluate", "inbox/reviews"]) == 2
    said = capsys.readouterr().err
    assert said.endswith(
        "train.tsv was to be read, but there is no such file; inbox/reviews was trained with it: put it, or a link to "
        "its folder, into inbox/reviews/data\n"
    )
    again = project(tmp_path / "again").parent / "files"
    (again / "vocab.txt").unlink()  # the run's model has it
    (run / "data").symlink_to(again)
    assert cli.main(["evaluate", "inbox/reviews", "--json"]) == 0
    with (again / "test.tsv").open("a") as file:
        file.write("play is very good\t1\n")
    assert cli.main(["evaluate", "inbox/reviews"]) == 2
    assert "was trained on other data: test has changed since" in capsys.readouterr().err


def test_the_right_file_beside_the_run_wins_over_another_one_here(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = project(tmp_path / "here").parent
    with (here / "files/test.tsv").open("a") as file:
        file.write("play is very good\t1\n")
    monkeypatch.chdir(here)
    assert cli.main(["evaluate", str(home / "runs/reviews"), "--json"]) == 0
    shutil.rmtree(home / "files")
    assert cli.main(["evaluate", str(home / "runs/reviews")]) == 2
    assert "test has changed since; put what it was trained with into" in capsys.readouterr().err


def test_a_run_goes_on_where_it_was_moved_to(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert cli.main(["train", "--resume", str(home / "runs/reviews"), "--train.steps=3"]) == 0
    runs = f"--out={home / 'runs'}"
    assert cli.main(["train", str(home / "experiment.yaml"), "--resume", runs, "--train.steps=4"]) == 0
    assert (
        cli.main(["train", str(home / "experiment.yaml"), "--resume", runs, "--train.lr=1.0", "--train.steps=4"]) == 2
    )


def test_weights_that_are_gone_are_those_of_the_run(home: Path) -> None:
    run = home / "runs/reviews"
    settings = read_experiment(home / "experiment.yaml", [f"--encoder.weights={home / 'nowhere' / 'weights.bin'}"])
    assert relocated(settings, run).encoder.weights == run / "model"
    assert relocated(settings, home).encoder.weights == home / "nowhere" / "weights.bin"


def test_patterns_and_beginnings_of_names_are_there(tmp_path: Path) -> None:
    for name in ("shard-000.tar", "shard-001.tar", "news.de", "seed-0"):
        (tmp_path / name).touch()
    for name in ("shard-{000..001}.tar", "shard-*.tar", "news", "seed-{seed}", "*.tar"):
        assert is_there(tmp_path / name), name
    for name in ("part-{000..001}.tar", "blog", "none/*.tar"):
        assert not is_there(tmp_path / name), name


def test_paths_in_mappings_and_tuples_are_paths_too() -> None:
    settings = {"train": {"en": Path("a"), "de": Path("b")}, "more": (Path("c"), 1), "rest": TrainSettings()}
    assert paths_of(settings) == {"train.en": Path("a"), "train.de": Path("b"), "more.0": Path("c")}
    changed = with_paths(settings, lambda key, path: path / key)
    assert changed["train"] == {"en": Path("a/train.en"), "de": Path("b/train.de")}
    assert changed["more"] == (Path("c/more.0"), 1)
    assert changed["rest"] is settings["rest"]


def test_a_run_that_is_no_run_is_said_as_before(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run folder"):
        experiment.evaluate(tmp_path)
