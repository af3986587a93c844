"""Names of other libraries are answered with the key of an experiment file."""

from __future__ import annotations

import pytest

from mm_kptm import config
from mm_kptm.config.other_libraries import _NAMES, _paths, name_here
from mm_kptm.errors import UserError
from mm_kptm.experiment.settings import Experiment

FILE = """\
name: trial
task: vqa
encoder: {recipe: uniter-base}
data: {name: number-world}
"""


def test_every_name_leads_to_a_key_there_is():
    paths = set(_paths(Experiment, ""))
    assert {name: key for name, (key, _) in _NAMES.items() if key not in paths} == {}


def test_no_name_is_a_key_of_the_same_block():
    paths = set(_paths(Experiment, ""))
    assert [name for name in _NAMES if f"train.{name}" in paths or name in paths] == []


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("num_train_epochs: 3", "unknown key num_train_epochs; num_train_epochs is called train.epochs here"),
        (
            "train: {num_train_epochs: 3}",
            "unknown key train.num_train_epochs; num_train_epochs is called train.epochs here",
        ),
        (
            "train: {warmup_steps: 100}",
            "unknown key train.warmup_steps; warmup_steps is called train.warmup here (a fraction of the steps)",
        ),
        ("train: {accumulate-grad-batches: 2}", "is called train.gradient_accumulation_steps here"),
        ("train: {max_update: 9}", "unknown key train.max_update; max_update is called train.steps here"),
        ("train: {wd: 0.1}", "unknown key train.wd; wd is called train.weight_decay here"),
        (
            "train: {evaluation_strategy: steps}",
            "unknown key train.evaluation_strategy; evaluation_strategy is called train.eval_every here (in steps)",
        ),
        ("lr: 1e-4", "unknown key lr; did you mean train.lr?"),
        ("batch_size: 4", "unknown key batch_size; did you mean train.batch_size?"),
        ("trian: {lr: 1e-4}", "unknown key trian; did you mean train?"),
        ("train: {stepz: 4}", "unknown key train.stepz; did you mean steps?"),
    ],
)
def test_an_unknown_key_says_what_it_is_called_here(tmp_path, line, sentence):
    file = tmp_path / "trial.yaml"
    file.write_text(FILE + line + "\n")
    with pytest.raises(UserError) as caught:
        config.read(Experiment, file)
    assert str(caught.value).startswith(f"{file}, line 5: unknown key")
    assert str(caught.value).endswith(sentence)


def test_an_option_is_answered_too(tmp_path):
    file = tmp_path / "trial.yaml"
    file.write_text(FILE)
    with pytest.raises(UserError, match=r"^--learning_rate: unknown key learning_rate; learning_rate is called train"):
        config.read(Experiment, file, ["--learning_rate=3e-5"])


def test_a_word_of_no_library_gets_no_hint():
    assert name_here(Experiment, ("train", "qqqq")) == ""
