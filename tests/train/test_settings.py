"""Settings that make no sense are refused where they are given."""

from __future__ import annotations

import pytest

from mm_kptm.errors import UserError
from mm_kptm.train import TrainSettings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": -1}, "train.steps is -1 but must not be negative"),
        ({"epochs": 0}, "train.epochs is 0 but must be greater than 0"),
        (
            {"steps": 5, "epochs": 2},
            "train.steps is 5 and train.epochs is 2, but one of them sets the length of the run; leave the other out, "
            "or set it to null",
        ),
        ({"lr": float("nan")}, "train.lr is nan but must be greater than 0"),
        ({"max_grad_norm": -1.0}, "train.max_grad_norm is -1.0 but must be greater than 0"),
        ({"weight_decay": -0.1}, "train.weight_decay is -0.1 but must not be negative"),
        ({"warmup": 1.5}, "train.warmup is 1.5 but must be a fraction of the steps between 0 and 1"),
        (
            {"decay_fraction": 0.0},
            "train.decay_fraction is 0.0 but must be a fraction of the steps above 0 and not greater than 1",
        ),
        ({"betas": (0.9, 1.0)}, r"train.betas are \[0.9, 1.0\] but must lie between 0 and 1"),
        ({"schedule": "stairs"}, "train.schedule is 'stairs' but must be one of linear, cosine, constant"),
        ({"optimizer": "sgd"}, "train.optimizer is 'sgd' but must be one of adamw, bert-adam"),
        ({"precision": "fp8"}, "train.precision is 'fp8' but must be one of fp32, bf16, fp16"),
        ({"parallel": "fsdp1"}, "train.parallel is 'fsdp1' but must be one of auto, ddp, fsdp"),
        (
            {"monitor": "accuracy"},
            "train.monitor is 'accuracy' but must name a split and a measure, such as dev/accuracy",
        ),
    ],
)
def test_a_setting_out_of_range_is_named_with_its_value(given, message):
    with pytest.raises(UserError, match=message):
        TrainSettings(**given)


def test_what_may_be_left_out_may_be_none():
    TrainSettings(max_tokens=None, max_grad_norm=None, eval_every=None, save_every=None)


def test_the_length_of_a_run_is_in_steps_or_in_epochs():
    assert (TrainSettings().steps, TrainSettings().epochs) == (1000, None)
    given = TrainSettings(epochs=3)
    assert (given.steps, given.epochs) == (None, 3)
    resolved = given.in_steps(lambda epochs: 7 * epochs)
    assert (resolved.num_steps, resolved.epochs) == (21, None)
    assert TrainSettings(steps=5).in_steps(lambda epochs: 0).num_steps == 5
    with pytest.raises(UserError, match=r"^train.epochs is 3, but train.steps is needed here; set train.steps$"):
        _ = given.num_steps
