"""Narrow number formats: fp16 with a scaled loss, bf16, TensorFloat-32."""

from __future__ import annotations

import json

import pytest
import torch

from mm_kptm.errors import UserError
from mm_kptm.train import Checkpoints, TrainSettings, evaluate
from mm_kptm.train.checkpoint import load_trainer
from mm_kptm.train.precision import autocast, check_scale, float32_hint, grad_scaler, matmul_precision
from tests.train.test_loop import records, run, same
from tests.train.toy import Line, PointSource


class Spy(Line):
    """Remembers the number format of its first product."""

    formats: set[torch.dtype]

    def forward(self, x):
        product = self.first(x)
        self.__dict__.setdefault("formats", set()).add(product.dtype)
        return super().forward(x)


class Overflowing(Line):
    """Its gradients overflow float16 unless the loss is scaled by less than a bound."""

    def __init__(self, bound):
        super().__init__()
        self.bound = bound

    def loss(self, batch):
        loss = super().loss(batch)
        loss.register_hook(lambda gradient: gradient * (torch.inf if gradient.item() > self.bound else 1.0))
        return loss


@pytest.mark.parametrize(
    ("precision", "kind"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_training_and_evaluation_compute_in_the_format(tmp_path, precision, kind):
    model, fitted = run(tmp_path, model=Spy(), precision=precision, dev=PointSource(9))
    assert model.formats == {kind}
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert all(values.dtype == torch.float64 for values in fitted.evaluations["dev"].per_example.values())
    other = Spy()
    evaluate(other, PointSource(9), precision=precision)
    assert other.formats == {kind}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("optimizer", ["adamw", "bert-adam"])
def test_16_bits_learn(tmp_path, precision, optimizer):
    """With fp16 leaving out its first steps, until the scale fits."""
    settings = {"optimizer": optimizer, "steps": 300, "precision": precision}
    model, _ = run(tmp_path, model=Line(dropout=0.0), **settings)
    untrained = evaluate(Line(), PointSource(60)).means["error"]
    assert evaluate(model, PointSource(60)).means["error"] < 0.6 * untrained


def test_a_step_whose_gradients_overflow_is_left_out_and_the_scale_falls(tmp_path):
    _, fitted = run(tmp_path, model=Overflowing(2.0**15), precision="fp16", log_every=1)
    logged = records(tmp_path, "train")
    assert [record["loss_scale"] for record in logged[:3]] == [2.0**15, 2.0**15, 2.0**15]
    assert logged[0]["grad_norm"] is None and logged[1]["grad_norm"] > 0
    assert load_trainer(fitted.checkpoint)["scaler"]["scale"] == 2.0**15


def test_the_first_step_that_overflows_moves_nothing(tmp_path):
    model, _ = run(tmp_path, model=Overflowing(0.0), precision="fp16", steps=1)
    same(model, Overflowing(0.0))


def test_gradients_that_always_overflow_end_the_run(tmp_path):
    with pytest.raises(
        UserError,
        match=r"^the gradients overflow float16 at step 31 even with the loss scaled by 3\.05176e-05; "
        r"train with train\.precision bf16 or fp32$",
    ):
        run(tmp_path, model=Overflowing(0.0), precision="fp16", steps=40)


def test_a_run_in_fp16_resumes_with_its_scale(tmp_path):
    """A scale that grew or fell belongs to the state of the run."""
    whole, _ = run(tmp_path / "whole", model=Overflowing(2.0**12), precision="fp16", steps=12, save_every=6)
    first, _ = run(tmp_path / "parts", model=Overflowing(2.0**12), precision="fp16", steps=12, save_every=6)
    checkpoints = Checkpoints(tmp_path / "parts")
    checkpoints.point("latest", checkpoints.named("6"))
    rest, _ = run(tmp_path / "parts", model=Overflowing(2.0**12), precision="fp16", steps=12, save_every=6, resume=True)
    same(rest, whole)
    same(first, whole)
    ends = [load_trainer(Checkpoints(tmp_path / name).named("last"))["scaler"] for name in ("whole", "parts")]
    assert ends[0] == ends[1] and ends[0]["scale"] == 2.0**12
    json.dumps(ends[0])


def test_only_fp16_scales_its_loss(tmp_path):
    for precision in ("fp32", "bf16"):
        assert not grad_scaler(torch.device("cpu"), TrainSettings(precision=precision)).is_enabled()
        _, fitted = run(tmp_path / precision, precision=precision)
        assert "scaler" not in load_trainer(fitted.checkpoint)
        assert "loss_scale" not in records(tmp_path / precision, "train")[0]
    check_scale(grad_scaler(torch.device("cpu"), TrainSettings()), 1)


def test_a_loss_that_is_not_finite_still_ends_a_run_in_fp16(tmp_path):
    with pytest.raises(UserError, match="the loss is nan at step"):
        run(tmp_path, source=PointSource(60, poison=3), precision="fp16", steps=30)


def test_autocast_follows_the_device():
    assert autocast("cpu", "fp16").fast_dtype == torch.float16
    assert autocast(torch.device("cpu"), "bf16").fast_dtype == torch.bfloat16
    with autocast("cpu", "fp32"):
        assert not torch.is_autocast_enabled("cpu")


def test_tensorfloat_32_is_switched_on_for_a_run_alone(tmp_path):
    seen = []

    class Looking(Line):
        def loss(self, batch):
            seen.append(torch.get_float32_matmul_precision())
            return super().loss(batch)

    before = torch.get_float32_matmul_precision()
    run(tmp_path / "wide", model=Looking(), steps=1)
    run(tmp_path / "tf32", model=Looking(), steps=1, tf32=True)
    assert seen == ["highest", "high"] and torch.get_float32_matmul_precision() == before
    with pytest.raises(ValueError), matmul_precision(TrainSettings(tf32=True)):
        raise ValueError
    assert torch.get_float32_matmul_precision() == before


def test_a_run_in_float32_on_cuda_is_told_of_faster_formats():
    cuda = torch.device("cuda")
    assert float32_hint(TrainSettings(), cuda) == (
        "float32 in all bits; train.tf32 true or train.precision bf16 is several times faster on this device"
    )
    assert "round their factors to 10 bits" in float32_hint(TrainSettings(tf32=True), cuda)
    assert float32_hint(TrainSettings(precision="bf16"), cuda) is None
    assert float32_hint(TrainSettings(), torch.device("cpu")) is None
