"""An experiment file is read exactly or refused in one sentence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from mm_kptm import config
from mm_kptm.config.keys import blocks, comments
from mm_kptm.errors import UserError, nearest
from mm_kptm.experiment.settings import Experiment


@dataclass(frozen=True)
class Toys:
    """Examples drawn from a seed."""

    name: Literal["toys"] = "toys"
    count: int = 100


@dataclass(frozen=True)
class Files:
    """Examples read from a file."""

    name: Literal["files"]
    questions: Path


@dataclass(frozen=True)
class Train:
    """How long and how fast."""

    steps: int = 500  #: how many updates
    lr: float = 1e-3
    compile: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float | None = 1.0
    schedule: Literal["linear", "cosine"] = "linear"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"train.steps must be at least 1, not {self.steps}")


@dataclass(frozen=True)
class Trial:
    """A whole experiment."""

    task: str
    data: Annotated[Toys | Files, Field(discriminator="name")] = Toys()
    sizes: dict[str, int | float | bool | str] = field(default_factory=dict)
    train: Train = Train()


FILE = """\
task: vqa
data:
  name: toys
  count: 7
sizes: {dim: 96, eps: 1e-12, act: gelu}
train:
  steps: 10
  lr: 1e-4
  betas: [0.9, 0.98]
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def written(text: str) -> Path:
        Path("trial.yaml").write_text(text)
        return Path("trial.yaml")

    return written


def test_a_file_becomes_typed_values(write):
    trial = config.read(Trial, write(FILE))
    assert trial == Trial(
        task="vqa",
        data=Toys(count=7),
        sizes={"dim": 96, "eps": 1e-12, "act": "gelu"},
        train=Train(steps=10, lr=1e-4, betas=(0.9, 0.98)),
    )
    assert isinstance(trial.sizes["eps"], float)


def test_overrides_win_and_reach_any_depth(write):
    options = ["--train.steps=3", "--sizes.dim=4", "--train.clip=null", "--task=nlvr2", "--train.compile=true"]
    trial = config.read(Trial, write(FILE), options)
    assert (trial.train.steps, trial.sizes["dim"], trial.train.clip, trial.task) == (3, 4, None, "nlvr2")
    assert trial.train.compile is True and trial.train.lr == 1e-4 and trial.sizes["act"] == "gelu"


def test_the_resolved_file_reads_back_equal(write):
    trial = config.read(Trial, write(FILE))
    text = config.dump(trial)
    assert config.read(Trial, write(text)) == trial
    assert "schedule: linear" in text  # defaults are written out


def test_the_name_of_a_choice_picks_its_keys(write):
    trial = config.read(Trial, write("task: vqa\ndata: {name: files, questions: q.json}\n"))
    assert trial.data == Files("files", Path("q.json"))


def test_an_unquoted_word_is_text_where_text_is_wanted(write):
    assert config.read(Trial, write("task: 2024\n")).task == "2024"
    assert config.read(Trial, write("task: true\n")).task == "true"
    with pytest.raises(UserError, match="line 1: task has no value; it is text"):
        config.read(Trial, write("task: null\n"))


def test_help_gives_every_key_its_default_its_meaning_and_its_type():
    page = config.describe(Trial)
    assert "experiment: A whole experiment." in page
    assert "  --task=...                          text" in page
    assert "  --train.steps=500                   how many updates; a whole number" in page
    assert "data, name files: Examples read from a file." in page and "--data.questions=..." in page


def test_help_of_a_prefix_or_a_choice_shows_these_keys_alone():
    page = config.describe(Trial, "train.s")
    assert "--train.steps=500" in page and "--train.clip" not in page and "--task" not in page
    assert config.describe(Trial, "--train.s") == page
    files = config.describe(Trial, "files")
    assert "data, name files" in files and "--data.questions=..." in files and "--data.count" not in files
    with pytest.raises(UserError, match=r"^no key begins with trian; did you mean train\?$"):
        config.describe(Trial, "trian")


def test_every_line_of_help_fits_a_terminal():
    assert max(map(len, config.describe(Experiment).splitlines())) <= 100
    assert max(map(len, config.describe(Experiment, width=None).splitlines())) > 100


def test_every_key_of_every_block_has_a_comment():
    bare = {key.name + " " + block.choice for block in blocks(Experiment) for key in block.keys if not key.meaning}
    assert bare == set()
    assert "train.lr" in {key.name for block in blocks(Experiment) for key in block.keys}


@dataclass(frozen=True)
class Commented:
    """Fields with comments in every place."""

    beside: int = 1  #: at its end
    #: over two
    #: lines
    above: int = 2
    inside: int | None = None  #: in the brackets
    below: int = 3
    """After it."""
    bare: int = 4


@dataclass(frozen=True)
class Inheriting(Commented):
    """Fields of another class besides its own."""

    own: int = 5  #: of this class


def test_comments_stand_beside_above_inside_or_below_a_field_and_are_inherited():
    assert comments(Inheriting) == {
        "beside": "at its end",
        "above": "over two lines",
        "inside": "in the brackets",
        "below": "After it",
        "own": "of this class",
    }


MISTAKES = {
    "a misspelt key": (
        "task: vqa\ntrain:\n  stepps: 10\n",
        "trial.yaml, line 3: unknown key train.stepps; did you mean steps?",
    ),
    "a key like no other": (
        "task: vqa\nqqqq: 1\n",
        "trial.yaml, line 2: unknown key qqqq; there are data, sizes, task, train",
    ),
    "a key of another choice": (
        "task: vqa\ndata:\n  name: toys\n  questions: q.json\n",
        "trial.yaml, line 4: unknown key data.questions; there are count, name",
    ),
    "an unknown choice": (
        "task: vqa\ndata: {name: toy}\n",
        "trial.yaml, line 2: data.name cannot be 'toy'; did you mean toys?",
    ),
    "an odd choice": (
        "task: vqa\ndata: {name: [toys]}\n",
        "trial.yaml, line 2: data.name cannot be a list; there are files, toys",
    ),
    "a choice not made": (
        "task: vqa\ndata: {count: 3}\n",
        "trial.yaml, line 2: data.name is missing; it is one of toys, files",
    ),
    "a missing key": ("train: {steps: 1}\n", "trial.yaml, line 1: the key task is missing (text)"),
    "a missing key inside": (
        "task: vqa\ndata: {name: files}\n",
        "trial.yaml, line 2: the key data.questions is missing (a path)",
    ),
    "a wrong type": (
        "task: vqa\ntrain:\n  steps: many\n",
        "trial.yaml, line 3: train.steps must be a whole number, not 'many'",
    ),
    "a fraction for a count": (
        "task: vqa\ntrain: {steps: 1.5}\n",
        "trial.yaml, line 2: train.steps must be a whole number, not 1.5",
    ),
    "a truth value for a number": (
        "task: vqa\ntrain: {lr: [1]}\n",
        "trial.yaml, line 2: train.lr must be a number, not a list",
    ),
    "true for a count": (
        "task: vqa\ntrain: {steps: true}\n",
        "trial.yaml, line 2: train.steps must be a whole number, not True",
    ),
    "a number in quotes": (
        "task: vqa\ntrain: {steps: '10'}\n",
        "trial.yaml, line 2: train.steps must be a whole number, not '10'",
    ),
    "a wrong entry": (
        "task: vqa\nsizes:\n  dim: 96\n  eps: [1]\n",
        "trial.yaml, line 4: sizes.eps must be a whole number or a number or true or false or text, not a list",
    ),
    "a misspelt key where another is missing": (
        "taks: vqa\n",
        "trial.yaml, line 1: unknown key taks; did you mean task?",
    ),
    "a value for a choice": (
        "task: vqa\ndata: toys\n",
        "trial.yaml, line 2: data holds keys and values, not 'toys'",
    ),
    "brackets that YAML still reads": (
        "task: " + "[" * 220 + "]" * 220,
        "trial.yaml, line 1: brackets nest too deep; 64 levels are read",
    ),
    "a short list": (
        "task: vqa\ntrain: {betas: [0.9]}\n",
        "trial.yaml, line 2: train.betas must be a list of 2, each a number, not a list",
    ),
    "an unknown word": (
        "task: vqa\ntrain:\n  schedule: linaer\n",
        "trial.yaml, line 3: train.schedule must be one of linear, cosine, not 'linaer'; did you mean linear?",
    ),
    "no value": (
        "task: vqa\ntrain:\n  steps:\n",
        "trial.yaml, line 3: train.steps has no value; it is a whole number",
    ),
    "a value for a section": (
        "task: vqa\ntrain: 5\n",
        "trial.yaml, line 2: train holds keys and values, not 5",
    ),
    "a section's own rule": (
        "task: vqa\ntrain:\n  steps: 0\n",
        "trial.yaml, line 3: train.steps must be at least 1, not 0",
    ),
    "a doubled key": (
        "task: vqa\ntask: vqa\n",
        "trial.yaml, line 2: task stands here for the second time, first at trial.yaml, line 1",
    ),
    "broken YAML": (
        "task: vqa\ntrain: {steps: 1\n",
        "trial.yaml, line 3: this is not YAML (expected ',' or '}', but got '<stream end>')",
    ),
    "an alias": (
        "task: &t vqa\ndata: *t\n",
        "trial.yaml, line 2: *t repeats another part; write it out instead",
    ),
    "a value of a Python type": (
        "task: !!python/object:os.system x\n",
        "trial.yaml, line 1: this value cannot be read "
        "(could not determine a constructor for the tag 'tag:yaml.org,2002:python/object:os.system')",
    ),
    "an empty file": ("", "the experiment file trial.yaml is empty"),
    "a file of brackets": (
        "task: " + "[" * 1500 + "]" * 1500,
        "trial.yaml, line 1: brackets nest too deep; 64 levels are read",
    ),
    "unprintable text": (
        "task: \x00",
        "trial.yaml is not YAML (unacceptable character #x0000: special characters are not allowed)",
    ),
    "a mere word": ("vqa\n", "trial.yaml, line 1: an experiment file holds keys and values, such as `task: vqa`"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_sentence_names_the_line_and_the_key(write, mistake):
    text, sentence = MISTAKES[mistake]
    with pytest.raises(UserError) as caught:
        config.read(Trial, write(text))
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("--train.stepps=1", "--train.stepps: unknown key train.stepps; did you mean steps?"),
        ("--train.steps=x", "--train.steps: train.steps must be a whole number, not 'x'"),
        ("--train.steps=0", "--train.steps: train.steps must be at least 1, not 0"),
        ("--train.steps", "--train.steps is no override; write it like --train.steps=10"),
        ("steps=1", "steps=1 is no override; write it like --train.steps=10"),
        ("--task={", "--task: the value '{' is not YAML"),
        ("--train.steps=", "--train.steps: train.steps has no value; it is a whole number"),
    ],
)
def test_a_wrong_override_names_the_option(write, option, sentence):
    with pytest.raises(UserError) as caught:
        config.read(Trial, write(FILE), [option])
    assert str(caught.value) == sentence


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r"the experiment file .*gone.yaml cannot be read: No such file or directory"):
        config.read(Trial, tmp_path / "gone.yaml")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        config.read(Trial, tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"task: caf\xe9\n")
    with pytest.raises(UserError, match=r"latin.yaml, line 1 is not UTF-8; save it in that encoding"):
        config.read(Trial, tmp_path / "latin.yaml")


def test_a_word_is_matched_with_the_nearest_or_all():
    assert nearest("unitr-base", ["uniter-base", "kbert"]) == "; did you mean uniter-base?"
    assert nearest("zzz", ["b", "a"]) == "; there are a, b"
    assert nearest("zzz", []) == ""


def test_a_fault_of_a_dataclass_is_no_mistake_of_the_file(write):
    @dataclass(frozen=True)
    class Faulty:
        name: str = ""

        def __post_init__(self) -> None:
            raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault") as caught:
        config.read(Faulty, write("name: x\n"))
    assert not isinstance(caught.value, UserError)


def test_what_yaml_takes_for_a_date_or_bytes_is_text_as_it_is_written(write):
    trial = config.read(Trial, write("task: 2024-01-01\nsizes: {act: 2024-01-01}\n"))
    assert (trial.task, trial.sizes["act"]) == ("2024-01-01", "2024-01-01")
